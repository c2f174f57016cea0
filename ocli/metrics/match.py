"""String metrics: the answer is the target, or holds it. They compare text and know no numbers."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from ocli.registry import metric

# Full-width forms U+FF01..U+FF5E stand for ASCII 0x21..0x7E, the ideographic space for a space.
_FULL_WIDTH = {chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)} | {"\u3000": " "}
# A number keeps its sign, point and separators: without them 3.5 would equal 35, and -5 would equal 5.
_NUMBER_OR_PUNCTUATION = r"((?:(?:^|\s)-)?\d+(?:[.,:/]\d+)*)|\p{P}"
_THOUSANDS = r"(?-u:\b)(\d{1,3}),(\d{3})(?:,(\d{3}))?(?:,(\d{3}))?(?-u:\b)"
_WORD_OR_NUMBER = r"([A-Za-z]+|(?:(?:^|\s)-)?\d+(?:[.,:/]\d+)*)"


@metric
def accuracy(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """1 where the answer is the target, character by character."""
    return _score(answer, answer == target)


@metric
def exact_match(
    answer: pl.Expr,
    target: pl.Expr,
    *,
    ignore_case: bool = True,
    ignore_punctuation: bool = True,
    ignore_articles: bool = False,
) -> pl.Expr:
    """1 where answer and target are the same text once white space and full-width forms are normalised.

    ``ignore_articles`` leaves out "a", "an" and "the", as SQuAD and TriviaQA do.
    """
    given, wanted = (_normal(text, ignore_case, ignore_punctuation) for text in (answer, target))
    if ignore_articles:
        given, wanted = _without_articles(given), _without_articles(wanted)
    return _score(answer, given == wanted)


@metric
def contains(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """1 where the answer holds the target; Latin words and numbers count only whole (no "no" in "know"), 1,000 as 1000."""
    given, wanted = _spaced(answer), _spaced(target)
    return _score(answer, (wanted != "") & given.str.contains(wanted, literal=True))


def _normal(text: pl.Expr, ignore_case: bool, ignore_punctuation: bool) -> pl.Expr:
    plain = _ascii(text)
    if ignore_case:
        plain = plain.str.to_lowercase()
    if not ignore_punctuation:
        return plain
    # A text of nothing but punctuation keeps it: else every such text would equal every other.
    return _unless_empty(plain, lambda text: _one_space(text.str.replace_all(_NUMBER_OR_PUNCTUATION, "${1}")))


def _without_articles(text: pl.Expr) -> pl.Expr:
    # The band The The keeps its name.
    return _unless_empty(text, lambda whole: _one_space(whole.str.replace_all(r"(?i)\b(?:an?|the)\b", " ")))


def _unless_empty(text: pl.Expr, change: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """Return the changed text, or the text itself where nothing would be left of it.

    A struct carries the text: polars would work it out again at every mention.
    """
    state = pl.struct(text.alias("text")).struct.with_fields(change(pl.field("text")).alias("changed"))
    kept = pl.when(pl.field("changed") == "").then(pl.field("text")).otherwise(pl.field("changed"))
    return state.struct.with_fields(kept.alias("text")).struct.field("text")


def _spaced(text: pl.Expr) -> pl.Expr:
    plain = _ascii(text).str.to_lowercase().str.replace_all(_THOUSANDS, "${1}${2}${3}${4}")
    words = plain.str.replace_all(_WORD_OR_NUMBER, " ${1} ")
    return words.str.replace_all(r"\s+", " ")


def _ascii(text: pl.Expr) -> pl.Expr:
    return _one_space(text.str.replace_many(_FULL_WIDTH))


def _one_space(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"\s+", " ").str.strip_chars()


def _score(answer: pl.Expr, same: pl.Expr) -> pl.Expr:
    return pl.when(answer.is_null()).then(0.0).otherwise(same.cast(pl.Float64))
