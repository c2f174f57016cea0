"""The answers to a split whose labels are not public, in the form that its site scores: C-Eval's test split.

Source of the form: hkust-nlp/ceval, README.md, "Submission": ``{"<subject>": {"<id>": "<answer>", ...}, ...}``. An item without
an answer has an empty one. A task without subsets is one mapping of ids to answers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from ocli.runs import Run, write_whole


def submission_path(run: Run, model: str, task: str) -> Path:
    """Where the answers are kept."""
    return run.path / "submission" / model / f"{task}.json"


def write_submission(run: Run, model: str, task: str, results: pl.DataFrame) -> None:
    """Write the answers of ``results`` (``id``, ``subset``, ``answer``)."""
    answers: dict[str, Any] = {}
    for item, subset, answer in results.select("id", "subset", "answer").iter_rows():
        place = answers if subset is None else answers.setdefault(subset, {})
        place[item.rsplit("/", 1)[-1]] = answer or ""
    text = json.dumps(answers, ensure_ascii=False, indent=1)
    write_whole(submission_path(run, model, task), [text.encode()])


def unlabelled(run: Run) -> list[str]:
    """Say of each model and task that cannot be scored why, and where the answers are."""
    recipe = run.recipe()
    pairs = [(model, name) for model in recipe.models for name, task in recipe.tasks.items() if not task.labels]
    why = "the labels are not public, so there is no score; the answers are in"
    return [
        f"{model}, {name}: {why} {path}, hand them in to whoever has the labels"
        for model, name in pairs
        if (path := submission_path(run, model, name)).is_file()
    ]
