"""Three tests that every task gets for its hand-written rows, and again on the real data where that is present.

The golden prompt (``tests/golden/<task>.json``, written by ``make golden``, read in review), the oracle (the prompt file's own
answer scores 1) and silence (an empty reply scores 0 and is counted as unanswered).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli import catalog
from ocli.plan import TaskPlan, plan_task
from ocli.recipe import ModelSpec, Recipe, SamplingSpec, TaskSpec
from ocli.scoring import items_frame, score_replies
from ocli.types import Request

HERE = Path(__file__).parent
TASKS = [entry.name for entry in catalog.entries("tasks")]
MODEL = ModelSpec(engine="echo")


def on_rows(name: str, path: Path, folder: Path) -> TaskPlan:
    """Plan a task on one file of rows: its first subset, with the file's last rows as examples."""
    lines = path.read_text(encoding="utf-8").splitlines()
    (folder / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "fewshot.jsonl").write_text("\n".join(reversed(lines)), encoding="utf-8")
    [(_, spec)] = catalog.load_tasks(name)
    subsets = dict(list(spec.data.subsets.items())[:1])
    splits = spec.data.splits.model_copy(update={"test": "test", "fewshot": "fewshot"})
    local = [str(folder / "{split}.jsonl")]
    data = spec.data.model_copy(update={"local": local, "hub": None, "subsets": subsets, "splits": splits})
    fewshot = spec.fewshot.model_copy(update={"count": min(spec.fewshot.count, 2)})
    return plan(name, spec.model_copy(update={"data": data, "fewshot": fewshot}))


def plan(name: str, spec: TaskSpec, data_dir: Path | None = None) -> TaskPlan:
    recipe = Recipe(name="test", models={}, tasks={name: spec}, data_dir=str(data_dir) if data_dir else None, offline=True)
    return plan_task(name, spec, recipe)


def requests(task: TaskPlan, chat: bool = True) -> list[Request]:
    return list(task.requests(MODEL, chat, SamplingSpec()))


def scores(task: TaskPlan, texts: list[str]) -> pl.DataFrame:
    asked = requests(task)
    replies = pl.DataFrame(
        {
            "key": [request.key for request in asked],
            "id": [request.id for request in asked],
            "sample": [0] * len(asked),
            "text": texts,
            "finish_reason": ["stop"] * len(asked),
            "error": pl.Series([None] * len(asked), dtype=pl.String),
        }
    )
    return score_replies(items_frame(task), replies, task.spec)


def check_oracle_and_silence(task: TaskPlan) -> None:
    right = scores(task, [request.oracle for request in requests(task)])
    assert right.filter(pl.col("score") != 1).is_empty(), right.filter(pl.col("score") != 1)
    assert set(right["status"]) == {"ok"}
    silent = scores(task, [""] * len(task.items))
    assert set(silent["score"]) == {0.0}
    assert set(silent["status"]) == {"unanswered"}


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest, tmp_path: Path) -> TaskPlan:
    return on_rows(request.param, HERE / "data" / f"{request.param}.jsonl", tmp_path)


def test_prompt_is_the_golden_one(task: TaskPlan) -> None:
    chat, base = requests(task), requests(task, chat=False)
    rendered: Any = [
        {"id": c.id, "messages": list(c.messages or ()), "text": b.prompt, "answer": c.oracle}
        for c, b in zip(chat, base, strict=True)
    ]
    path = HERE / "golden" / f"{task.name}.json"
    if os.environ.get("OCLI_WRITE_GOLDEN"):
        path.write_text(json.dumps(rendered, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert rendered == json.loads(path.read_text(encoding="utf-8"))


def test_oracle_scores_one_and_silence_zero(task: TaskPlan) -> None:
    check_oracle_and_silence(task)


def test_no_golden_prompt_is_without_its_task() -> None:
    assert sorted(path.stem for path in (HERE / "golden").glob("*.json")) == sorted(TASKS)


ITEMS = {"ceval_gen": 1346, "cmmlu_gen": 11582}


@pytest.mark.parametrize("name", ITEMS)
def test_real_data_has_the_published_items_and_scores(name: str, shared_data: Path) -> None:
    [(_, spec)] = catalog.load_tasks(name)
    task = plan(name, spec, shared_data)
    assert len(task.items) == ITEMS[name]
    check_oracle_and_silence(task)


@pytest.mark.parametrize(("name", "config"), [("ceval_gen", "ceval/ceval_gen.py"), ("cmmlu_gen", "cmmlu/cmmlu_gen.py")])
def test_prompts_equal_those_of_opencompass(name: str, config: str, golden: Path) -> None:
    folder = golden / "opencompass"
    cases = [json.loads(line) for line in (folder / "prompts_clean.jsonl").read_text(encoding="utf-8").splitlines()]
    cases = [case for case in cases if case["config"] == config]
    [(_, spec)] = catalog.load_tasks(name)
    subjects = [case["abbr"].split("-", 1)[1] for case in cases]
    data = spec.data.model_copy(update={"subsets": {subject: spec.data.subsets[subject] for subject in subjects}})
    task = plan(name, spec.model_copy(update={"data": data}), folder / "data")
    base = {request.id: request.prompt for request in requests(task, chat=False)}
    chat = {request.id: request.messages or () for request in requests(task)}
    assert cases
    for case, subject in zip(cases, subjects, strict=True):
        item, rendered = f"{subject}/{case['row']}", case["rendered"]
        assert base[item] == rendered["base_nometa"]
        roles = {"HUMAN": "user", "BOT": "assistant"}
        assert [(m["role"], m["content"]) for m in chat[item]] == [(roles[m["role"]], m["prompt"]) for m in rendered["api_meta"]]


def test_prompt_hashes_equal_those_of_opencompass(golden: Path) -> None:
    lines = (golden / "opencompass" / "prompts_sha.jsonl").read_text(encoding="utf-8").splitlines()
    [(_, spec)] = catalog.load_tasks("ceval_gen")
    for case in map(json.loads, lines):
        if case["config"] == "ceval/ceval_gen.py":
            subject = case["abbr"].split("-", 1)[1]
            data = spec.data.model_copy(update={"subsets": {subject: spec.data.subsets[subject]}})
            task = plan("ceval_gen", spec.model_copy(update={"data": data}), golden / "opencompass" / "data")
            text = json.dumps(requests(task, chat=False)[case["row"]].prompt, ensure_ascii=False)
            assert hashlib.sha256(text.encode()).hexdigest() == case["rendered_sha"]["base_nometa"]["sha256"]
