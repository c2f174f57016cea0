"""Ways to state an answer: forms that extractors promise to read, replies that other tools misread, replies without an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli.registry import extractor, metric

CASES = Path(__file__).parent / "cases"
GSM8K = Path(__file__).parents[2] / "shared" / "data" / "gsm8k" / "test.jsonl"
OURS = ["boxed", "choice", "number", "option_set", "short_text", "text", "yes_no"]
SILENT: list[dict[str, Any]] = json.loads((CASES / "no_answer.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", OURS)
def test_extractor_promises_ten_forms(name: str) -> None:
    forms = extractor.promises(name)
    assert len(set(forms)) >= 10
    assert all("{}" in form for form in forms)


# {n} is the gold as written, {c} with thousands separators: the rows of USERS.md A.2, all of which are to give 100.
GSM8K_FORMS = [
    "The answer is {n}.", "The answer is {c}.", "The answer is ${c}.", "The answer is ${n}.00", "${n}.00", "${c}.00.",
    "**{n}**.", r"$\boxed{{{n}}}$.", r"$\boxed{{{n}}}$,", r"$\boxed{{{n}}}$", r"\boxed{{{n}}}.", r"$\boxed{{{c}}}$.",
    "#### {n}", "#### {c}", "#### ${c}", "#### **{n}**", "The answer is {n} dollars. I solved it in 2 steps.", "{n} m^2",
]  # fmt: skip


def gsm8k_share(replies: list[str], golds: list[str]) -> float:
    """Return the share of replies that ``number`` and ``equal_number`` count as right."""
    frame = pl.DataFrame({"reply": replies, "gold": golds})
    answer = extractor.get("number", {})(pl.col("reply"), ())
    score = metric.get("equal_number", {})(pl.col("answer"), pl.col("gold"))
    return frame.with_columns(answer=answer).select(score.mean()).item()


@pytest.mark.skipif(not GSM8K.is_file(), reason=f"no data at {GSM8K}")
def test_number_reads_every_gold_of_gsm8k_in_every_form() -> None:
    solutions = [json.loads(line)["answer"] for line in GSM8K.read_text(encoding="utf-8").splitlines()]
    golds = [solution.split("####")[-1].replace(",", "").strip() for solution in solutions]
    assert len(golds) == 1319
    found = {form: gsm8k_share([form.format(n=gold, c=f"{int(gold):,}") for gold in golds], golds) for form in GSM8K_FORMS}
    assert found == dict.fromkeys(GSM8K_FORMS, 1.0)
    assert gsm8k_share(solutions, golds) == 1.0
    # The one documented limit: where nothing says which number is the answer, the last one counts.
    assert gsm8k_share([f"{gold} dollars. I solved it in 2 steps." for gold in golds], golds) < 0.05


NATURAL = [
    ("The answer is B", "B"), ("Answer: D", "D"), ("根据DNA双螺旋，选B", "B"), ("A、C、D都不符合题意，只有选项B是对", "B"),
    ("Answer: **D**", "D"), ("The correct answer is d.", "D"), ("A选项错误，B选项错误，C选项错误，所以选D", "D"),
    ("Answer: Let's think step by step. A is a trap, so the answer is (C).", "C"), ("Ａ", "A"),
    ("<think>A 好像对？答案是 A? 不对</think>\n答案是 B", "B"),
    ("B", "B"), ("答案：C", "C"), ("故选B", "B"), ("(C)", "C"), (r"\boxed{C}", "C"), ("**B**", "B"),
]  # fmt: skip


def test_choice_reads_what_other_tools_misread() -> None:
    """Give the right letter for the rows of USERS.md A.3."""
    frame = pl.DataFrame(NATURAL, schema=["reply", "letter"], orient="row")
    found = frame.with_columns(answer=extractor.get("choice", {})(pl.col("reply"), tuple("ABCD")))
    assert found.filter(pl.col("answer").ne_missing(pl.col("letter"))).rows() == []


@pytest.mark.parametrize("name", ["boxed", "choice", "number", "option_set", "yes_no"])
def test_prose_without_an_answer_gives_none(name: str) -> None:
    replies = [row["reply"] for row in SILENT if name in row["extractors"]]
    assert len(replies) >= 20
    choices = tuple("ABCD") if name in ("choice", "option_set") else ()
    answer = extractor.get(name, {})(pl.col("reply"), choices)
    found = pl.DataFrame({"reply": replies}).with_columns(answer=answer)
    assert found.filter(pl.col("answer").is_not_null()).rows() == []
