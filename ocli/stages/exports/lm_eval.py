"""The summary of one model as lm-evaluation-harness writes its results (0.4.13: ``lm_eval/result_schema.py``, ``EvalResults``).

Scores and standard errors are between 0 and 1 there, perplexities as they are. A task's subsets and groups are its subtasks, a
capability's mean is a group of tasks. Names of metrics are ocli's own, but for ``accuracy``, which is ``acc``.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ocli import __version__
from ocli.recipe import Recipe
from ocli.stages.exports.reading import Reading
from ocli.stages.report import Summary, SummaryRow
from ocli.task import TaskSpec

OUTPUT_TYPES = {"generate": "generate_until", "loglikelihood": "multiple_choice", "perplexity": "loglikelihood_rolling"}


def to_lm_eval(summary: Summary) -> str:
    """Return the document of the one model that the summary has."""
    [label] = summary.models
    return json.dumps(document(summary, label), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def document(summary: Summary, label: str) -> dict[str, Any]:
    """Return lm-eval's results of one model."""
    reading = Reading(summary)
    recipe, source = reading.recipes[label], summary.sources[label]
    rows = [row for row in summary.rows if row.model == label]
    names = {row.task for row in rows}
    results: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {}
    better: dict[str, dict[str, bool]] = {}
    for row in rows:
        key = _key(row)
        if row.task is None and row.dataset in names:
            continue  # a task has the capability's name
        results.setdefault(key, {"name": key, "alias": key, "sample_len": row.n}).update(_scores(row))
        better.setdefault(key, {})[_metric(row)] = not row.lower_is_better
        if row.task is None:
            groups[key] = [task for task in recipe.tasks if summary.capabilities.get(task) == key]
        elif key != row.task:
            groups.setdefault(row.task, []).append(key)
    asked, conditions = recipe.record.get("tasks", {}), reading.conditions(label)
    return {
        "results": results,
        "groups": {row.dataset: results[row.dataset] for row in rows if row.task is None and row.dataset in groups},
        "group_subtasks": {key: list(dict.fromkeys(inner)) for key, inner in groups.items()},
        "configs": {name: _config(name, recipe.tasks[name]) for name in recipe.tasks if name in results},
        "versions": {_key(row): row.version for row in rows if _key(row) in results},
        "n-shot": {_key(row): recipe.tasks[row.task].fewshot.count for row in rows if row.task},
        "higher_is_better": better,
        "n-samples": {
            name: {"original": told["of"], "effective": told["asked"]} for name, told in asked.items() if name in results
        },
        "config": _settings(recipe, source.model, conditions),
        "git_hash": None,
        "date": (source.run.path / "configs" / "recipe.yaml").stat().st_mtime,
        "model_source": recipe.models[source.model].engine,
        "model_name": label,
        "model_name_sanitized": re.sub(r"[\"<>:/|\\?*\[\]]+", "__", label),
        "ocli": {"version": __version__, "recipe": recipe.name, "conditions": dict(conditions)},
    }


def _key(row: SummaryRow) -> str:
    return row.dataset if row.task is None or row.subset is not None or row.group is not None else row.task


def _metric(row: SummaryRow) -> str:
    return re.sub(r"^accuracy(?=$|_micro$)", "acc", row.metric).replace(",", " ")


def _scores(row: SummaryRow) -> dict[str, Any]:
    """Return a row's two entries; lm-eval writes N/A where there is no standard error."""
    scale = 1.0 if row.lower_is_better else 100.0
    told = row.to_json()
    score, stderr = told["score"], told["stderr"]
    return {
        f"{_metric(row)},none": "N/A" if score is None else score / scale,
        f"{_metric(row)}_stderr,none": "N/A" if stderr is None else stderr / scale,
    }


def _config(name: str, task: TaskSpec) -> dict[str, Any]:
    """Return what lm-eval's own configuration of a task has a word for."""
    return {
        "task": name,
        "dataset_path": task.data.hub or task.data.modelscope,
        "test_split": task.data.splits.test,
        "fewshot_split": task.data.splits.fewshot,
        "output_type": OUTPUT_TYPES[task.mode],
        "num_fewshot": task.fewshot.count,
        "repeats": task.samples,
        "metric_list": [{"metric": rule.label, "aggregation": "mean"} for rule in task.score],
        "metadata": {"version": task.version},
    }


def _settings(recipe: Recipe, model: str, conditions: list[tuple[str, str]]) -> dict[str, Any]:
    """Return how the model was asked, under lm-eval's names as far as it has one."""
    told = dict(conditions)
    return {
        "model": recipe.models[model].engine,
        "model_args": {"pretrained": told.get("model", model)},
        "model_dtype": told.get("dtype"),
        "model_revision": told.get("model revision"),
        "batch_size": told.get("batch"),
        "device": told.get("device"),
        "limit": recipe.limit,
        "gen_kwargs": recipe.sampling.model_dump(exclude_none=True),
        "random_seed": recipe.seed,
        "fewshot_seed": recipe.seed,
    }
