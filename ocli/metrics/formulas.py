r"""Several formulas under one question: each blank's is compared with its own, by math-verify (``pip install 'ocli[math]'``)."""

from __future__ import annotations

import re

import polars as pl

from ocli.metrics.latex import need_math_verify, same_formula
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
    need_math_verify("equal_formulas")
    both = pl.struct(answer.alias("given"), target.alias("wanted"))
    same = both.map_batches(_score_rows, return_dtype=pl.Float64, is_elementwise=True)
    return pl.max_horizontal(exact_match(answer, target, ignore_punctuation=False), same)


def _score_rows(rows: pl.Series) -> pl.Series:
    pairs = zip(rows.struct.field("given").to_list(), rows.struct.field("wanted").to_list(), strict=True)
    return pl.Series([_same(given, wanted) for given, wanted in pairs], dtype=pl.Float64)


def _same(given: str | None, wanted: str | None) -> float:
    if given is None or wanted is None:
        return 0.0
    given, wanted = _plain(given), _plain(wanted)
    parts = wanted.split(";")
    found = _split(given, len(parts))
    if len(found) != len(parts):
        return 0.0
    return float(all(same_formula(one, other) for one, other in zip(found, parts, strict=True)))


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
