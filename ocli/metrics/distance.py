"""Edit distance from an answer to given candidates, by RapidFuzz. Needs ``pip install 'ocli[text]'``."""

from __future__ import annotations

import json

import polars as pl

from ocli.extras import package
from ocli.metrics._text import score_pairs
from ocli.registry import metric


@metric
def nearest_candidate(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """1 where the right candidate is the one nearest to the answer: fewest characters put in, left out or replaced; of equals the
    first.

    The target is JSON, ``{"candidates": [...], "label": index of the right one}``, where a candidate is a text or a list of ways
    to write it (OpenCompass' ``EDAccEvaluator``, ``opencompass/openicl/icl_evaluator/icl_hf_evaluator.py``).
    """
    distance = package("metric 'nearest_candidate'", "text", "rapidfuzz.distance.Levenshtein").distance

    def score(given: str, wanted: str) -> float:
        asked = json.loads(wanted)
        written = [[ways] if isinstance(ways, str) else ways for ways in asked["candidates"]]
        distances = [min(distance(given, way) for way in ways) for ways in written]
        return float(distances.index(min(distances)) == asked["label"])

    return score_pairs(answer, target, score)
