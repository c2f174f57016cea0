"""What extractors are built of: expressions that know no task, no language and no form of an answer."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl


def or_null(answer: pl.Expr) -> pl.Expr:
    """Return the answer, or null where it is empty."""
    return pl.when(answer != "").then(answer)


def once(expression: pl.Expr, then: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """Build on an expression's value, so that what reads it several times does not compute it as often."""
    value = pl.struct(expression.alias("value"))
    return value.struct.with_fields(then(pl.field("value")).alias("value")).struct.field("value")


def where_found(pattern: str, text: pl.Expr, change: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """Change the few replies in which ``pattern`` is found, which is quicker than to change all of them."""
    state = pl.struct(text.alias("reply"))
    found = pl.when(pl.field("reply").str.contains(pattern)).then(pl.field("reply"))
    return state.struct.with_fields(pl.coalesce(change(found), pl.field("reply")).alias("reply")).struct.field("reply")


def each_reply(text: pl.Expr, read: Callable[[str], str | None]) -> pl.Expr:
    """Apply a function of Python to every reply that is not null; what it reads as nothing is null."""

    def batch(replies: pl.Series) -> pl.Series:
        return pl.Series([None if reply is None else read(reply) or None for reply in replies.to_list()], dtype=pl.String)

    return text.map_batches(batch, return_dtype=pl.String, is_elementwise=True)
