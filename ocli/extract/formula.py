r"""Read the formula, the formulas or the words that fill a blank of mathematics: ``\boxed{...}``, or what a phrase states.

Rules, in order: the boxes of the last line that has any; the line behind the last "the answer is", "答案是"; what alone is in
bold in the last line; the reply's only line. Of a line with formulas in dollars these are the answer. Several are joined by ";".
The cases are in ``tests/cases/extract/formula.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import or_null
from ocli.extract.boxed import boxed
from ocli.extract.stated import NEXT_QUESTION, behind_cue, in_bold, only_line
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import ByWays, Way, settle, unread
from ocli.registry import extractor

_DOLLARS = {"\\(": "$", "\\)": "$", "\\[": "$", "\\]": "$", "$$": "$", "＄": "$"}
_BOX = r"\\(?:boxed|fbox)"
_FORMULA = r"\$((?:[^$\\]|\\.)+)\$"


@extractor.promising(
    "{}", "答案是：{}", "答案：{}。", "**答案：{}**", "所以\n答案为 {}。", "The answer is {}.", "**Answer: {}**",
    "**Answer:** {}", "Therefore, the final answer is: {}.", "Reasons.\n\n**{}**",
    "<think>The answer is $7$.</think>\n\nThe answer is {}.",
)  # fmt: skip
@ByWays
def formula(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the formula or words that the reply gives as its answer; several parts are joined by ";"."""
    reply = strip_thoughts(text).str.replace(NEXT_QUESTION, "").str.replace_many(_DOLLARS, leftmost=True)
    ways: list[tuple[str, Way]] = [("boxed", _boxes), ("answer phrase", behind_cue), ("bold", in_bold), ("only line", only_line)]
    read = settle(unread(reply), ways)
    inner = pl.when(pl.field("pattern") != "boxed").then(pl.field("answer"))
    read = read.struct.with_fields(pl.coalesce(_in_dollars(inner), pl.field("answer")).alias("answer"))
    answer = pl.field("answer").str.replace_all(r"\*\*|`", "").str.strip_chars(" \t\n")
    answer = answer.str.replace(r"(?:[.!,;]|[。！，；])+$", "").str.strip_chars(" ")
    return read.struct.with_fields(answer.alias("answer")).struct.with_fields(or_null(pl.field("answer")).alias("answer"))


def _boxes(reply: pl.Expr) -> pl.Expr:
    """Return what stands in the boxes of the last line that has any; null where there are none."""
    line = reply.str.extract_all(rf"(?m)^.*{_BOX}.*$").list.last()
    boxes = line.str.replace_all(_BOX, "\n\\boxed").str.split("\n").list.eval(boxed(pl.element(), ())).list.drop_nulls()
    whole = boxed(reply, ())  # one box may go over several lines
    return pl.when(boxes.list.len() > 1).then(boxes.list.join(";")).otherwise(whole)


def _in_dollars(line: pl.Expr) -> pl.Expr:
    """Return the formulas of a line; null where it has none, or where ";" stands between its parts already."""
    formulas = line.str.extract_all(_FORMULA).list.eval(pl.element().str.extract(_FORMULA, 1).str.strip_chars())
    return pl.when((formulas.list.len() > 0) & ~line.str.contains("[;；]")).then(formulas.list.join(";"))
