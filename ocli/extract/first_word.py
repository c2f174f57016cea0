"""The word that a reply begins with, for tasks that ask how a passage goes on.

The cases are in ``tests/cases/extract/first_word.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import or_null
from ocli.extract.opencompass import SPACE, plain
from ocli.extract.thoughts import strip_thoughts
from ocli.registry import extractor

_WORD = r"([\p{L}\p{N}]+(?:['’\-][\p{L}\p{N}]+)*)"
_PUNCTUATION = r"[!-/:-@\[-`{-~]"


@extractor.promising(
    "{}", " {}", "\n{}", "{}.", "{}, and so on", '"{}"', "...{}", "**{}**", "{}\n\nThen he left.", "<think>The end?</think>{}"
)
def first_word(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first word of the reply, without what stands around it."""
    return strip_thoughts(text).str.extract(_WORD, 1)


@extractor
def lambada(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return what OpenCompass' ``LambadaEvaluator`` compares (``opencompass/datasets/lambada.py``).

    What stands before the first space, and before any punctuation in it; of it the first line, and no article.
    """
    piece = text.str.replace(rf"^{SPACE}+", "").str.extract("^([^ ]*)", 1).str.replace(f"(?s){_PUNCTUATION}.*$", "")
    return or_null(plain(piece))
