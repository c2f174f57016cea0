"""Metrics against their case table, which is evaluated in one frame for each metric and options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli.errors import RecipeError
from ocli.registry import metric

Case = dict[str, Any]

CASES = Path(__file__).parent / "cases"
TABLES = ("metrics", "equal_number")
TABLE: list[Case] = [case for name in TABLES for case in json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))]


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


def label(case: Case) -> str:
    return f"{case['metric']}-{case['answer']}-{case['target']}"


@pytest.mark.parametrize(("case", "score"), list(zip(TABLE, scores(TABLE), strict=True)), ids=map(label, TABLE))
def test_answer_gets_score(case: Case, score: float | None) -> None:
    assert isinstance(score, float)
    assert score == case["score"], case


@pytest.mark.parametrize("relative", [-0.1, True, "0.1", None])
def test_equal_number_refuses_what_is_no_tolerance(relative: object) -> None:
    with pytest.raises(RecipeError, match="from 0 up"):
        metric.get("equal_number", {})(pl.col("answer"), pl.col("target"), relative=relative)
