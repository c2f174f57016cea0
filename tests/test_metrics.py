"""Metrics against their case table, which is evaluated in one frame for each metric and options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli.registry import metric

Case = dict[str, Any]

TABLE: list[Case] = json.loads((Path(__file__).parent / "cases" / "metrics.json").read_text(encoding="utf-8"))


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
