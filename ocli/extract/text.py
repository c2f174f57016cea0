"""Free-text answers: the reply itself, without thoughts; knows nothing of the question."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract.thoughts import strip_thoughts
from ocli.registry import extractor

_LEAD_IN = (
    r"^(?i:(?:(?:so|thus|therefore|hence),? +)?(?:the +|my +)?(?:correct +|final +|short +)?"
    r"answer\W{0,3}(?: is\b| *:) *:?)\s*"
)
_LEAD_IN_CHINESE = (
    r"^(?:所以|因此|故)?(?:【(?:正确|最终)?答案】"
    r"|(?:正确|最终)?的?答案(?:应?[是为]|[:：]))[:：]?\s*"  # once: the answer itself may begin with 为 or 是
)
_WRAPPING = " \t\"'“”‘’「」*`_"
_TRAILING = " \t.。!！,，;；:："


@extractor.reads(
    "{}", " {} ", "\n{}", "\n\n{}\n", "{}\r\n", "\t{}", "<think>Paris?</think>\n\n{}", "Paris?</think>{}",
    "<think>\n\n</think>\n\n{}", "<thinking>巴黎？</thinking>\n{}", "◁think▷巴黎？◁/think▷{}",
    "<|channel|>analysis<|message|>Paris?<|channel|>final<|message|>{}",
)  # fmt: skip
def text(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the reply without thoughts and surrounding white space."""
    return _or_null(strip_thoughts(text).str.strip_chars())


@extractor.reads(
    "{}", "{}.", "**{}**", "\"{}\"", "The answer is {}.", "The answer is: {}", "Answer: {}", "**Answer:** {}",
    "So the final answer is **{}**.", "答案：{}", "答案是{}。", "答案为：{}", "【答案】{}", "最终答案：“{}”。",
    "<think>The answer is Paris.</think>\n\n{}", "{}\n\nThis follows from the text.",
)  # fmt: skip
def short_text(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the reply's first line without an opening such as "The answer is" or closing punctuation."""
    reply = strip_thoughts(text).str.strip_chars().str.strip_chars_start(_WRAPPING)
    answer = reply.str.replace(_LEAD_IN, "").str.replace(_LEAD_IN_CHINESE, "")
    line = answer.str.strip_chars_start("*:： \n").str.extract(r"^([^\r\n]*)", 1)
    return _or_null(line.str.strip_chars_end(_TRAILING + _WRAPPING).str.strip_chars_start(_WRAPPING))


def _or_null(answer: pl.Expr) -> pl.Expr:
    return pl.when(answer != "").then(answer)
