"""What tasks of mathematics need beside metrics and extractors: the answers in their data."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from ocli.errors import DataError, PromptError, RecipeError
from ocli.prompts import compile_field
from ocli.registry import metric
from ocli.rows import parse_rows, read_rows


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"So $x = \boxed{7}$.", "7"),
        (r"$\boxed{\frac{1}{\sqrt{2}}}$", r"\frac{1}{\sqrt{2}}"),
        (r"$\boxed{1}$ at first, then $\boxed{2}$", "2"),
        (r"$\boxed{\{1, 2\}}$", r"\{1, 2\}"),
        (r"\boxed{}", ""),
    ],
)
def test_boxed_is_what_stands_in_the_last_box(solution: str, answer: str) -> None:
    assert compile_field("t", "solution|boxed")({"solution": solution}) == answer


@pytest.mark.parametrize("solution", ["", "7", "}", r"\boxed 7", r"\boxed{7"])
def test_solution_without_a_whole_box_is_an_error(solution: str) -> None:
    with pytest.raises(PromptError, match="ends without a"):
        compile_field("t", "solution|boxed")({"solution": solution})


def test_problems_by_number_are_rows(tmp_path: Path) -> None:
    """``math/math.json`` of OpenCompass is one object: number to problem."""
    problems = {str(number): {"problem": f"What is {number}?", "solution": rf"\boxed{{{number}}}"} for number in (0, 1)}
    path = tmp_path / "math.json"
    path.write_text(json.dumps(problems, indent=1), encoding="utf-8")
    assert [row["problem"] for row in read_rows(path)] == ["What is 0?", "What is 1?"]


@pytest.mark.parametrize("relative", [-0.1, True, "0.1", None])
def test_equal_values_refuses_what_is_no_tolerance(relative: object) -> None:
    with pytest.raises(RecipeError, match="from 0 up"):
        metric.get("equal_values", {})(pl.col("answer"), pl.col("target"), relative=relative)


PROBLEMS = """<?xml version="1.0" encoding="UTF-8"?>
<!-- Two problems. -->
<Corpus>
  <Set>
    <Problem ID="1" Grade="2"><Body>A &amp; B</Body><Question>Wieviel &#252;brig? </Question><Note/></Problem>
    <Problem ID="2" Grade="3"><Body>C</Body><Question>D</Question></Problem>
  </Set>
</Corpus>"""


def test_elements_of_xml_are_rows() -> None:
    first, second = parse_rows("a.xml", PROBLEMS.encode())
    assert first == {"ID": "1", "Grade": "2", "Body": "A & B", "Question": "Wieviel \xfcbrig? ", "Note": ""}
    assert second == {"ID": "2", "Grade": "3", "Body": "C", "Question": "D"}
    assert parse_rows("a.xml.gz", gzip.compress(PROBLEMS.encode())) == [first, second]
    assert parse_rows("a.xml", PROBLEMS.encode("utf-8-sig")) == [first, second]


def test_list_of_one_element_is_one_row() -> None:
    assert parse_rows("a.xml", b"<Set><Problem ID='1'><Body>C</Body></Problem></Set>") == [{"ID": "1", "Body": "C"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<Set><Problem>", "a.xml: not valid XML: no element found"),
        ("", "a.xml: not valid XML"),
        ("<Set><Problem><Body/></Problem><Other><Body/></Other></Set>", "one list of elements of the same name"),
        ("<Set><P><Body><b>x</b></Body></P><P><Body/></P></Set>", "each with plain texts in it"),
    ],
)
def test_xml_that_is_no_list_of_rows_is_an_error(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_rows("a.xml", text.encode())


def test_formulas_of_several_blanks_are_compared_one_by_one() -> None:
    pytest.importorskip("math_verify")
    cases = json.loads((Path(__file__).parent / "cases" / "equal_formulas.json").read_text(encoding="utf-8"))
    frame = pl.DataFrame({name: [case[name] for case in cases] for name in ("answer", "target", "score")}, strict=False)
    found = frame.with_columns(found=metric.get("equal_formulas", {})(pl.col("answer"), pl.col("target")))
    assert found.filter(pl.col("found") != pl.col("score")).rows() == []
