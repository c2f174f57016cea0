"""OpenCompass' extractors and metrics of mathematics, line by line against its own output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli.metrics.opencompass_math import find_answer
from ocli.registry import extractor, metric

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "opencompass"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden tables at {GOLDEN}")

TWINS = {
    "agieval.parse_math_answer": "agieval_cloze",
    "TheoremQA_postprocess": "theoremqa",
    "TheoremQA_postprocess_v2": "theoremqa_v2",
}


def lines(file: str, key: str, name: str) -> list[dict[str, Any]]:
    rows = map(json.loads, (GOLDEN / file).read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row[key] == name]


@pytest.mark.parametrize(("name", "ours"), TWINS.items(), ids=TWINS.values())
def test_extractor_agrees(name: str, ours: str) -> None:
    rows = lines("postprocessors.jsonl", "postprocessor", name)
    frame = pl.DataFrame({"reply": [row["input"] for row in rows]})
    found = frame.select(answer=extractor.get(ours, {})(pl.col("reply"), ()))["answer"].to_list()
    assert len(rows) > 40
    assert found == [row["output"] or None for row in rows]


def test_answer_of_math_agrees() -> None:
    rows = lines("postprocessors.jsonl", "postprocessor", "math_postprocess_v2")
    assert len(rows) > 40
    assert [find_answer(row["input"]) for row in rows] == [row["output"] for row in rows]


def test_equality_of_math_agrees() -> None:
    """The answers are boxed, so that they reach the comparison as they are."""
    rows = lines("evaluators.jsonl", "evaluator", "MATHEvaluator.is_equiv")
    rows = [row for row in rows if row["version"] == "v2" and row["prediction"] and row["reference"] is not None]
    frame = pl.DataFrame({name: [row[name] for row in rows] for name in ("prediction", "reference")})
    boxed = pl.concat_str(pl.lit("\\boxed{"), "prediction", pl.lit("}"))
    found = frame.select(score=metric.get("opencompass_math", {})(boxed, pl.col("reference")))["score"].to_list()
    assert len(rows) > 20
    assert found == [float(row["output"]) for row in rows]


def test_equality_of_formulas_agrees() -> None:
    rows = [row for row in lines("evaluators.jsonl", "evaluator", "agieval.is_equiv") if row["reference"] is not None]
    frame = pl.DataFrame({"answer": [row["prediction"] for row in rows], "target": [row["reference"] for row in rows]})
    found = frame.select(score=metric.get("hendrycks", {})(pl.col("answer"), pl.col("target")))["score"].to_list()
    assert len(rows) > 25
    assert found == [float(row["output"]) for row in rows]
