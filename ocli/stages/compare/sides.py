"""Which two models are compared, on which tasks, and whether they were asked the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from ocli.errors import NotFoundError, RunError, did_you_mean
from ocli.fingerprint import differences, fingerprint
from ocli.metrics.likelihood import PERPLEXITIES, units_of
from ocli.plan import version
from ocli.recipe import Recipe
from ocli.runs import Run
from ocli.stages.report import read_results
from ocli.terminal import cut
from ocli.types import MODEL_PART

SETTINGS = {
    "scoring rules", "formulation", "prompt", "joins", "few-shot", "examples", "on_overflow", "data", "questions", "samples",
    "system prompt", "chat template", "max_tokens", "stop", "temperature", "top_p", "top_k", "min_p", "seed", "generation_config",
    "repetition_penalty", "presence_penalty", "frequency_penalty", "further settings", "all that is asked",
}  # fmt: skip
"""Conditions (``ocli/fingerprint.py``) that are part of what is asked or of how it is scored, and not of the model."""
LONGEST = 40
"""Characters of a setting's value in a refusal."""


@dataclass(frozen=True)
class Side:
    """A model of a run, by the name that output gives it."""

    label: str
    run: Run
    recipe: Recipe
    model: str

    def results(self, task: str) -> pl.DataFrame:
        """Return a task's results; raise RunError where there are none that are up to date."""
        if not self.recipe.tasks[task].labels:
            raise RunError(f"{self.run.path}: the labels of {task} are not public, so there is no score to compare")
        results = read_results(self.run, self.model, task)
        if results is None:
            raise RunError(f"{self.run.path}: {self.model} was never asked {task}; run it again with -r, or leave it out with -t")
        return results


def choose(references: Sequence[str], models: Sequence[str]) -> tuple[Side, Side]:
    """Return A and B: a model of each of two runs, or two models of one (left out: the latest run).

    Models need not be named where there is no choice; one name stands for both of two runs.
    """
    if len(references) > 2 or len(models) > 2:
        raise RunError("compare takes two runs with a model each, or one run with two models (-m A -m B); see 'ocli compare -h'")
    runs = Run.find_all(references)
    recipes = [run.recipe() for run in runs]
    if len(runs) == 1:
        names = list(models) or list(recipes[0].models)
        if len(names) != 2:
            held = f"{runs[0].path}: has {', '.join(recipes[0].models)}"
            raise RunError(f"{held}; name two with -m A -m B, or a second run, as in: ocli compare RUN_A RUN_B")
        runs, recipes = runs * 2, recipes * 2
    else:
        names = (
            list(models) * 2 if len(models) == 1 else list(models) or [_only(*pair) for pair in zip(runs, recipes, strict=True)]
        )
    for run, recipe, name in zip(runs, recipes, names, strict=True):
        if name not in recipe.models:
            held = f"{did_you_mean(name, recipe.models)} (it has: {', '.join(recipe.models)})"
            raise NotFoundError(f"{run.path}: has no model {name!r}{held}")
    labels = names if names[0] != names[1] else [f"{name}@{run.path.name}" for name, run in zip(names, runs, strict=True)]
    if labels[0] == labels[1]:
        labels = [f"{label} ({letter})" for label, letter in zip(labels, "AB", strict=True)]
    a, b = (Side(*parts) for parts in zip(labels, runs, recipes, names, strict=True))
    return a, b


def _only(run: Run, recipe: Recipe) -> str:
    if len(recipe.models) > 1:
        raise RunError(f"{run.path}: has several models ({', '.join(recipe.models)}); name one of each run with -m A -m B")
    return next(iter(recipe.models))


def common_tasks(a: Side, b: Side, wanted: Sequence[str]) -> list[str]:
    """Return the tasks that are compared: those of both sides, in A's order, or the wanted ones of them."""
    both = [name for name in a.recipe.tasks if name in b.recipe.tasks]
    if not both:
        raise RunError(f"no task in common: A has {', '.join(a.recipe.tasks)}; B has {', '.join(b.recipe.tasks)}")
    for name in wanted:
        if name not in both:
            raise NotFoundError(f"-t {name}: is no task of both{did_you_mean(name, both)} (both have: {', '.join(both)})")
    scored = [name for name in both if all(side.recipe.tasks[name].labels for side in (a, b))]
    chosen = [name for name in both if name in wanted] or scored
    if not chosen:
        raise RunError(f"the labels of {', '.join(both)} are not public, so there is no score to compare")
    return chosen


def reasons(a: Side, b: Side, task: str, results: tuple[pl.DataFrame, pl.DataFrame]) -> Iterator[str]:
    """Yield why the two numbers of a task are not comparable, a line each: its version, its samples, its units."""
    versions = _versions(a, b, task)
    if versions[0] != versions[1]:
        told = _settings(a, b, task) or "other items"
        yield f"{task}: other prompts, items or rules, version {versions[0]} and {versions[1]}: {told}"
    samples = [side.recipe.tasks[task].samples for side in (a, b)]
    if samples[0] != samples[1]:
        yield f"{task}: {samples[0]} and {samples[1]} samples an item"
    rules = [side.recipe.tasks[task].score[0] for side in (a, b)]
    if rules[0] == rules[1] and rules[0].metric.name in PERPLEXITIES:
        units = [frame.select("id", units_of(rules[0])).drop_nulls() for frame in results]
        joined = units[0].join(units[1], on="id")
        other = int((joined[units_of(rules[0])] != joined[f"{units_of(rules[0])}_right"]).sum())
        if other:
            yield f"{task}: {other} of {joined.height} texts are of another number of units: per token of other tokenizers"


def remarks(a: Side, b: Side, task: str, results: tuple[pl.DataFrame, pl.DataFrame]) -> Iterator[str]:
    """Yield how the models' own settings made requests of the same questions differ: turns, system prompt, sampling."""
    asked, other = _asked_otherwise(*results)
    versions = _versions(a, b, task)
    if other and versions[0] == versions[1]:
        short = any((frame["shots_dropped"] > 0).any() for frame in results)
        why = "examples were dropped from prompts too long" if short else "other turns, or another system prompt"
        yield f"{task}: {other} of {asked} items were asked in other words or with other settings: {_settings(a, b, task) or why}"


def _versions(a: Side, b: Side, task: str) -> list[str]:
    return [version(side.recipe.tasks[task], side.recipe.record["tasks"][task]["digest"]) for side in (a, b)]


def _settings(a: Side, b: Side, task: str) -> str:
    """Name the settings of what is asked, or of how it is scored, that differ."""
    differing = differences(*(fingerprint(side.recipe, side.model, [task]) for side in (a, b)))
    return ", ".join(
        f"{name} ({cut(one, LONGEST)}, {cut(two, LONGEST)})"
        for name, one, two in differing
        if name.partition(" (")[0] in SETTINGS
    )


def _asked_otherwise(a: pl.DataFrame, b: pl.DataFrame) -> tuple[int, int]:
    """Return how many requests both sides have a reply to, and of how many the question's part of the key differs."""
    question = pl.col("key").str.slice(MODEL_PART).alias("question")
    sides = [frame.filter(pl.col("key").is_not_null()).select("id", "sample", question) for frame in (a, b)]
    both = sides[0].join(sides[1], on=["id", "sample"])
    return both.height, int((both["question"] != both["question_right"]).sum())
