"""Free-text answers: the reply itself, without thoughts; knows nothing of the question."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import or_null, where_found
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import ByWays
from ocli.registry import extractor

_LEAD_IN = (
    r"(?i:(?:(?:so|thus|therefore|hence),? +)?(?:the +|my +)?(?:correct +|final +|short +)?"
    r"answer\W{0,3}(?: is\b| *:|\n) *:?)\s*"
)
_LEAD_IN_CHINESE = (
    r"(?:所以|因此|故)?，?(?:【(?:正确|最终)?答案】"
    r"|(?:正确|最终)?的?答案(?:应?[是为]|[\"'“”‘’」*`_ ]*[:：\n])"  # once: the answer itself may begin with 为 or 是
    r"|答[:：])[:：]?\s*"
)
_QUESTION = r"\n\s*(?:(?:Next )?Question|Q|Human|User|问题|题目|问|用户)(?: ?\d+)? ?[:：]"
_WRAPPING = " \t\"'“”‘’「」*`_"
_TRAILING = " \t.。!！,，;；:："


@extractor.promising(
    "{}", " {} ", "\n{}", "\n\n{}\n", "{}\r\n", "\t{}", "<think>Paris?</think>\n\n{}", "Paris?</think>{}",
    "<think>\n\n</think>\n\n{}", "<thinking>巴黎？</thinking>\n{}", "◁think▷巴黎？◁/think▷{}",
    "<|channel|>analysis<|message|>Paris?<|channel|>final<|message|>{}",
)  # fmt: skip
def text(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the reply without thoughts and surrounding white space."""
    return or_null(strip_thoughts(text).str.strip_chars())


_LATER = rf"\n[\s#>{_WRAPPING}-]*({_LEAD_IN}|{_LEAD_IN_CHINESE})"


@extractor.promising(
    "{}", "{}.", "**{}**", "\"{}\"", "The answer is {}.", "The answer is: {}", "Answer: {}", "**Answer:** {}",
    "So the final answer is **{}**.", "答案：{}", "答案是{}。", "答案为：{}", "【答案】{}", "最终答案：“{}”。",
    "<think>The answer is Paris.</think>\n\n{}", "{}\n\nThis follows from the text.",
    "The text speaks of several.\n\n**Answer:** {}",
)  # fmt: skip
@ByWays
def short_text(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the line behind the last "Answer:" or "The answer is" that begins one, else the first, without closing punctuation.

    A base model writes on with the next question, whose answer is not this question's: the reply ends there.
    """
    reply = strip_thoughts(text).str.strip_chars()
    reply = where_found(_QUESTION, reply, lambda part: part.str.replace(rf"(?s)^(.*?\S.*?){_QUESTION}.*$", "${1}"))
    reply = where_found(_LATER, reply, lambda part: part.str.replace(rf"(?s)^.*{_LATER}", "${1}"))
    read = pl.struct(reply.str.replace(r"^(?:[#>]+ )+", "").str.strip_chars_start(_WRAPPING).alias("reply"))
    read = read.struct.with_fields(pl.field("reply").str.replace(rf"^(?:{_LEAD_IN}|{_LEAD_IN_CHINESE})", "").alias("answer"))
    announced = pl.field("answer") != pl.field("reply")
    pattern = pl.when(announced).then(pl.lit("answer phrase")).otherwise(pl.lit("first line"))
    line = pl.field("answer").str.strip_chars_start("*:： \n").str.extract(r"^([^\r\n]*)", 1)
    answer = or_null(line.str.strip_chars_end(_TRAILING + _WRAPPING).str.strip_chars_start(_WRAPPING))
    return read.struct.with_fields(answer.alias("answer"), pattern.alias("pattern"))
