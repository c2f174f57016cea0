"""BBH's two kinds of answers, scored as OpenCompass' evaluator scores them, line by line of its own output."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from ocli.registry import extractor, metric

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "opencompass"


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden tables at {GOLDEN}")
def test_free_form_scores_are_those_of_opencompass() -> None:
    lines = map(json.loads, (GOLDEN / "evaluators.jsonl").read_text(encoding="utf-8").splitlines())
    rows = [row for row in lines if row["evaluator"] == "BBHEvaluator"]
    frame = pl.DataFrame({"reply": [row["prediction"] for row in rows], "target": [row["reference"] for row in rows]})
    frame = frame.with_columns(answer=extractor.get("bbh", {})(pl.col("reply"), ()))
    options = {"ignore_punctuation": False}
    score = metric.get("exact_match", options)(pl.col("answer"), pl.col("target"), **options)
    found = frame.select(score=score)["score"].to_list()
    assert len(rows) > 200
    assert found == [float(row["output"]["correct"]) for row in rows]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden tables at {GOLDEN}")
@pytest.mark.parametrize(("choices", "twin"), [(("A", "B"), "bbh_mcq"), (("Yes", "No"), "bbh_freeform"), ((), "bbh_freeform")])
def test_question_decides_which_rule_reads_its_reply(choices: tuple[str, ...], twin: str) -> None:
    lines = map(json.loads, (GOLDEN / "postprocessors.jsonl").read_text(encoding="utf-8").splitlines())
    rows = [row for row in lines if row["postprocessor"] == f"{twin}_postprocess"]
    frame = pl.DataFrame({"reply": [row["input"] for row in rows]}).select(
        answer=extractor.get("bbh", {})(pl.col("reply"), choices).fill_null("")
    )
    assert frame["answer"].to_list() == [row["output"] for row in rows]
