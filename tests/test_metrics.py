"""Metrics against their case table, which is evaluated in one frame for each metric and options."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli.errors import PackageError, RecipeError
from ocli.metrics import latex
from ocli.registry import extractor, metric

Case = dict[str, Any]

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "opencompass" / "evaluators.jsonl"
CASES = Path(__file__).parent / "cases"
TABLE: list[Case] = [
    case for path in sorted((CASES / "metrics").glob("*.json")) for case in json.loads(path.read_text(encoding="utf-8"))
]


def scores(cases: list[Case]) -> list[float | None]:
    """Run every case, one frame for each metric and options."""
    columns = {name: pl.Series([case[name] for case in cases], dtype=pl.String) for name in ("answer", "target")}
    frame = pl.DataFrame(columns).with_row_index()
    keys = [json.dumps([case["metric"], case["options"]]) for case in cases]
    found: list[float | None] = [None] * len(cases)
    for key in dict.fromkeys(keys):
        name, options = json.loads(key)
        score = metric.get(name, options)(pl.col("answer"), pl.col("target"), **options)
        for index, value in frame.filter(pl.Series(keys) == key).select("index", score=score).iter_rows():
            found[index] = value
    return found


needs_math = pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="needs math-verify: pip install 'ocli[math]'"
)
LATEX: list[Case] = json.loads((CASES / "equal_latex.json").read_text(encoding="utf-8"))


def label(case: Case) -> str:
    return f"{case['metric']}-{case['answer']}-{case['target']}"


@pytest.mark.parametrize(("case", "score"), list(zip(TABLE, scores(TABLE), strict=True)), ids=map(label, TABLE))
def test_answer_gets_score(case: Case, score: float | None) -> None:
    assert isinstance(score, float)
    assert score == pytest.approx(case["score"]), case


@pytest.mark.parametrize("relative", [-0.1, True, "0.1", None])
def test_equal_number_refuses_what_is_no_tolerance(relative: object) -> None:
    with pytest.raises(RecipeError, match="from 0 up"):
        metric.get("equal_number", {})(pl.col("answer"), pl.col("target"), relative=relative)


EVALUATORS = {"TriviaQAEvaluator": ("triviaqa", "general_contains"), "NQEvaluator": ("natural_question", "general_contains")}
EVALUATORS |= {"EMEvaluator": ("general", "general_match")}


@pytest.mark.skipif(not GOLDEN.is_file(), reason=f"no golden table at {GOLDEN}")
@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_twin_agrees_with_opencompass_line_by_line(evaluator: str) -> None:
    read, measure = EVALUATORS[evaluator]
    rows = [row for row in map(json.loads, GOLDEN.read_text(encoding="utf-8").splitlines()) if row["evaluator"] == evaluator]
    frame = pl.DataFrame({"reply": [row["prediction"] for row in rows], "target": [row["reference"] for row in rows]})
    frame = frame.with_columns(answer=extractor.get(read, {})(pl.col("reply"), ())).with_row_index().explode("target")
    score = metric.get(measure, {})(pl.col("answer"), pl.col("target"))
    scored = (
        frame.with_columns(score=score)
        .group_by("index", maintain_order=True)
        .agg(pl.col("answer").first(), pl.col("score").max())
    )
    assert rows
    for row, (_, answer, found) in zip(rows, scored.iter_rows(), strict=True):
        output = row["output"]
        theirs = output["correct"] if isinstance(output, dict) else output > 0
        # An answer of nothing is unanswered here; there it is held by, or equal to, a target such as "A".
        assert found == (theirs and answer is not None), row


@needs_math
def test_equal_latex_compares_formulas() -> None:
    found = scores(LATEX)
    assert [(case, score) for case, score in zip(LATEX, found, strict=True) if score != case["score"]] == []


@needs_math
def test_equal_latex_outlives_its_child(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [
        {"metric": "equal_latex", "options": {}, "answer": rf"\frac{{3}}{{{number}}}", "target": f"3/{number}"}
        for number in (4, 5)
    ]
    monkeypatch.setattr(latex, "PATIENCE", 0.0)
    assert scores(pairs[:1]) == [0.0]
    monkeypatch.undo()
    assert scores(pairs[1:]) == [1.0]


@pytest.mark.skipif(importlib.util.find_spec("math_verify") is not None, reason="math-verify is installed")
def test_equal_latex_says_what_is_missing() -> None:
    with pytest.raises(PackageError, match=r"pip install 'ocli\[math\]'"):
        scores(LATEX)
