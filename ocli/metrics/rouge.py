"""ROUGE: what answer and target share in n-grams, or in their longest common subsequence. Needs ``pip install 'ocli[text]'``.

Source: Lin 2004, https://aclanthology.org/W04-1013. ``rouge`` is computed by rouge-score, Google's rewrite of ROUGE-1.5.5,
``rouge_chinese`` by the package that LawBench's authors used. Chinese has no spaces, so its words are those of jieba.
"""

from __future__ import annotations

import logging
import unicodedata

import polars as pl

from ocli.errors import RecipeError
from ocli.metrics._text import package, score_pairs
from ocli.registry import metric

_KINDS = {"1": "rouge1", "2": "rouge2", "l": "rougeL"}


@metric
def rouge(answer: pl.Expr, target: pl.Expr, *, kind: str | int = "l", language: str = "en") -> pl.Expr:
    """2PR / (P + R) of the words (kind 1), pairs of words (2) or longest common subsequence (l) that both share, 0 to 1.

    ``language: en`` takes runs of a to z and 0 to 9 for words, in lower case and without stemming, as ROUGE-1.5.5 does;
    ``zh`` those of jieba, without punctuation. The same text scores 1, however short it is.
    """
    name = _KINDS[_kind("rouge", kind)]
    if language not in ("en", "zh"):
        raise RecipeError(f"metric 'rouge': language must be en or zh, not {language!r}")
    library = package("rouge", "rouge_score.rouge_scorer")
    scorer = library.RougeScorer([name], tokenizer=_ChineseWords("rouge") if language == "zh" else None)

    def score(given: str, wanted: str) -> float:
        same = given.strip() == wanted.strip()
        return 1.0 if same else float(scorer.score(wanted, given)[name].fmeasure)

    return score_pairs(answer, target, score)


@metric
def rouge_chinese(answer: pl.Expr, target: pl.Expr, *, kind: str | int = "l") -> pl.Expr:
    """As ``rouge`` of Chinese, by rouge-chinese, to compare with LawBench (its ``evaluation/utils/function_utils.py``).

    Punctuation is words too, kinds 1 and 2 count each of them once, and the same text scores 1 less 5e-9.
    """
    name = f"rouge-{_kind('rouge_chinese', kind)}"
    words = _ChineseWords("rouge_chinese")
    library = package("rouge_chinese", "rouge_chinese").Rouge(metrics=[name], stats=["f"])
    common = package("rouge_chinese", "rapidfuzz.distance").LCSseq.similarity

    def score(given: str, wanted: str) -> float:
        texts = [" ".join(words.cut(text)) for text in (given, wanted)]
        texts = [text if text.strip() else "无内容" for text in texts]
        if name != "rouge-l":
            return float(library.get_scores(*texts)[0][name]["f"])
        # The library's own longest common subsequence takes ten times as long as all of this; the formula is its own.
        one, other = (
            [word for part in library.cut_sent(text) if part for word in " ".join(part.split()).split(" ")] for text in texts
        )
        shared: int = common(one, other)
        precision, recall = shared / len(one), shared / len(other)
        return 2 * precision * recall / (precision + recall + 1e-8)

    return score_pairs(answer, target, score)


class _ChineseWords:
    """jieba's words, as rouge-score asks for them."""

    def __init__(self, metric: str) -> None:
        library = package(metric, "jieba")
        library.setLogLevel(logging.WARNING)  # it tells of its dictionary otherwise
        self.cut = library.cut

    def tokenize(self, text: str) -> list[str]:
        """Return the words in one width and lower case, without what holds neither a letter nor a digit."""
        words = self.cut(unicodedata.normalize("NFKC", text).lower())
        return [word for word in words if any(map(str.isalnum, word))]


def _kind(metric: str, kind: str | int) -> str:
    if str(kind) not in _KINDS:
        raise RecipeError(f"metric {metric!r}: kind must be 1, 2 or l, not {kind!r}")
    return str(kind)
