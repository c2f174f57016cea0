r"""Several formulas under one question: each blank's is compared with its own, by math-verify (``pip install 'ocli[math]'``)."""

from __future__ import annotations

import re

import polars as pl

from ocli.extras import need
from ocli.metrics._text import score_pairs
from ocli.metrics.latex import same_formula
from ocli.metrics.match import exact_match
from ocli.registry import metric

_SPELLINGS = {
    **{chr(code): f"\\textcircled{{{number}}}" for number, code in enumerate(range(ord("①"), ord("⑨") + 1), start=1)},
    **{
        "\\mathrm{e}": "e",
        "\\mathrm{i}": "i",
        "\\mathrm{~": "{",
        "＋": "+",
        "－": "-",
        "−": "-",
        "（": "(",
        "）": ")",
        "°": "^{\\circ}",
    },
    **{"；": ";", "，": ",", "\\;": " ", "\\quad": " ", "$": ""},
}
_SEPARATOR = r";|,|、|和|与|\band\b|\\text\{ ?and ?\}"


@metric
def equal_formulas(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """1 where answer and target are the same text, formula, or formulas in the same order; ";" stands between a target's."""
    need("metric 'equal_formulas'", "math", "math_verify")
    same = score_pairs(answer, target, _same)
    return pl.max_horizontal(exact_match(answer, target, ignore_punctuation=False), same)


def _same(given: str, wanted: str) -> bool:
    given, wanted = _plain(given), _plain(wanted)
    parts = wanted.split(";")
    found = _split(given, len(parts))
    return len(found) == len(parts) and all(map(same_formula, found, parts))


def _plain(text: str) -> str:
    """Bring spellings together that mean the same."""
    for spelling, plain in _SPELLINGS.items():
        text = text.replace(spelling, plain)
    return text.strip()


def _split(text: str, count: int) -> list[str]:
    """Split an answer into ``count`` parts where one kind of separator outside of brackets gives as many."""
    if count == 1:
        return [text]
    by_semicolon = text.split(";")
    return by_semicolon if len(by_semicolon) == count else _outside_brackets(text)


def _outside_brackets(text: str) -> list[str]:
    """Split at every separator that no bracket holds: "(1, 2), 3" gives two parts."""
    parts, start, depth = [], 0, 0
    for token in re.finditer(rf"[(\[{{]|[)\]}}]|{_SEPARATOR}", text):
        if token[0] in "([{":
            depth += 1
        elif token[0] in ")]}":
            depth -= 1
        elif not depth:
            parts.append(text[start : token.start()])
            start = token.end()
    return [part.strip() for part in (*parts, text[start:])]
