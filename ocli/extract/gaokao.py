"""Read the answers to one question, or to several asked together, as in China's college entrance exam (GAOKAO-Bench).

What the question offers (the task's ``choices``) decides: single letters are read as ``choice`` does; where sets of letters are
offered ("A", "AB", ...), as ``option_set`` does; and where nothing is, the reply answers several questions: "A D - B" has the
letters in order, "-" being an answer that is no single letter. The cases are in ``tests/cases/extract/gaokao.json``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import or_null
from ocli.extract.choice import choice
from ocli.extract.option_set import option_set
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import ByWays, each_reading
from ocli.registry import extractor

_NUMBER = r"(?:第?[(\[]?(?P<number>\d{1,3})[)\]]?\s*[题小、.:,]{0,3}\s*)"
_LETTER = r"\(?(?P<letter>[A-G])\)?(?![A-Za-z'])"
_OR = r"(?!\s*(?:或者?|or|/)\s*\(?[A-G]\b)"
_MARKS = [  # the surest first: where answers are marked by one, what the others mark is reasoning
    re.compile(rf"{_NUMBER}?{mark}\s*[:选]?\s*")
    for mark in (
        r"【(?:正确|参考|最终)?答案】",
        r"(?:(?:正确|最终)?答案(?:应?[是为选]|(?=\s*:))|(?i:\banswer\b(?:\s+is)?))",
        r"(?:所以|因此|故)(?:本题)?(?:应?选|选择)",
    )
]
_NUMBERED = re.compile(rf"(?:^|(?<=[\s,;。、|(]))\(?{_NUMBER}(?:应?选)?{_LETTER}{_OR}")
_RANGE = re.compile(r"\d+\s*[-~–—至到]\s*\d+\s*[题:、.)]*\s*((?:[A-G][ ,、]*){2,})(?![A-Za-z])")  # "1-5 ADABC 6-10 BCDAA"
_FIRST = re.compile(rf"\s*(?:应?选)?{_LETTER}{_OR}")
_BARE = re.compile(r"[\s,;、.。()和与]*(?:[A-G][\s,;、.。()]*)+")
_MARKUP = str.maketrans("", "", "*`$_#")


@extractor.promising(
    "{}", "【答案】 {} <eoa>", "【解析】 略 <eoe>\n【答案】: {} <eoa>", "【答案】**{}**<eoa>", "**【答案】** {}", "【答案】\n{}",
    "答案：{}", "**答案：{}**", "答案是{}。", "**{}**", "<think>答案是 A？</think>\n\n【解析】 略 <eoe>\n【答案】 {} <eoa>",
)  # fmt: skip
@ByWays
def gaokao(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the letter, the set of letters ("AC"), or the letters of several questions ("A D - B")."""
    if choices:
        letters = "".join(sorted(set("".join(choices))))
        single = all(len(each) == 1 for each in choices)
        return choice.read(text, choices) if single else option_set.read(text, choices, letters=letters)
    return each_reading(strip_thoughts(text), _several)


def _several(reply: str) -> tuple[str | None, str]:
    """Read the marked answers, one a mark; else the letters behind the one mark or all of them, listed or numbered."""
    plain = unicodedata.normalize("NFKC", reply).translate(_MARKUP)
    if reasoned := _numbered_with_reasons(plain):
        return _in_order(reasoned), "numbered with reasons"
    marks = next(filter(None, (list(mark.finditer(plain)) for mark in _MARKS)), [])
    if len(marks) > 1:
        ends = [mark.start() for mark in marks[1:]] + [len(plain)]
        told = [(mark["number"], _FIRST.match(plain[mark.end() : end])) for mark, end in zip(marks, ends, strict=True)]
        answers = [(number, found["letter"] if found else "-") for number, found in told]
        return _in_order(answers) if any(letter != "-" for _, letter in answers) else None, "marked each"
    rest = plain[marks[0].end() :] if marks else plain
    rest = re.split(r"<eoa>|\n\s*\n", rest.strip())[0]
    if _BARE.fullmatch(rest):
        return " ".join(re.findall("[A-G]", rest)), "marked list" if marks else "alone"
    ranges = _RANGE.findall(rest if marks else plain)
    if ranges:
        return " ".join(re.findall("[A-G]", "".join(ranges))), "numbered range"
    numbered = [(found["number"], found["letter"]) for found in _NUMBERED.finditer(rest if marks else plain)]
    if numbered:
        return _in_order(numbered), "numbered"
    first = _FIRST.match(rest) if marks else None
    return first["letter"] if first else None, "marked"


def _numbered_with_reasons(plain: str) -> list[tuple[str | None, str]]:
    """Return the numbered letters of "(1) A. 略。故选A。 (2) D": each 故选 repeats the letter before it."""
    *surer, weakest = _MARKS  # what a surer one marks, is the answer
    marks = list(weakest.finditer(plain))
    numbered = list(_NUMBERED.finditer(plain))
    if not marks or any(mark.search(plain) for mark in surer) or len({each["number"] for each in numbered}) <= len(marks):
        return []
    for mark in marks:
        before = [each["letter"] for each in numbered if each.end() <= mark.start()]
        again = _FIRST.match(plain[mark.end() :])
        if not before or not again or again["letter"] != before[-1]:
            return []
    return [(each["number"], each["letter"]) for each in numbered]


def _in_order(answers: list[tuple[str | None, str]]) -> str:
    """Join the letters; where each has its question's number, a later answer to the same question stands for the earlier one."""
    if any(number is None for number, _ in answers):
        return " ".join(letter for _, letter in answers)
    by_number = {int(number or 0): letter for number, letter in answers}
    first, last = min(by_number), max(by_number)
    if last - first >= 2 * len(by_number):  # numbers of something else
        return " ".join(letter for _, letter in answers)
    return " ".join(by_number.get(number, "-") for number in range(first, last + 1))


@extractor
def gaokao_bench(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return what OpenCompass' ``GaokaoBenchEvaluator`` reads (``opencompass/datasets/GaokaoBench.py``), the raw reply.

    Of one question the last letter from A to D, of one with several right letters those behind the first "【答案】", else among
    the last 10 characters. Of several questions, which it reads by their number, "ADAB|ADABXY": the letters right behind a
    "【答案】", and all capitals; the metric ``gaokao_bench`` knows the number.
    """
    capitals = text.str.extract_all("[A-D]")
    if not choices:
        marked = text.str.extract_all(r"【答案】\s*[:：]*\s*[A-Z]").list.eval(pl.element().str.slice(-1)).list.join("")
        every = text.str.extract_all("[A-Z]").list.join("")
        return pl.when(every != "").then(marked + "|" + every)
    if all(len(each) == 1 for each in choices):
        return capitals.list.last()
    bare = text.str.replace_all(r"[\s\x1c-\x1f]+", "")
    behind = pl.when(~bare.str.starts_with("【答案】")).then(bare.str.extract(r"(?s)(【答案】.*)$", 1))  # none at the very start
    part = pl.coalesce(behind, bare.str.tail(10))
    answer = part.str.extract_all("[A-D]").list.join("")
    return or_null(answer)
