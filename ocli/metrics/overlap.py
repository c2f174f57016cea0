"""Token F1 between answer and target, as SQuAD and CMRC 2018 measure extracted answers.

Source: SQuAD 1.1's ``evaluate-v1.1.py`` (lower case, no punctuation, no English articles, words counted with repetition) and
CMRC 2018's ``cmrc2018_evaluate.py`` (each Chinese character a token, Latin words whole; it counts the longest run of tokens
that both share: the option ``contiguous``). Unlike SQuAD's script, punctuation is that of Unicode and not of ASCII alone.
"""

from __future__ import annotations

from collections import Counter

import polars as pl

from ocli.metrics._text import score_pairs
from ocli.registry import metric

_PUNCTUATION = r"[\p{P}$+<=>^`|~]"
_CHARACTER = r"([\p{Han}\p{Hiragana}\p{Katakana}])"


@metric
def f1(answer: pl.Expr, target: pl.Expr, *, contiguous: bool = False) -> pl.Expr:
    """2PR / (P + R) of the tokens that answer and target share, 0 to 1; with ``contiguous``, of the longest run they share."""
    return score_pairs(_tokens(answer), _tokens(target), lambda given, wanted: _f1(given, wanted, contiguous=contiguous))


def _tokens(text: pl.Expr) -> pl.Expr:
    """Return the list of tokens: two spaces between words, so that each article has its own on both sides."""
    bare = text.str.to_lowercase().str.replace_all(_PUNCTUATION, "").str.replace_all(_CHARACTER, " ${1} ")
    spaced = pl.format(" {} ", bare.str.replace_all(r"\s+", "  "))
    return spaced.str.replace_all(" (?:a|an|the) ", " ").str.extract_all(r"\S+")


def _f1(given: list[str], wanted: list[str], *, contiguous: bool) -> float:
    if not given or not wanted:  # SQuAD 2.0: no answer is right where none is wanted
        return float(given == wanted)
    shared = _longest_run(given, wanted) if contiguous else (Counter(given) & Counter(wanted)).total()
    return 2 * shared / (len(given) + len(wanted))


def _longest_run(given: list[str], wanted: list[str]) -> int:
    """Return the length of the longest run of tokens in both (time: the product of their lengths)."""
    longest, ends = 0, [0] * (len(wanted) + 1)
    for token in given:
        ends = [0] + [ends[place] + 1 if token == other else 0 for place, other in enumerate(wanted)]
        longest = max(longest, *ends)
    return longest
