"""What tasks of mathematics need beside metrics and extractors: the answers in their data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocli.errors import PromptError
from ocli.prompts import compile_field
from ocli.rows import read_rows


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
