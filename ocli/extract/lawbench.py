"""Read what LawBench asks for: articles, terms in months, sums of money, entities and trigger words.

It asks for "[刑期]12月<eoa>" and the like: what stands behind the last such mark before ``<eoa>`` is read; without one, what
stands behind a phrase ("判处有期徒刑", "共计"), else all of the reply. Chinese numerals count as digits do. What LawBench itself
reads is in ``lawbench_twins.py``. The cases are in ``tests/cases/extract/lawbench_*.json``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import each_reply
from ocli.extract.numerals import to_digits
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import ByWays, each_reading
from ocli.registry import extractor

_PARTS = re.compile(r"第?[(（]?\d+[)）]?[款项](?:第?[(（]?\d+[)）]?项)?|之\d+")
_OTHER_LAW = re.compile(
    r"(?:《(?!(?:中华人民共和国)?刑法》)[^》\n]*》|(?:诉讼法|民法典|处罚法|安全法|修正案|解释)》?(?:[(（]\d+[)）])?》?)"
    r"(?:\s*[、,，和及]?\s*第\s*\d+\s*条)+"
)
_ARTICLES = re.compile(r"(?:第|刑法)\s*((?:\d+(?:\s*条)?\s*[、,，;；和及与]\s*第?\s*)*\d+)\s*条")
_BARE_ARTICLES = re.compile(r"[\d、,，;；和及与\s。.]+")

_YEARS = r"(?<![\d.])(\d{1,2}(?:\.\d+)?)\s*年(半)?(?:\s*[零又]?\s*(\d{1,2})\s*个?月)?"
_TERM = rf"(?:{_YEARS}|(?<![\d年.])(\d{{1,4}})\s*个?月(?!\s*\d+\s*日|份)|(半年))(?!\s*以[上下内])"
_TERMS = re.compile(_TERM)
_PENALTY = re.compile(rf"(?:徒刑|拘役|管制|刑期)[^\d半月。\n]{{0,8}}{_TERM}")

_CALCULATION = re.compile(r"\d[^=＝。\n]*[=＝]\s*")
_SEPARATOR = re.compile(r"(?<=\d)[,，](?=\d{3}(?!\d))")
_SUM = r"(\d+(?:\.\d+)?(?:\s*[亿万千百]+(?:\d+(?:\.\d+)?(?=[千百]))?)*)\s*余?\s*元"
_GAP = r"[^\d。\n]{0,12}"
_TOTALS = (
    ("called the total", re.compile(rf"(?:犯罪金额|涉案金额|总金额|总额|总价值|总计|合计|共计){_GAP}{_SUM}")),
    ("opening sum", re.compile(rf"\A\W*(?:人民币)?\s*{_SUM}")),
    ("called the total", re.compile(rf"共{_GAP}{_SUM}")),
    ("last sum", re.compile(_SUM)),
)
_UNITS = {"亿": 10**8, "万": 10**4, "千": 1000, "百": 100}

_NOTHING = re.compile(
    r"\W*(?:(?:无|没有|暂无|N/?A|None)(?:\W|相关|提[及到]|给出|具体|明确|信息|$).*|未[提给说明指列知涉描].*|不(?:涉及|详|明|适用).*)",
    re.I,
)
_NO_ENTITY = re.compile(r"(?:没有|无|未|不)[^。\n]{0,80}(?:实体|信息)|(?:^|[\n:：])[\W\d]*无\W*$")
_BELOW = re.compile(r"\s*(?:\n\s*[-•*·]\s+[^\n]*)+")
_AROUND_WORDS = re.compile(
    r"(?s)^.*(?:触发词|触发了?事件的词(?:语|汇)?|答案)(?:分别)?(?:包括|有|[是为:：])+|\n\s*(?:解析|解释|说明|理由|分析|原因|其中|注).*$"
)


@extractor.promising(
    "{}", "{}。", "[法条]刑法第{}条<eoa>", "[法条] {} <eoa>", "[法条]第{}条", "【法条】刑法第{}条。", "[法条]\n刑法第{}条",
    "**[法条]** 刑法第{}条<eoa>", "刑法第{}条", "《中华人民共和国刑法》第{}条。", "本案适用刑法第{}条的规定。",
    "<think>先看案情，再作判断。</think>\n\n[法条]刑法第{}条<eoa>",
)  # fmt: skip
@ByWays
def law_articles(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the articles of the Criminal Law that the reply names, as numbers from low to high ("234;275"); null for none.

    Articles of other laws, paragraphs (第一款) and the number behind 之 (第133条之一) are left out.
    """
    return each_reading(_plain(text), _articles)


@extractor.promising(
    "{}个月", "{}月", "**{}个月**", "[刑期]{}月<eoa>", "[刑期]{}个月<eoa>", "[刑期] {} <eoa>", "【刑期】{}个月", "[刑期]\n{}个月",
    "**[刑期]** {}个月<eoa>", "刑期：{}个月。", "判处有期徒刑{}个月。", "判处有期徒刑{}个月，并处罚金人民币2000元。",
    "<think>先看案情，再作判断。</think>\n\n[刑期]{}月<eoa>",
)  # fmt: skip
@ByWays
def prison_months(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the term in months (有期徒刑一年六个月 is 18); "0" for no punishment, "无期" for life and death; else null."""
    return each_reading(_plain(text), _months)


@extractor.promising(
    "{}", "{}元", "{}元。", "**{}元**", "[金额]{}元<eoa>", "[金额] {} <eoa>", "【金额】人民币{}元", "[金额]\n{}元",
    "**[金额]** {}元<eoa>", "犯罪总金额为{}元。", "合计人民币{}元。", "上文涉及到的犯罪金额:{}元。",
    "<think>先看案情，再作判断。</think>\n\n[金额]{}元<eoa>",
)  # fmt: skip
@ByWays
def yuan(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the sum of money in yuan (0.85万元 is 8500): the one marked or called the total, else the last one; else null."""
    return each_reading(_plain(text), _yuan)


@extractor.promising(
    "{}", " {} ", "\n{}\n", "{}<eoa>", "**{}**", "{}；", "- {}", "1. {}", "实体信息如下：\n{}",
    "句中的实体信息如下：\n\n{}\n", "<think>先看案情，再作判断。</think>\n\n{}",
)  # fmt: skip
def entities(text: pl.Expr, choices: Sequence[str], *, types: Sequence[str]) -> pl.Expr:
    """Return a JSON object of the entity types that the reply lists ("受害人：张某"), "{}" where it says that there are none.

    What stands behind a type's colon belongs to it, up to the next type, the line's end or a semicolon; or the list below it.
    """
    return each_reply(_plain(text), lambda reply: _entities(reply, types))


@extractor.promising(
    "{}", "{}。", "**{}**", "“{}”", "{}<eoa>", "1. {}", "触发词：{}", "触发词是：{}。", "**触发词：** {}",
    "触发事件的词是“{}”。", "触发事件的词语包括：{}", "答案：{}", "{}\n\n解析：这些词表示事件。",
    "<think>先看案情，再作判断。</think>\n\n{}",
)  # fmt: skip
def trigger_words(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the words that the reply lists, joined by ";"; null for none. Any of ;；、,， and a line's end parts them."""
    return each_reply(_plain(text), _triggers)


def _plain(text: pl.Expr) -> pl.Expr:
    """Return each reply without thoughts, bold marks and what stands behind ``<eoa>``."""
    return strip_thoughts(text).str.replace(r"(?s)[<\[]eoa[>\]].*$", "").str.replace_all(r"\*\*|__|`|\r", "")


def _marked(reply: str, names: str) -> str | None:
    """Return what stands behind the last [mark] of one of these names, or below it; None for nothing."""
    found = re.findall(rf"(?s)[\[【](?:{names})[\]】][ :：]*([^\n<\[【 ][^\n<\[【]*|\n.*)", reply)
    return found[-1].strip() or None if found else None


def _articles(reply: str) -> tuple[str | None, str]:
    marked = _marked(reply, "法条|法律条文|答案")
    body = _OTHER_LAW.sub("", _PARTS.sub("", to_digits(marked or reply)))
    named = "、".join(match[1] for match in _ARTICLES.finditer(body))
    if not named and (marked or _BARE_ARTICLES.fullmatch(body)):
        named = body
    articles = sorted({int(number) for number in re.findall(r"\d+", named)})
    return ";".join(map(str, articles)), "marked" if marked else "anywhere"


def _months(reply: str) -> tuple[str | None, str]:
    marked = _marked(reply, "(?:判决)?刑期|答案")
    body = to_digits(marked or reply)
    penalties = list(_PENALTY.finditer(body))
    way = "marked" if marked else "penalty phrase" if penalties else "anywhere"
    if not penalties and re.search("无期|死刑", body):
        return "无期", way
    if marked and body.isdecimal():
        return body, way
    term = penalties[-1] if penalties else _TERMS.search(body)
    if term is None:
        return "0" if re.search("免[予于]刑事处罚|不予刑事处罚|无罪", body) else None, way
    years, half, rest, months, half_year = term.groups()
    if years:
        return str(round(float(years) * 12) + (6 if half else 0) + int(rest or 0)), way
    return "6" if half_year else str(int(months)), way


def _yuan(reply: str) -> tuple[str | None, str]:
    marked = _marked(reply, "(?:犯罪)?(?:总?金额|总额)|答案")
    body = _CALCULATION.sub("", _SEPARATOR.sub("", to_digits(marked or reply)))
    called = ((pattern.findall(body), way) for way, pattern in (_TOTALS[-1:] if marked else _TOTALS))
    bare = (re.findall(r"\d+(?:\.\d+)?\s*[亿万]?", body), "bare number")
    sums, way = next((told for told in called if told[0]), bare)
    if not sums or (len(set(sums)) > 1 and "元" not in body):
        return None, way
    total = 0.0
    for number, units in re.findall(r"(\d+(?:\.\d+)?)\s*([亿万千百]*)", sums[-1]):
        total += float(number) * math.prod(_UNITS[unit] for unit in units)
    return f"{total:.2f}".rstrip("0").rstrip("."), "marked" if marked else way


def _entities(reply: str, types: Sequence[str]) -> str | None:
    names = "|".join(sorted(types, key=len, reverse=True))
    parts = re.split(rf"({names})[)）\]】\"”]?\s*[:：]", reply)
    found: dict[str, str] = {}
    for kind, text in zip(parts[1::2], parts[2::2], strict=True):
        below = _BELOW.match(text)
        value = "、".join(re.findall(r"[-•*·]\s+([^\n]*)", below[0])) if below else re.split(r"[\n;；]", text.strip())[0]
        value = value.strip(' \t、，,。.;；-•*·(（[【"“”}{')
        if value and not _NOTHING.fullmatch(value):
            found[kind] = f"{found[kind]}、{value}" if kind in found else value
    if not found and not parts[1:] and not _NO_ENTITY.search(reply):
        return None
    return json.dumps(found, ensure_ascii=False)


def _triggers(reply: str) -> str | None:
    listed = re.sub(r"(?m)^\s*\d+[.、)）．]", "", _AROUND_WORDS.sub("", reply))
    listed = re.sub(r"(?<=\w)[\"”'’]?[（(][^（）()\n]*[)）]", "", listed)  # the event behind its word
    listed = re.sub(r"(?<=[\"”'’」])\s*[和与及]\s*(?=[\"“'‘「])", ";", listed)
    words = [re.sub(r"[\s\"“”'‘’。.【】\[\]（）()-]", "", word) for word in re.split(r"[;；、,，\n]", listed)]
    return ";".join(word for word in words if word) or None
