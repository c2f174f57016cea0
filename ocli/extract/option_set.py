"""Read the letters of a reply to a question with several right options: "AC", "A、C" and "A and C" are all "AC".

The rules and their patterns are those of ``choice``; what differs is that a phrase may name several letters, that the options
called right are put together, and that "A or C" is no answer. The cases are in ``tests/cases/extract/option_set.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract.choice import (
    _BOXED,
    _CUE,
    _MARKED,
    _OPENING,
    _SPELLINGS,
    _VERDICT,
    Rule,
    _build,
    _clean,
    _first,
    _last,
    _letters,
    _normal,
    _only_if_brief,
    _settle,
    _strip,
)
from ocli.extract.ways import ByWays, settle, unread
from ocli.registry import extractor

_SEPARATOR = r"[ \n,、/;&+.()]*(?:\b(?:and|AND)\b|和|与|及|以及)?[ \n,、/;(]*"
_BARE = rf"^[ \n(\[\"'#>-]*(<L>(?:{_SEPARATOR}<L>)*)[ \n.。)\]\"'!]*$"
_LINES = r"^(?:[ (>-]*<L>[.、:)] *(?:[^\n<IN>(),、 ]|[<IN>][a-z])[^\n]*\n*)+$"
# "答案：A. 甲有权；C. 乙承担": letters with their texts, none of them called wrong.
_TEXTS = r"(?:答案|\banswers?\b)[^\n<IN>]{0,12}((?:<L>[.、:)] ?[^\n<IN>;错误×]{1,80}[;\n ]*){2,})$"
_LINE = r"(?m)^[ (>-]*<L>[.、:)]"
_APART = r"\b([<IN>]+)(?: +| *[;+] *)([<IN>]+)\b"
_TEXT_AND = r" *\b(and|or)\b *\} *"  # what is left of LaTeX's \text{ and }
_CALLED = r"\b([<IN>])[)\"']* ?选项"


@extractor.reads(
    "{}", "**{}**", "The answer is {}", "The correct answer is **{}**.", "Answer: {}", "**Answer:** {}", "\\boxed{{}}",
    "$\\boxed{\\text{{}}}$.", "答案：{}", "答案是{}。", "【答案】{}", "故选：{}。", "因此，正确答案是 **{}**。",
    "<think>Is the answer BD? 答案是 A？</think>\n\n答案：（{}）",
    "Let us compare the options one by one.\n\n**Answer: {}**\n\nThe others do not fit the question.",
)  # fmt: skip
@ByWays
def option_set(text: pl.Expr, choices: Sequence[str], *, letters: str = "") -> pl.Expr:
    """Return the letters the reply settles on, sorted and written together ("ACD").

    ``letters`` are those on offer; default: the task's choices.
    """
    letters = _letters(letters or choices)
    read = settle(unread(text), [("listed", lambda reply: _listed(reply, letters))])
    rules: list[tuple[str, Rule, str]] = [
        ("alone", _first, _BARE),
        ("alone", _first, _MARKED),
        ("boxed", _last, _BOXED),
        ("answer phrase", _first, _TEXTS),
        ("answer phrase", _last, _CUE),
        ("called right", _all, _VERDICT),
        ("opening letters", _first, _OPENING),
        ("only letters", _only_if_brief, "<S>"),
    ]
    read = _settle(read, letters, (_strip, _normal, _joined, _clean), rules)
    found = pl.when(~pl.field("answer").str.contains(r"\b(?i:or)\b|或")).then(pl.field("answer"))
    named = found.str.to_uppercase().str.replace_all("AND", "").str.extract_all(_build("<L>", letters))
    answer = named.list.unique().list.sort().list.join("").replace({"": None})
    return read.struct.with_fields(answer.alias("answer"))


def _listed(reply: pl.Expr, letters: str) -> pl.Expr:
    """Return the letters of a reply that lists options with their texts, a line each; a list of all of them is an echo."""
    reply = _strip(reply, letters).str.replace_many(_SPELLINGS, leftmost=True).str.strip_chars()
    listed = pl.when(reply.str.contains(_build(_LINES, letters))).then(reply)
    found = listed.str.extract_all(_build(_LINE, letters)).list.join("").str.extract_all(_build("<L>", letters)).list.unique()
    return pl.when(found.list.len().is_between(1, len(letters) - 1)).then(found.list.join(""))


def _joined(reply: pl.Expr, letters: str) -> pl.Expr:
    """Write letters together that only spaces, semicolons or plus signs part (each pass joins pairs); "A选项" becomes "A"."""
    reply = reply.str.replace_all(_build(_TEXT_AND, letters), " ${1} ").str.replace_all(_build(_CALLED, letters), "${1}")
    for _ in range(3):
        reply = reply.str.replace_all(_build(_APART, letters), "${1}${2}")
    return reply


def _all(reply: pl.Expr, pattern: str, letters: str) -> pl.Expr:
    """Return the letters of all matches together."""
    named = reply.str.extract_all(pattern).list.join(" ").str.extract_all(_build("<S>", letters)).list.join(" ")
    return pl.when(named != "").then(named)
