"""GAOKAO-Bench's readings against OpenCompass' own, and what its points are."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest

from ocli import catalog
from ocli.metrics.gaokao import told_opencompass
from ocli.plan import plan_task
from ocli.recipe import Recipe
from ocli.registry import extractor, metric

SETS = tuple("".join(letters) for count in range(1, 5) for letters in combinations("ABCD", count))
OFFERED = {"single_choice": tuple("ABCD"), "multi_choice": SETS, "multi_question_choice": (), "five_out_of_seven": ()}
POINTS = {
    "2010-2022_Math_II_MCQs": 1090, "2010-2022_Math_I_MCQs": 1070, "2010-2022_History_MCQs": 1148,
    "2010-2022_Biology_MCQs": 900, "2010-2022_Political_Science_MCQs": 1280, "2010-2022_Physics_MCQs": 384,
    "2010-2022_Chemistry_MCQs": 744, "2010-2013_English_MCQs": 105, "2010-2022_Chinese_Modern_Lit": 261,
    "2010-2022_English_Fill_in_Blanks": 900, "2012-2022_English_Cloze_Test": 260, "2010-2022_Geography_MCQs": 380,
    "2010-2022_English_Reading_Comp": 940, "2010-2022_Chinese_Lang_and_Usage_MCQs": 240,
}  # fmt: skip
"""OpenCompass' weights, ``opencompass/configs/summarizers/groups/GaokaoBench.py``."""


@pytest.mark.parametrize("kind", OFFERED)
def test_twin_agrees_with_opencompass_line_by_line(kind: str, golden: Path) -> None:
    lines = (golden / "opencompass" / "postprocessors.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["postprocessor"] == f"GaokaoBench.{kind}"]
    frame = pl.DataFrame({"reply": [row["input"] for row in rows]})
    found = frame.select(extractor.get("gaokao_bench", {})(pl.col("reply"), OFFERED[kind])).to_series().to_list()
    assert rows
    for row, answer in zip(rows, found, strict=True):
        wanted = "ABCDE" if kind == "five_out_of_seven" else " ".join("A" * row["args"].get("answer_lenth", 1))
        told = told_opencompass(answer, wanted) if answer and "|" in answer else answer
        theirs = row["output"] if kind == "multi_choice" else ["".join(row["output"])] if row["output"] else []
        assert ([told] if told else []) == theirs, row


def test_the_points_are_those_that_opencompass_weights_with(shared_data: Path) -> None:
    [(name, spec)] = catalog.load_tasks("gaokao_gen")
    plan = plan_task(name, spec, Recipe(name="test", models={}, tasks={name: spec}, data_dir=str(shared_data), offline=True))
    found: dict[str | None, float] = {}
    for item in plan.items:
        found[item.subset] = found.get(item.subset, 0) + (item.weights[0] or 0)
    assert found == POINTS


@pytest.mark.parametrize("name", ["gaokao", "gaokao_bench"])
def test_share_of_the_questions_of_an_item(name: str) -> None:
    pairs = [("ADAC|XADAC" if name == "gaokao_bench" else "A D A C", "A D A B"), ("AB", "ABC"), ("AD", "ABC"), (None, "A")]
    frame = pl.DataFrame(pairs, schema=["answer", "target"], orient="row")
    assert frame.select(metric.get(name, {})(pl.col("answer"), pl.col("target"))).to_series().to_list() == [0.75, 0.5, 0, 0]
