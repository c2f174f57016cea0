"""Read the letters of a reply to a question with several right options: "AC", "A、C" and "A and C" are all "AC".

The rules and their patterns are those of ``choice``; what differs is that a phrase may name several letters, that the options
called right are put together, and that "A or C" is no answer. The cases are in ``tests/cases/extract/option_set.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract._letters import (
    BOXED,
    CUE,
    MARKED,
    OPENING,
    SPELLINGS,
    VERDICT,
    Rule,
    apply_rules,
    as_letters,
    build,
    clean,
    first,
    last,
    normal,
    only_if_brief,
    strip,
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


@extractor.promising(
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
    letters = as_letters(letters or choices)
    read = settle(unread(text), [("listed", lambda reply: _listed(reply, letters))])
    rules: list[tuple[str, Rule, str]] = [
        ("alone", first, _BARE),
        ("alone", first, MARKED),
        ("boxed", last, BOXED),
        ("answer phrase", first, _TEXTS),
        ("answer phrase", last, CUE),
        ("called right", _all, VERDICT),
        ("opening letters", first, OPENING),
        ("only letters", only_if_brief, "<S>"),
    ]
    read = apply_rules(read, letters, (strip, normal, _joined, clean), rules)
    found = pl.when(~pl.field("answer").str.contains(r"\b(?i:or)\b|或")).then(pl.field("answer"))
    named = found.str.to_uppercase().str.replace_all("AND", "").str.extract_all(build("<L>", letters))
    answer = named.list.unique().list.sort().list.join("").replace({"": None})
    return read.struct.with_fields(answer.alias("answer"))


def _listed(reply: pl.Expr, letters: str) -> pl.Expr:
    """Return the letters of a reply that lists options with their texts, a line each; a list of all of them is an echo."""
    reply = strip(reply, letters).str.replace_many(SPELLINGS, leftmost=True).str.strip_chars()
    listed = pl.when(reply.str.contains(build(_LINES, letters))).then(reply)
    found = listed.str.extract_all(build(_LINE, letters)).list.join("").str.extract_all(build("<L>", letters)).list.unique()
    return pl.when(found.list.len().is_between(1, len(letters) - 1)).then(found.list.join(""))


def _joined(reply: pl.Expr, letters: str) -> pl.Expr:
    """Write letters together that only spaces, semicolons or plus signs part (each pass joins pairs); "A选项" becomes "A"."""
    reply = reply.str.replace_all(build(_TEXT_AND, letters), " ${1} ").str.replace_all(build(_CALLED, letters), "${1}")
    for _ in range(3):
        reply = reply.str.replace_all(build(_APART, letters), "${1}${2}")
    return reply


def _all(reply: pl.Expr, pattern: str, letters: str) -> pl.Expr:
    """Return the letters of all matches together."""
    named = reply.str.extract_all(pattern).list.join(" ").str.extract_all(build("<S>", letters)).list.join(" ")
    return pl.when(named != "").then(named)
