"""What metrics in Python have in common: pairs are scored one by one, and a library is loaded when it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import polars as pl

from ocli.errors import RecipeError


def package(metric: str, module: str) -> ModuleType:
    """Import a module of the extra ``text``; raise RecipeError, naming the metric that needs it, where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RecipeError(f"metric {metric!r} needs {error.name or module}: pip install 'ocli[text]'") from None


def score_pairs(answer: pl.Expr, target: pl.Expr, score: Callable[[Any, Any], float]) -> pl.Expr:
    """Score each answer with its target by ``score(answer, target)``, texts or lists; a null answer scores 0."""

    def one(given: object, wanted: object) -> float:
        return 0.0 if given is None or wanted is None else float(score(given, wanted))

    def batch(rows: pl.Series) -> pl.Series:
        pairs = zip(rows.struct.field("given").to_list(), rows.struct.field("wanted").to_list(), strict=True)
        return pl.Series([one(given, wanted) for given, wanted in pairs], dtype=pl.Float64)

    both = pl.struct(answer.alias("given"), target.alias("wanted"))
    return both.map_batches(batch, return_dtype=pl.Float64, is_elementwise=True)
