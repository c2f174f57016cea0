"""Points of China's college entrance exam (GAOKAO-Bench): the share of a question's points that its answer gets.

The target is a letter; a set of letters ("AC"), some of which are half right; the letters of several questions asked together,
apart ("A D A B"); or five letters in order, together ("CFAED"), as five of seven sentences go into five blanks.
Source: https://arxiv.org/abs/2305.12474; OpenCompass, ``opencompass/datasets/GaokaoBench.py``.
"""

from __future__ import annotations

import polars as pl

from ocli.metrics._text import score_pairs
from ocli.registry import metric

_ORDERED = 5
"""A set has at most four letters, so five in one word are five blanks."""


@metric
def gaokao(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """The share of questions answered right; of one question with several right letters, 1 for all of them and 1/2 for some.

    More answers than questions get nothing: whose they are is not known.
    """

    def score(given: str, wanted: str) -> float:
        questions, letters = _questions(wanted), given.replace(" ", "")
        if len(questions) == 1:
            return 1.0 if set(letters) == set(wanted) else 0.5 if set(letters) < set(wanted) else 0.0
        return _in_place(letters, questions) if len(letters) <= len(questions) else 0.0

    return score_pairs(answer, target, score)


@metric
def gaokao_bench(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """The same of what the extractor ``gaokao_bench`` reads; fewer answers than questions get nothing, "AA" is half of "AB"."""

    def score(given: str, wanted: str) -> float:
        if "|" not in given:
            return 1.0 if given == wanted else 0.5 if all(letter in wanted for letter in given) else 0.0
        letters = told_opencompass(given, wanted)
        return _in_place(letters, _questions(wanted)) if len(letters) == len(_questions(wanted)) else 0.0

    return score_pairs(answer, target, score)


def told_opencompass(given: str, wanted: str) -> str:
    """Return the letters that OpenCompass takes of "ADAB|ADABXY", what stands behind a mark and all capitals of the reply."""
    marked, _, capitals = given.partition("|")
    count = len(_questions(wanted))
    if count == len(wanted) == _ORDERED:
        return "".join(letter for letter in capitals if letter <= "G")[:count]
    return marked if len(marked) == count else capitals[:count]


def _questions(wanted: str) -> list[str]:
    return list(wanted) if len(wanted) == _ORDERED and " " not in wanted else wanted.split()


def _in_place(letters: str, questions: list[str]) -> float:
    return sum(given == right for given, right in zip(letters, questions, strict=False)) / len(questions)
