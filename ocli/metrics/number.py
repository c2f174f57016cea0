"""Numbers compared by value: "1/2" is 0.5, "70,000" is 70000. What is no number equals nothing."""

from __future__ import annotations

import polars as pl

from ocli.errors import RecipeError
from ocli.registry import metric

_DECORATION = r"[\s,，$＄€£¥￥元%％]"
_NUMBER = r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$"
_FRACTION = r"^([-+]?)(?:(\d+) )?(\d+)/(\d+)$"
_INTEGER = r"^-?\d+$"


@metric
def equal_number(answer: pl.Expr, target: pl.Expr, *, relative: float = 0) -> pl.Expr:
    """1 where answer and target are the same number, or differ by at most ``relative`` times the target.

    Without tolerance two integers are compared digit by digit, all others as 64-bit floats.
    """
    if isinstance(relative, bool) or not isinstance(relative, int | float) or relative < 0:
        raise RecipeError(f"equal_number: relative is a number from 0 up (0.01: one per cent), got {relative!r}")
    given, wanted = _value(answer), _value(target)
    same = (given - wanted).abs() <= relative * wanted.abs()
    if relative == 0:
        left, right = _digits(answer), _digits(target)
        same = pl.when(left.str.contains(_INTEGER) & right.str.contains(_INTEGER)).then(left == right).otherwise(given == wanted)
    return same.fill_null(value=False).cast(pl.Float64)


def _digits(text: pl.Expr) -> pl.Expr:
    """Return the number's bare digits and sign."""
    bare = text.str.replace_all(_DECORATION, "").str.replace(r"^\+", "")
    return bare.str.replace(r"^(-?)0+(\d)", "${1}${2}").str.replace(r"^-0$", "0").str.replace(r"^(-?\d+)\.0*$", "${1}")


def _value(text: pl.Expr) -> pl.Expr:
    """Return the text's value; null where it is no number."""
    bare = text.str.replace_all(_DECORATION, "")
    plain = pl.when(bare.str.contains(_NUMBER)).then(bare).cast(pl.Float64, strict=False)
    sign, whole, part, parts = (text.str.strip_chars().str.extract(_FRACTION, group) for group in (1, 2, 3, 4))
    fraction = whole.cast(pl.Float64).fill_null(0) + part.cast(pl.Float64) / parts.cast(pl.Float64)
    return pl.coalesce(plain, pl.when(parts.cast(pl.Float64) != 0).then(fraction * pl.when(sign == "-").then(-1).otherwise(1)))
