"""OpenCompass' LAMBADA comparison against its own output."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from ocli.registry import extractor, metric


def test_twin_agrees_with_opencompass_line_by_line(golden: Path) -> None:
    lines = (golden / "opencompass" / "evaluators.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["evaluator"] == "LambadaEvaluator"]
    frame = pl.DataFrame({"reply": [row["prediction"] for row in rows], "target": [row["reference"] for row in rows]})
    answer = extractor.get("lambada", {})(pl.col("reply"), ())
    score = metric.get("general_match", {})(answer, pl.col("target"))
    assert rows
    assert (100 * frame.select(score).to_series()).to_list() == [row["output"] for row in rows]
