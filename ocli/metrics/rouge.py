"""ROUGE: what answer and target share in n-grams, or in their longest common subsequence. Needs ``pip install 'ocli[text]'``.

Source: Lin 2004, https://aclanthology.org/W04-1013. ``rouge`` is that of rouge-score, Google's rewrite of ROUGE-1.5.5,
``rouge_chinese`` that of the package that LawBench's authors used. Chinese has no spaces, so its words are those of jieba.
Both packages take the longest common subsequence in Python, a second for two long texts; RapidFuzz finds the same one at once.
"""

from __future__ import annotations

import logging
import unicodedata
from functools import lru_cache
from types import ModuleType

import polars as pl

from ocli.errors import RecipeError
from ocli.extras import package
from ocli.metrics._text import score_pairs
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
    tokenizers = package("metric 'rouge'", "text", "rouge_score.tokenizers")
    words = _ChineseWords() if language == "zh" else tokenizers.DefaultTokenizer()
    scorer = package("metric 'rouge'", "text", "rouge_score.rouge_scorer").RougeScorer([name], tokenizer=words)

    def score(given: str, wanted: str) -> float:
        if given.strip() == wanted.strip():
            return 1.0
        if name == "rougeL":
            return _f1_of_subsequence(words.tokenize(given), words.tokenize(wanted))
        return float(scorer.score(wanted, given)[name].fmeasure)

    return score_pairs(answer, target, score)


@metric
def rouge_chinese(answer: pl.Expr, target: pl.Expr, *, kind: str | int = "l") -> pl.Expr:
    """As ``rouge`` of Chinese, by rouge-chinese, to compare with LawBench (its ``evaluation/utils/function_utils.py``).

    Punctuation is words too, kinds 1 and 2 count each of them once, and the same text scores 1 less 5e-9.
    """
    name = f"rouge-{_kind('rouge_chinese', kind)}"
    library = package("metric 'rouge_chinese'", "text", "rouge_chinese").Rouge(metrics=[name], stats=["f"])

    def words(text: str) -> list[str]:
        sentences = [" ".join(sentence.split()) for sentence in library.cut_sent(text) if sentence]
        return [word for sentence in sentences for word in sentence.split(" ")]

    def score(given: str, wanted: str) -> float:
        texts = [text if text.strip() else "无内容" for text in (" ".join(_cut(given)), " ".join(_cut(wanted)))]
        if name == "rouge-l":
            return _f1_of_subsequence(words(texts[0]), words(texts[1]), smallest=1e-8)
        [scores] = library.get_scores(*texts)
        return float(scores[name]["f"])

    return score_pairs(answer, target, score)


def _f1_of_subsequence(given: list[str], wanted: list[str], smallest: float = 0.0) -> float:
    """Return 2PR / (P + R + smallest) of the words in the longest common subsequence."""
    shared = package("metric 'rouge'", "text", "rapidfuzz.distance.LCSseq").similarity(given, wanted)
    if not shared:
        return 0.0
    precision, recall = shared / len(given), shared / len(wanted)
    return float(2 * precision * recall / (precision + recall + smallest))


class _ChineseWords:
    """jieba's words, as rouge-score asks for them."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words in one width and lower case, without what holds neither a letter nor a digit."""
        return [word for word in _cut(unicodedata.normalize("NFKC", text).lower()) if any(map(str.isalnum, word))]


@lru_cache(maxsize=1 << 12)
def _cut(text: str) -> tuple[str, ...]:
    """Return jieba's words; kept, because a text is cut for several rules."""
    return tuple(_jieba().cut(text))


@lru_cache(maxsize=1)
def _jieba() -> ModuleType:
    library = package("metric 'rouge'", "text", "jieba")
    library.setLogLevel(logging.WARNING)  # it tells of its dictionary otherwise
    return library


def _kind(metric: str, kind: str | int) -> str:
    if str(kind) not in _KINDS:
        raise RecipeError(f"metric {metric!r}: kind must be 1, 2 or l, not {kind!r}")
    return str(kind)
