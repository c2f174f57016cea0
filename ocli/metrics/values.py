"""Answers of several kinds under one task: a number, a list of numbers, or a text; the target's own form decides.

Source of the tolerance and of the lists: TheoremQA (https://arxiv.org/abs/2305.12524), whose evaluator sorts both lists, takes
whole numbers as they are and other numbers within 4 per cent.
"""

from __future__ import annotations

import math
import re

import polars as pl

from ocli.errors import RecipeError
from ocli.metrics._text import score_pairs
from ocli.metrics.match import exact_match
from ocli.registry import metric

_NUMBER = r"[-+]?(?:\d+ )?\d+/\d+|[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+"
_LIST = rf"\[.*\]|(?:{_NUMBER})(?:\s*;\s*(?:{_NUMBER}))+"


@metric
def equal_values(answer: pl.Expr, target: pl.Expr, *, relative: float = 0) -> pl.Expr:
    """1 where answer and target are the same text (as ``exact_match``), number, or numbers in any order.

    Several numbers are wanted where the target is ``[1, 2]`` or ``1; 2``. A number that is no whole one, or is written with a
    decimal point, may differ by ``relative`` times the target.
    """
    if isinstance(relative, bool) or not isinstance(relative, int | float) or relative < 0:
        raise RecipeError(f"equal_values: relative is a number from 0 up (0.04: four per cent), got {relative!r}")
    same = score_pairs(answer, target, lambda given, wanted: _same(given, wanted, relative))
    return pl.max_horizontal(exact_match(answer, target), same)


def _same(given: str, wanted: str, relative: float) -> bool:
    """Say whether the answer is the number or the numbers that are wanted."""
    if re.fullmatch(_LIST, wanted.strip()):
        numbers = re.findall(_NUMBER, wanted)
        found = re.findall(_NUMBER, given)
    else:
        numbers = re.findall(rf"^\s*({_NUMBER})\s*$", wanted)
        found = re.findall(rf"^\s*({_NUMBER})\s*$", given)
    if not numbers or len(found) != len(numbers):
        return False
    pairs = zip(sorted(found, key=_value), sorted(numbers, key=_value), strict=True)
    return all(_near(one, other, relative) for one, other in pairs)


def _near(given: str, wanted: str, relative: float) -> bool:
    """Tell whether two numbers are equal; whole numbers have no tolerance."""
    tolerance = relative if re.search(r"[./eE]", wanted) else 0.0
    value = _value(wanted)
    return abs(_value(given) - value) <= max(tolerance * abs(value), 1e-9 * abs(value))


def _value(text: str) -> float:
    """Return a number's value; a division by zero is no number."""
    bare = text.replace(",", "")
    if "/" not in bare:
        return float(bare)
    *whole, fraction = bare.split(" ")
    above, below = map(float, fraction.split("/"))
    if below == 0:
        return math.nan
    value = abs(above) / below + sum(abs(float(part)) for part in whole)
    return -value if bare.startswith("-") else value
