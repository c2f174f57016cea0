"""OpenCompass's extractors, reproduced to compare with its published numbers, not because they are good.

Source: repository open-compass/opencompass, file ``opencompass/utils/text_postprocessors.py``. They read the
raw reply, thoughts included, as OpenCompass does; where it returns an empty string, these return null.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from ocli.errors import RecipeError
from ocli.registry import extractor


def _has_group(pattern: str) -> bool:
    try:
        return re.compile(pattern).groups > 0
    except re.error:  # Rust's syntax, or a mistake that polars will name
        return True


@extractor
def first_capital(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    r"""Return the first upper-case character, offered or not (``first_capital_postprocess``).

    ``\p{Uppercase}`` and not ``\p{Lu}``: Python's ``str.isupper`` also holds for Other_Uppercase, such as Ⅳ.
    Title-case characters such as ǅ are not upper-case for either of the two.
    """
    return text.str.extract(r"(\p{Uppercase})", 1)


@extractor
def match_answer(text: pl.Expr, choices: Sequence[str], *, pattern: str) -> pl.Expr:
    """Return group 1 of the first match of ``pattern`` (``match_answer_pattern``).

    The pattern is a Rust regular expression: Python's syntax without look-around and backreferences.
    """
    if not isinstance(pattern, str) or not _has_group(pattern):
        raise RecipeError(f"match_answer: the pattern {pattern!r} must be a text with one group (...): the answer")
    answer = text.str.extract(pattern, 1)
    return pl.when(answer != "").then(answer)
