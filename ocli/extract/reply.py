"""The whole reply as the answer, where its very form is what is asked for; knows nothing of the question."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract.thoughts import strip_thoughts
from ocli.registry import extractor


@extractor
def reply(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the reply as it stands, white space included; after thoughts, from the answer's first character on."""
    said = strip_thoughts(text)
    answer = pl.when(said == text).then(text).otherwise(said.str.strip_chars_start())
    return pl.when(answer.str.strip_chars() != "").then(answer)
