"""Extractors with several ways to read an answer tell which of them did; knows no task and registers no extractor.

A reading is a struct with at least the fields ``answer`` and ``pattern``, both strings: what was read, and the short name of the
way that read it ("boxed", "answer phrase"). An extractor that gives readings is decorated with ``ByWays``; what it reads as
nothing is null in ``answer``, whatever ``pattern`` says then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from typing import Any, Generic, ParamSpec

import polars as pl

P = ParamSpec("P")
Way = Callable[[pl.Expr], pl.Expr]
_READING = {"answer": pl.String(), "pattern": pl.String()}


class ByWays(Generic[P]):
    """An extractor (decorator): called, it gives the answer alone, as every extractor does; ``read`` gives the reading."""

    def __init__(self, read: Callable[P, pl.Expr]) -> None:
        self.read = read
        update_wrapper(self, read)  # its name, its docstring and, for the registry, its options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> pl.Expr:
        return self.read(*args, **kwargs).struct.field("answer")


def reading(extract: Callable[..., Any], text: pl.Expr, choices: Sequence[str], **options: Any) -> pl.Expr:
    """Return what any extractor reads, as a reading; ``pattern`` is null where it has one way only, or read nothing."""
    if not isinstance(extract, ByWays):
        return pl.struct(extract(text, choices, **options).alias("answer"), pl.lit(None, pl.String).alias("pattern"))
    pattern = pl.when(pl.field("answer").is_not_null()).then(pl.field("pattern"))
    found: pl.Expr = extract.read(text, choices, **options).struct.with_fields(pattern.alias("pattern"))
    return found


def unread(reply: pl.Expr) -> pl.Expr:
    """Return the reading of replies that no way has read yet: a struct with the field ``reply`` besides.

    Fields of a struct are worked out once, where polars would work out an expression again at every mention.
    """
    nothing = pl.lit(None, pl.String)
    return pl.struct(reply.alias("reply"), nothing.alias("answer"), nothing.alias("pattern"))


def settle(read: pl.Expr, ways: Iterable[tuple[str, Way]]) -> pl.Expr:
    """Let the ways, each with its name, read the replies in their order until one of them finds something."""
    untold = pl.field("answer").is_null()  # before the way: the fields are all worked out from those there were
    for name, way in ways:
        found = pl.coalesce(pl.field("answer"), way(open_replies()))
        tried = pl.when(untold).then(pl.lit(name)).otherwise(pl.field("pattern"))
        read = read.struct.with_fields(found.alias("answer"), tried.alias("pattern"))
    return read


def each_reading(text: pl.Expr, read: Callable[[str], tuple[str | None, str]]) -> pl.Expr:
    """Apply a function of Python, which gives answer and pattern, to every reply that is not null; return the readings."""

    def batch(replies: pl.Series) -> pl.Series:
        found = [(None, "") if reply is None else read(reply) for reply in replies.to_list()]
        return pl.DataFrame([(answer or None, pattern) for answer, pattern in found], _READING, orient="row").to_struct()

    return text.map_batches(batch, return_dtype=pl.Struct(_READING), is_elementwise=True)


def open_replies() -> pl.Expr:
    """Return the replies no way has read yet; the others are null and cost the later ways nothing."""
    return pl.when(pl.field("answer").is_null()).then(pl.field("reply"))
