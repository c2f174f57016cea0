"""Ways to state an answer that LawBench's extractors promise to read, on every answer of its own data."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocli import catalog
from ocli.registry import extractor
from ocli.stages.check import check

TASKS = {
    "lawbench_articles_gen": "law_articles", "lawbench_charges_gen": "charges", "lawbench_damages_gen": "yuan",
    "lawbench_entities_gen": "entities", "lawbench_events_gen": "labels", "lawbench_label_gen": "labels",
    "lawbench_marriage_gen": "labels", "lawbench_prison_gen": "prison_months", "lawbench_triggers_gen": "trigger_words",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(TASKS.values())))
def test_extractor_promises_ten_forms(name: str) -> None:
    forms = extractor.promises(name)
    assert len(set(forms)) >= 10
    assert all("{}" in form for form in forms)


@pytest.mark.parametrize("task", TASKS)
def test_every_answer_is_read_in_every_form(task: str, shared_data: Path) -> None:
    [(_, spec)] = catalog.load_tasks(task)
    extract = spec.score[0].extract
    assert extract is not None
    assert extract.name == TASKS[task]
    [verdict] = check(task, lambda: catalog.load_recipe(None, ["echo"], [task], {"data_dir": str(shared_data)}))
    assert verdict.word == "ok", verdict.text
