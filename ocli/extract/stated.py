r"""Read the answer that a reply states, in whichever form its question wants: a letter, one of two words, or free text.

What the question offers (the task's ``choices``) decides: letters are read as ``choice`` does, two words as ``yes_no`` does
("valid" and "plausible" too), and where nothing is offered, the text is what a phrase ("the answer is", "答案是"), ``\boxed``
or "####" states last, on one line or as a list of a line each; else what alone is in bold in the last line; else the reply's only
line, or the number that a calculation at its end comes to. Free text comes in one plain form: a number without separators and
unit, brackets with a space between them, words with one space between them and no commas.
The cases are in ``tests/cases/extract/stated.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import once, or_null
from ocli.extract.boxed import boxed
from ocli.extract.choice import choice
from ocli.extract.number import number
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import ByWays, Way, settle, unread
from ocli.extract.yes_no import yes_no
from ocli.registry import extractor

_SPELLINGS = {
    **{chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)},
    **dict.fromkeys(["**", "__", "`", "$", "\\(", "\\)", "\\[", "\\]", "\\left", "\\right", "\u200b", "\r"], ""),
    **dict.fromkeys(["\\text{", "\\textbf{", "\\mathrm{", "“", "”"], '"'),
    **{"−": "-", "’": "'", "‘": "'", "\\{": "{", "\\}": "}", "\\rangle": ">", "\\langle": "<", "{,}": ",", "。": ". "},
    **{"\\,": " ", "\\ ": " ", "\xa0": " ", "\\_": "_", "\\approx": "≈"},
}
_THINGS = r"(?:alphabetically|list|words|order|sequence|expression|string|value|number|total|brackets|parentheses)"
_CUE = (
    r"(?:\b(?:answer|result|output)\b[^\n.:=]{0,40}?(?:\bis\b|\bare\b|[:=])"
    rf"|\b(?:sorted|alphabetical|final|missing|closing|completed|total) {_THINGS}\b[^\n.:=]{{0,40}}?(?:\bis\b|\bare\b|[:=])"
    r"|答案(?:应?[是为]|\s*[:：])|\#{4})"
).replace(r"\b", r"(?-u:\b)")
# A base model writes on with the next question.
NEXT_QUESTION = r"(?s)\n\s*(?:Question|Q|Human|User|问题|问) ?:.*$"
_LAST_IN_BOLD = r"(?:^|\n)[^\n*]*\*\*([^\n*]*[^\n*:：])\*\*[^\n*]*$"
_LIST = r"^\n+((?:(?:[-*•]|\d+[.)])[ \t]+[^\n]+\n+)+(?:[-*•]|\d+[.)])[ \t]+[^\n]+|(?:[a-z'-]+\n)+[a-z'-]+(?:\n|$))"
_MARK = r"(?m)^(?:[-*•]|\d+[.)])[ \t]+|\n"
_NUMBER = r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_LAST_SUM = rf"=\s*({_NUMBER})[\s$.\\\])]*$"  # a calculation that ends the reply
_ABBREVIATION = r"(\b(?:Mrs?|Ms|Dr|St|[ap]\.m|[ap]))\."
_SEVERAL = rf"{_NUMBER}(?:/\d+)?(?: ?[A-Za-z]+)?(?:(?:,\s+|\s*;\s*)(?:and )?| and ){_NUMBER}"
_NO_QUANTITY = (
    rf"^[\[(]|^{_SEVERAL}|^\d+(?:st|nd|rd|th)\b|^-?[\d.]+(?:\s+-?[\d.]+)+$|\d ?: ?\d|^[-+]?[\d.]+ ?(?:\\(?:pi|sqrt|ln|log)|[π√])"
)
_FORMULA = r"\d.*(?:10 ?\^|[*/×=≈]|\\times)|[=≈*/].*\d|\\frac"
_QUANTITY = rf"^(?:about |approximately |roughly )?({_NUMBER})(?:\s*[A-Za-z%°(\\].*)?$"
_BRACKETS = r"^[\s,\"'\[\](){}<>]*[\[\](){}<>][\s,\"'\[\](){}<>]*$"
_INVALID = r"(?i)(?-u:\b)(?:not (?:\w+ly )?(?:valid|plausible)|(?:\w+ly )?(?:invalid|implausible))(?-u:\b)"
_VALID = r"(?i)(?-u:\b)(?:\w+ly )?(?:valid|plausible)(?-u:\b)"


@extractor.promising(
    "So the answer is {}.", "The answer is: {}", "**Answer: {}**", "**Answer:** {}", "Answer: {}", "The final answer is **{}**.",
    "Reasons.\n\n**{}**", "Reasons.\n\nThe answer is:\n\n{}", "答案是{}。", "答案：{}",
    "<think>Maybe the answer is 7, or (A), or no.</think>\n\nSo the answer is {}.",
)  # fmt: skip
@ByWays
def stated(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the letter, the word or the text that the reply states as its answer, as the question's choices want it."""
    if choices and all(len(letter) == 1 and letter.isupper() for letter in choices):
        return choice.read(text, choices)
    if choices:
        return yes_no.read(text.str.replace_all(_INVALID, "false").str.replace_all(_VALID, "true"), choices)
    ways: list[tuple[str, Way]] = [
        ("boxed", lambda reply: boxed(reply, ())),
        ("answer phrase", lambda reply: behind_cue(reply.str.replace_many(_SPELLINGS, leftmost=True))),
        ("bold", in_bold),
        ("only line", only_line),
        ("last sum", lambda reply: reply.str.extract(_LAST_SUM, 1)),
    ]
    read = settle(unread(strip_thoughts(text).str.replace(NEXT_QUESTION, "")), ways)
    for step in (_bare, _in_plain_form, or_null):
        read = read.struct.with_fields(step(pl.field("answer")).alias("answer"))
    return read


def behind_cue(reply: pl.Expr) -> pl.Expr:
    """Return the line, or the list of a line each, behind the last phrase that announces an answer; null where there is none."""
    return once(reply.str.extract(rf"(?is)^.*{_CUE}(.*)$", 1), _line_or_list)


def _line_or_list(rest: pl.Expr) -> pl.Expr:
    listed = rest.str.strip_chars(" \t:：*").str.extract(_LIST, 1).str.replace_all(_MARK, " ")
    line = rest.str.strip_chars(" \t\n:：*").str.extract(r"^([^\n]*)", 1)
    return once(pl.coalesce(listed, line).str.strip_chars(), or_null)


def in_bold(reply: pl.Expr) -> pl.Expr:
    """Return what alone is in bold in the last line; null where nothing or several things are."""
    return reply.str.strip_chars_end().str.extract(_LAST_IN_BOLD, 1)


def only_line(reply: pl.Expr) -> pl.Expr:
    """Return a reply of one line; null where there are more."""
    return once(reply.str.strip_chars().str.extract(r"^([^\n]*)$", 1), or_null)


def _bare(found: pl.Expr) -> pl.Expr:
    """Return the stated sentence without marks and what follows it; the point of an abbreviation ends none."""
    spelled = found.str.replace_many(_SPELLINGS, leftmost=True).str.replace_all(_ABBREVIATION, "${1}\u2024")
    return (
        spelled.str.replace(r"\.(?:\s.*)?$|!(?:\s+[^=\s].*)?$", "")
        .str.strip_chars(" \t\n\"'")
        .str.replace_all("\u2024", ".", literal=True)
    )


def _in_plain_form(bare: pl.Expr) -> pl.Expr:
    return pl.coalesce(_brackets(bare), _number_of(bare), _words(bare))


def _brackets(bare: pl.Expr) -> pl.Expr:
    return pl.when(bare.str.contains(_BRACKETS)).then(bare.str.extract_all(r"[\[\](){}<>]").list.join(" "))


def _words(bare: pl.Expr) -> pl.Expr:
    """Return words with one space between them, without quotes, brackets and commas."""
    words = bare.str.replace_all(r"(^|[\s\[(,;<])[\"']|[\"']([\s\]),;<]|$)", "${1} ${2}").str.strip_chars("[]{}() ")
    return words.str.replace_all(r"\s*[,;<]\s*|\s+", " ").str.replace_all(r"(\d) ?: ?(\d)", "${1}:${2}").str.strip_chars()


def _number_of(bare: pl.Expr) -> pl.Expr:
    """Return the number that a stated answer is, its unit left out; null for a list, an ordinal, a time or words."""
    leading = bare.str.extract(_QUANTITY, 1).str.replace_all(r"[,+]", "").str.replace(r"\.0+$", "")
    one = pl.when(bare.str.contains(_FORMULA)).then(number(bare, ())).otherwise(leading)
    return pl.when(~bare.str.contains(_NO_QUANTITY)).then(one)
