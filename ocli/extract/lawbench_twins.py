"""What LawBench reads of a reply (``evaluation/evaluation_functions``), to compare with its numbers: raw, with its thoughts.

It turns Chinese numerals to digits with the package cn2an; here ``to_digits`` does, which differs for fractions and dates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import each_reply
from ocli.extract.numerals import to_digits
from ocli.registry import extractor


@extractor
def raw(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the reply as it is."""
    return text


@extractor
def lawbench_articles(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first number of each part of the reply between "、" (``compute_ljp_article``), whatever it counts."""
    return each_reply(text, _articles)


@extractor
def lawbench_months(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first number before 个月, else before 月, else before 年 times 12 (``compute_ljp_imprison``)."""
    return each_reply(text, _months)


@extractor
def lawbench_numbers(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return all numbers of the reply (``compute_jetq``); "8,500" is two."""
    return each_reply(text, lambda reply: ";".join(str(float(number)) for number in re.findall(r"\d+\.?\d*", reply)))


@extractor
def lawbench_entities(text: pl.Expr, choices: Sequence[str], *, types: Sequence[str]) -> pl.Expr:
    """Return what stands behind each type's last mention and a colon, up to a space or the line's end (``compute_ie_f1``)."""
    return each_reply(text, lambda reply: _entities(reply, types))


def _articles(reply: str) -> str:
    found = []
    for part in reply.split("、"):
        plain = re.sub(r"第(.*?)条", r"\1", re.sub(r"第(.*?)款", "", part.replace("万元", "元")))
        found += re.findall(r"\d+", to_digits(plain))[:1]
    return ";".join(str(int(number)) for number in found)


def _months(reply: str) -> str:
    plain = to_digits(reply)
    months = re.findall(r"(\d+)个月", plain) or re.findall(r"(\d+)月", plain)
    years = re.findall(r"(\d+)年", plain)
    return str(int(months[0])) if months else str(12 * int(years[0])) if years else ""


def _entities(reply: str, types: Sequence[str]) -> str:
    found: dict[str, str] = {}
    for kind in types:
        for mention in re.finditer(kind, reply):
            end = mention.end()
            if end < len(reply) - 2 and reply[end] in ":：":
                value = re.split(r"[\n ]", reply[end + 1 :].strip())[0].strip()
                found |= {} if value in ("无", "未提及") else {kind: value}
    return json.dumps(found, ensure_ascii=False)
