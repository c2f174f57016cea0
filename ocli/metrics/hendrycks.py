r"""The equality of formulas that came with MATH: both spelled alike after clean-up. It compares spellings, not values.

Source: repository hendrycks/math, file ``modeling/math_equivalence.py`` (Hendrycks et al. 2021), as OpenCompass has it in
``opencompass/datasets/agieval/math_equivalence.py``; reproduced to compare with published numbers.
"""

from __future__ import annotations

import re

import polars as pl

from ocli.metrics._text import score_pairs
from ocli.registry import metric

_LEFT_OUT = ("\n", "\\!")
_UNITS_AND_SIZES = ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$")


@metric
def hendrycks(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """1 where answer and target are spelled alike: 1/2, 0.5 and ``\\frac12`` are, 3.0 and 3 are not (``is_equiv``)."""
    return score_pairs(answer, target, _same)


def _same(given: str, wanted: str) -> bool:
    try:
        return _spelling(given) == _spelling(wanted)
    except (ValueError, IndexError):  # a formula that the clean-up cannot take apart
        return given == wanted


def _spelling(text: str) -> str:
    """Return a formula in the one spelling that is compared."""
    for part in _LEFT_OUT:
        text = text.replace(part, "")
    text = text.replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    for part in _UNITS_AND_SIZES:
        text = text.replace(part, "")
    text = _without_unit(text).replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = "0" + text if text.startswith(".") else text
    name, equals, value = text.partition("=")
    if equals and "=" not in value and len(name) <= 2:  # "x = 5"
        text = value
    text = _braced_fractions(_braced_roots(text).replace(" ", ""))
    return _fraction("\\frac{1}{2}" if text == "0.5" else text)


def _without_unit(text: str) -> str:
    """Cut off a unit, which MATH writes as ``\\text{ cm}``; raise ValueError where there are two."""
    if "\\text{ " not in text:
        return text
    value, _ = text.split("\\text{ ")
    return value


def _braced_roots(text: str) -> str:
    r"""Write ``\sqrt3`` as ``\sqrt{3}``; raise IndexError where nothing follows."""
    first, *roots = text.split("\\sqrt")
    return first + "".join("\\sqrt" + (root if root[0] == "{" else f"{{{root[0]}}}{root[1:]}") for root in roots)


def _braced_fractions(text: str) -> str:
    r"""Write ``\frac12`` as ``\frac{1}{2}`` and ``\frac1{72}`` as ``\frac{1}{72}``; a torn one stays, and with it the rest."""
    first, *fractions = text.split("\\frac")
    written = first
    for part in fractions:
        if part[0] == "{":
            written += "\\frac" + part
        elif len(part) < 2:
            return text
        else:
            below = part[1:] if part[1] == "{" else f"{{{part[1]}}}{part[2:]}"
            written += f"\\frac{{{part[0]}}}{below}"
    return written


def _fraction(text: str) -> str:
    r"""Write a fraction of two whole numbers, ``3/4``, as ``\frac{3}{4}``."""
    return re.sub(r"^(0|-?[1-9]\d*)/(0|-?[1-9]\d*)$", r"\\frac{\1}{\2}", text)
