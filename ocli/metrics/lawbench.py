"""The metrics of LawBench, https://arxiv.org/abs/2309.16289, but for accuracy and ROUGE: sets, characters, terms in months.

Source: LawBench's ``evaluation/evaluation_functions`` and ``evaluation/utils``; each docstring names the function.
"""

from __future__ import annotations

import json
import math
from collections import Counter

import polars as pl

from ocli.metrics._text import score_pairs
from ocli.registry import metric


@metric
def set_f1(answer: pl.Expr, target: pl.Expr, *, recall: bool = False) -> pl.Expr:
    """2 |A ∩ T| / (|A| + |T|) of the parts of answer and target between ";", each once (LawBench's ``compute_f1_two_sets``).

    With ``recall``: |A ∩ T| / |T|, which of one target is 1 where the answer has it among others.
    """
    given, wanted = (text.str.split(";").list.unique() for text in (answer, target))
    shared = given.list.set_intersection(wanted).list.len()
    score = shared / wanted.list.len() if recall else 2 * shared / (given.list.len() + wanted.list.len())
    return score.fill_null(0.0)


@metric
def char_f1(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """2PR / (P + R) of the letters and digits that both share, counted with repetition and without case.

    CAIL 2021's ``CJRCEvaluator.compute_f1``: each Chinese character, each Latin letter and each digit is one.
    """
    return score_pairs(answer, target, _char_f1)


@metric
def entity_f1(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """2PR / (P + R), where P and R are the sums of ``char_f1`` of each type that both name, by the types of either.

    LawBench's ``compute_ie_f1``. The answer is a JSON object (type: text), the target "type:text;type:text" or "无" (none).
    """
    return score_pairs(answer, target, _entity_f1)


@metric
def trigger_f1(answer: pl.Expr, target: pl.Expr, *, aligned: bool = False) -> pl.Expr:
    """2PR / (P + R), where P and R are the sum of ``char_f1`` of the pairs of words, by the words of either (";" between them).

    The most similar words are paired first. With ``aligned`` the first is paired with the first, the second with the second,
    as LawBench's ``compute_cfcy`` does: there the same words in another order are wrong.
    """
    return score_pairs(answer, target, lambda given, wanted: _trigger_f1(given, wanted, aligned=aligned))


@metric
def log_distance(answer: pl.Expr, target: pl.Expr, *, least: bool = True) -> pl.Expr:
    """1 - |ln(answer + 1) - ln(target + 1)| / ln 216 of two terms in months; what is no number scores 0.

    LawBench's ``compute_ljp_imprison``; 215 months are its longest term. Without ``least`` the score may fall below 0, as there.
    """
    given, wanted = (text.cast(pl.Float64, strict=False) for text in (answer, target))
    score = 1 - ((given + 1).log() - (wanted + 1).log()).abs() / math.log(216)
    return (score.clip(0) if least else score).fill_null(0.0)


def _char_f1(given: str, wanted: str) -> float:
    one, other = (Counter(sign for sign in text.lower() if sign.isdigit() or sign.isalpha()) for text in (given, wanted))
    if not one or not other:
        return float(one == other)
    return 2 * (one & other).total() / (one.total() + other.total())


def _f1(shared: float, given: int, wanted: int) -> float:
    return 2 * shared / (given + wanted) if given + wanted else 1.0


def _entity_f1(given: str, wanted: str) -> float:
    found: dict[str, str] = json.loads(given)
    right = {} if wanted == "无" else dict(part.split(":", 1) for part in wanted.split(";"))
    shared = sum(_char_f1(text, right[kind]) for kind, text in found.items() if kind in right)
    return _f1(shared, len(found), len(right))


def _trigger_f1(given: str, wanted: str, *, aligned: bool) -> float:
    words, right = given.split(";"), wanted.split(";")
    if aligned:
        shared = sum(_char_f1(word, other) for word, other in zip(words, right, strict=False))
        return _f1(shared, len(words), len(right))
    pairs = sorted(
        ((_char_f1(word, other), -i, -j) for i, word in enumerate(words) for j, other in enumerate(right)), reverse=True
    )
    shared, paired = 0.0, set()
    for similar, i, j in pairs:
        if (ours := ("given", i)) not in paired and (theirs := ("wanted", j)) not in paired:
            shared += similar
            paired |= {ours, theirs}
    return _f1(shared, len(words), len(right))
