"""Extractors against their case tables and against OpenCompass's own output."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli.errors import RecipeError
from ocli.extract.thoughts import strip_thoughts, unclosed_thought
from ocli.registry import extractor

CASES = Path(__file__).parent / "cases"
GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "opencompass"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden tables at {GOLDEN}")

Case = dict[str, Any]


def table(path: Path) -> list[Case]:
    """Read a case table; rows of the choice table leave out what is the same for nearly all of them."""
    usual = {"extractor": "choice", "options": {}, "choices": "ABCD"}
    return [usual | case for case in json.loads(path.read_text(encoding="utf-8"))]


def answers(cases: list[Case]) -> list[str | None]:
    """Run every case, one frame for each extractor, options and choices."""
    replies = pl.Series("reply", [case["reply"] for case in cases], dtype=pl.String)
    frame = replies.to_frame().with_row_index()
    keys = [json.dumps([case["extractor"], case["options"], case["choices"]]) for case in cases]
    found: list[str | None] = [None] * len(cases)
    for key in dict.fromkeys(keys):
        name, options, choices = json.loads(key)
        rows = frame.filter(pl.Series(keys) == key)
        answer = extractor.get(name, options)(pl.col("reply"), tuple(choices), **options)
        for index, value in rows.lazy().select("index", answer=answer).collect().iter_rows():
            found[index] = value
    return found


def label(case: Case) -> str:
    return f"{case['extractor']}-{(case['reply'] or '')[-40:]}"


TABLE = [case for path in sorted((CASES / "extract").glob("*.json")) for case in table(path)]
ANSWERS = answers(TABLE)


@pytest.mark.parametrize(("case", "answer"), list(zip(TABLE, ANSWERS, strict=True)), ids=map(label, TABLE))
def test_reply_gives_answer(case: Case, answer: str | None) -> None:
    assert answer == case["answer"], case


@pytest.mark.parametrize("choices", [(), ("A",), ("A", "bc"), ("1", "2"), ("AB", "")])
def test_choice_refuses_what_are_not_letters(choices: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match="capital letters"):
        extractor.get("choice", {})(pl.col("reply"), choices)


def test_choice_gives_the_same_in_every_context() -> None:
    frame = pl.DataFrame({"reply": ["A", None, "答案：B", "", "The answer is C."], "group": [1, 1, 1, 2, 2]})
    answer = extractor.get("choice", {})(pl.col("reply"), tuple("ABCD"))
    expected = ["A", None, "B", None, "C"]
    assert frame.select(answer.alias("answer"))["answer"].to_list() == expected
    assert frame.lazy().select(answer=answer).collect(engine="streaming")["answer"].to_list() == expected
    assert frame.select(answer=answer.over("group"))["answer"].to_list() == expected
    assert frame.clear().select(answer=answer)["answer"].to_list() == []


@pytest.mark.parametrize(
    ("reply", "rest", "unclosed"),
    [
        ("<think>a</think>b<think>c</think>d", "bd", False),
        ("x</think>y</think>z", "z", False),
        ("before<think>cut off", "before", True),
        ("<think>a</think>b<think>cut off", "b", True),
        ("<think>a<think>b</think>c</think>d", "d", False),
        ("no tag", "no tag", False),
        ("", "", False),
    ],
)
def test_thoughts(reply: str, rest: str, unclosed: bool) -> None:
    frame = pl.DataFrame({"reply": [reply]})
    row = frame.select(rest=strip_thoughts(pl.col("reply")), unclosed=unclosed_thought(pl.col("reply")))
    assert row.row(0) == (rest, unclosed)


TWINS = {
    "first_capital_postprocess": "first_capital",
    "last_capital_postprocess": "last_capital",
    "first_capital_postprocess_multi": "first_capital_multi",
    "multiple_select_postprocess": "multiple_select",
    "first_option_postprocess": "first_option",
    "last_option_postprocess": "last_option",
    "first_number_postprocess": "first_number",
    "general_postprocess": "general",
    "gsm8k_postprocess": "gsm8k",
    "strategyqa_pred_postprocess": "strategyqa",
    "bbh_mcq_postprocess": "bbh_mcq",
    "bbh_freeform_postprocess": "bbh_freeform",
    "match_answer_pattern": "match_answer",
}
NOTHING = ("", "NULL", None)
"""What OpenCompass's extractors return for a reply without an answer."""


@needs_golden
@pytest.mark.parametrize(("name", "ours"), TWINS.items(), ids=TWINS.values())
def test_twin_agrees_with_opencompass_line_by_line(name: str, ours: str) -> None:
    lines = (GOLDEN / "postprocessors.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["postprocessor"] == name]
    found = answers([as_case(row, ours) for row in rows])
    assert rows
    for row, answer in zip(rows, found, strict=True):
        theirs = row["output"]
        if answer is None:
            assert theirs in NOTHING, row
        else:
            assert (float(answer) if isinstance(theirs, float) else answer) == theirs, (row, answer)


def as_case(row: Case, ours: str) -> Case:
    options = {"pattern" if option == "answer_pattern" else option: value for option, value in row["args"].items()}
    if re.search(r"\(\?<?[=!]|\\[1-9]", options.get("pattern", "")):
        pytest.skip(f"Rust's regex cannot express {options['pattern']!r}")
    return {"extractor": ours, "options": options, "choices": "", "reply": row["input"]}


@needs_golden
def test_choice_reads_the_annotated_replies() -> None:
    truth: dict[str, str] = json.loads((GOLDEN / "mcq_truth.json").read_text(encoding="utf-8"))
    found = answers([{"extractor": "choice", "options": {}, "choices": "ABCD", "reply": reply} for reply in truth])
    pairs = [(reply, gold, answer or "") for (reply, gold), answer in zip(truth.items(), found, strict=True)]
    wrong = [pair for pair in pairs if pair[2] not in ("", pair[1])]
    right = [pair for pair in pairs if pair[1] == pair[2]]
    assert not wrong
    assert len(right) / len(pairs) >= 0.99


FORMS = [
    "The answer is {n}.",
    "The answer is {c}.",
    "The answer is ${c}.",
    "${n}.00",
    "${c}.00.",
    "**{n}**.",
    "#### {n}",
    "#### {c}",
]
FORMS += [
    r"$\boxed{{{n}}}$.",
    r"$\boxed{{{n}}}$,",
    r"$\boxed{{{n}}}$",
    r"\boxed{{{n}}}.",
    r"$\boxed{{{c}}}$.",
    "#### ${c}",
    "#### **{n}**",
]
FORMS += [
    "{n} m^2",
    "The answer is {n} dollars. I solved it in 2 steps.",
    "答案是{c}元。",
    "答案：{n}。",
    "2 * 3 = {n}",
    "一共{n}个",
]


@pytest.mark.parametrize("form", FORMS)
def test_number_reads_every_surface_form(form: str) -> None:
    numbers = [0, 7, -3, 18, 131, 1000, 70_000, 1_234_567]
    replies = [form.format(n=number, c=f"{number:,}") for number in numbers]
    cases = [{"extractor": "number", "options": {}, "choices": "", "reply": reply} for reply in replies]
    assert answers(cases) == [str(number) for number in numbers]


@pytest.mark.parametrize("name", ["first_option", "last_option"])
def test_twin_of_options_needs_letters(name: str) -> None:
    with pytest.raises(RecipeError, match="needs its letters"):
        extractor.get(name, {})(pl.col("reply"), ())


@pytest.mark.parametrize(("words", "choices"), [("ab", ()), (["a"], ()), (["a", 1], ()), (None, ("A",)), (None, ("A", "B", "C"))])
def test_yes_no_needs_two_words(words: object, choices: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match="two"):
        extractor.get("yes_no", {})(pl.col("reply"), choices, words=words)
