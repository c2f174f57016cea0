"""OpenCompass's text metrics, reproduced to compare with its published numbers, not because they are good.

Source: repository open-compass/opencompass, ``TriviaQAEvaluator`` and ``NQEvaluator`` in ``opencompass/datasets/triviaqa.py`` and
``natural_question.py``, ``EMEvaluator`` in ``opencompass/openicl/icl_evaluator/icl_em_evaluator.py``. The answer is what the
extractor of the same name (``triviaqa``, ``natural_question``, ``general``) reads; the target is cleaned here as there.
"""

from __future__ import annotations

import polars as pl

from ocli.registry import metric


@metric
def general_contains(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """1 where the answer holds the cleaned target, also inside a word; a target of which nothing is left is always held."""
    held = answer.str.contains(_general(target).str.to_lowercase(), literal=True)
    return held.fill_null(value=False).cast(pl.Float64)


@metric
def general_match(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """1 where the answer is the target or the cleaned target, capitals included."""
    same = (answer == _general(target)) | (answer == target)
    return same.fill_null(value=False).cast(pl.Float64)


def _general(text: pl.Expr) -> pl.Expr:
    """Do as ``general_postprocess``: what the extractor ``general`` says of it holds here."""
    bare = text.str.extract(r"^([^\n.,]*)", 1).str.replace_all(r"[^\p{L}\p{N}_\s\x1c-\x1f]", "")
    spaced = pl.format(" {} ", bare.str.replace_all(r"[\s\x1c-\x1f]+", "  "))
    return spaced.str.replace_all(" (?i:a|an|the) ", " ").str.replace_all(" +", " ").str.strip_chars(" ")
