"""What metrics in Python have in common: pairs are scored one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl


def score_pairs(answer: pl.Expr, target: pl.Expr, score: Callable[[Any, Any], float]) -> pl.Expr:
    """Score each answer with its target by ``score(answer, target)``, texts or lists; a null answer scores 0."""

    def one(given: object, wanted: object) -> float:
        return 0.0 if given is None or wanted is None else float(score(given, wanted))

    def batch(rows: pl.Series) -> pl.Series:
        pairs = zip(rows.struct.field("given").to_list(), rows.struct.field("wanted").to_list(), strict=True)
        return pl.Series([one(given, wanted) for given, wanted in pairs], dtype=pl.Float64)

    both = pl.struct(answer.alias("given"), target.alias("wanted"))
    return both.map_batches(batch, return_dtype=pl.Float64, is_elementwise=True)
