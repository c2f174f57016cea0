"""BLEU of single answers, by sacrebleu. Needs ``pip install 'ocli[text]'``.

Source: Papineni et al. 2002, https://aclanthology.org/P02-1040; Post 2018, https://aclanthology.org/W18-6319.
"""

from __future__ import annotations

import json
from functools import lru_cache

import polars as pl

from ocli.errors import RecipeError
from ocli.extras import package
from ocli.metrics._text import score_pairs
from ocli.registry import metric

_TOKENIZERS = ("13a", "intl", "zh", "char", "none")


@metric
def bleu(answer: pl.Expr, target: pl.Expr, *, tokenize: str = "13a") -> pl.Expr:
    """The brevity penalty times the geometric mean of the precisions of up to 4-grams, 0 to 1 (sacrebleu's sentence BLEU).

    Precisions without a match are smoothed ("exp"), orders longer than the answer left out. ``tokenize`` is sacrebleu's: 13a for
    Latin scripts, zh for Chinese (each character a token), intl, char, none. A mean of these is not the BLEU of a corpus.
    """
    if tokenize not in _TOKENIZERS:
        raise RecipeError(f"metric 'bleu': tokenize must be one of {', '.join(_TOKENIZERS)}, not {tokenize!r}")
    library = package("metric 'bleu'", "text", "sacrebleu").BLEU(tokenize=tokenize, effective_order=True)

    def score(given: str, wanted: str) -> float:
        same = given.strip() == wanted.strip()
        return 1.0 if same else min(library.sentence_score(given, [wanted]).score / 100, 1.0)  # it may say 100.00000000000004

    return score_pairs(answer, target, score)


@metric
def bleu_accuracy(answer: pl.Expr, target: pl.Expr, *, effective_order: bool = True) -> pl.Expr:
    """1 where the answer's BLEU with the nearest true reference is above that with the nearest false one (TruthfulQA's bleu_acc).

    The target is JSON, ``{"true": [...], "false": [...]}``. BLEU is that of TruthfulQA's authors and lm-eval: tokenizer intl, and
    without ``effective_order`` 0 for an answer of fewer than 4 tokens, so that "It is." is never right.
    """
    package("metric 'bleu_accuracy'", "text", "sacrebleu")
    return score_pairs(answer, target, lambda given, wanted: _nearer_to_true(given, wanted, effective_order))


@lru_cache(maxsize=1 << 14)
def _nearer_to_true(given: str, wanted: str, effective_order: bool) -> float:
    """Compare an answer with all references of a question; kept, because a task is scored by several rules and more than once."""
    library = package("metric 'bleu_accuracy'", "text", "sacrebleu").BLEU(tokenize="intl", effective_order=effective_order)
    true, false = (
        max(float(library.corpus_score([given], [[reference]]).score) for reference in references)
        for references in map(json.loads(wanted).get, ("true", "false"))
    )
    return float(true > false)
