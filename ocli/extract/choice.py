r"""Read the letter of a multiple-choice reply; null where it names none, several, or one that is not offered.

Rules, in order: a reply that is only a letter; the last ``\boxed`` letter; the last letter behind an answer
phrase ("答案是", "the answer is"); a letter that opens the reply; the only letter called right; the letter of an
option that is the last line; the only letter of a short reply, at its end. Statements that reject a letter ("A is
incorrect") are taken out first. The patterns are in ``_letters.py``, the cases in ``tests/cases/extract/choice.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract._letters import (
    BOXED,
    CUE,
    MARKED,
    OPENING,
    UNDECIDED,
    VERDICT,
    Rule,
    apply_rules,
    as_letters,
    build,
    clean,
    first,
    last,
    normal,
    only,
    only_if_brief,
    strip,
)
from ocli.extract.option_text import option_of_text
from ocli.extract.ways import ByWays, settle, unread
from ocli.registry import extractor

_BARE = r"^[ \n(*\"'`]*(<L>)[ \n)*.\"'`。]*$"
_FINAL = r"\n[ (\">#^-]*(<L>)(?:[.、:] ?|[)] )[^\n]{1,80}$"  # "(B) its text" as the last line
_LINE = r"(?m)^[ (\">#^-]*<L>[.、:)]"
_LABELLED = r"^(?:(?i:option|choice) )?\(?(<L>|<l>)(?:[):] ?[^\n]{1,80})?$"  # all of the reply


@extractor.promising(
    "{}", "({})", "{}.", "**{}**", "#### {}", "The answer is {}", "The answer is ({}).", "The correct answer is **{}**.",
    "Answer: {}", "**Answer:** {}", "Therefore, the correct option is {}.", "\\boxed{{}}", "$\\boxed{\\text{{}}}$.", "答案：{}",
    "答案是{}。", "【答案】{}", "故选：{}。", "因此，正确答案是选项 **{}**。", "<answer>{}</answer>",
    "<think>Is the answer B? 答案是 A？</think>\n\n答案：（{}）",
    "Let us compare the options one by one.\n\n**Answer: {}**\n\nThe others do not fit the question.",
)  # fmt: skip
@ByWays
def choice(text: pl.Expr, choices: Sequence[str], *, texts: Sequence[str] = ()) -> pl.Expr:
    """Return the letter the reply settles on, in upper case.

    ``texts`` are what the letters stand for, where every question shows the same ("Yes", "No"): one of them counts as its letter.
    """
    letters = as_letters(choices)
    read = settle(unread(text), [("alone", lambda reply: reply.str.extract(build(_BARE, letters)))])
    rules: list[tuple[str, Rule, str]] = [
        ("alone", first, MARKED),
        ("boxed", last, BOXED),
        ("answer phrase", last, CUE),
        ("opening letter", first, OPENING),
        ("called right", only, VERDICT),
        ("last line", _final, _FINAL),
        ("alone", first, _LABELLED),
        ("only letter", only_if_brief, "<S>"),
    ]
    read = apply_rules(read, letters, (strip, normal, clean), rules)
    letter = pl.field("answer").str.to_uppercase().str.extract(build("^(<L>)$", letters))
    read = read.struct.with_fields(letter.alias("answer"))
    if not texts:
        return read
    # The text of an option is looked for in the reply as it came, not as the rules simplified it.
    found = (pl.field("read").struct.field(name) for name in ("answer", "pattern"))
    read = pl.struct(text.alias("reply"), read.alias("read")).struct.with_fields(*found)
    return settle(read, [("option text", lambda reply: option_of_text(reply, letters, texts))])


def _final(reply: pl.Expr, pattern: str, letters: str) -> pl.Expr:
    """Return the letter that begins the last line, where no other line begins with one and the reply does not decline."""
    alone = reply.str.count_matches(build(_LINE, letters)) == 1
    return pl.when(alone & ~reply.str.contains(UNDECIDED)).then(reply.str.extract(pattern))
