"""What several forms ask of a summary: which score is best, under which conditions a model was asked, what its tasks say."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from ocli.fingerprint import fingerprint
from ocli.recipe import Recipe
from ocli.stages.report import Summary, SummaryRow
from ocli.task import TaskSpec


class Reading:
    """A summary beside the recipes of its runs."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """The resolved recipe of each model's run."""
        return {label: source.run.recipe() for label, source in self.summary.sources.items()}

    def task(self, row: SummaryRow) -> TaskSpec | None:
        """The task of a row; None where it is a capability's mean."""
        return self.recipes[row.model].tasks[row.task] if row.task else None

    def metric(self, row: SummaryRow) -> str:
        """The registered name of a row's metric, which its rule may call otherwise."""
        task = self.task(row)
        return next((rule.metric.name for rule in task.score if rule.label == row.metric), row.metric) if task else row.metric

    def best(self, cells: dict[str, SummaryRow]) -> set[str]:
        """The models with the best of several scores, equal ones as they are printed together; none where all are equal."""
        scores = {model: round(row.score, 2) for model, row in cells.items() if row.score is not None}
        if len(set(scores.values())) < 2:
            return set()
        least = next(iter(cells.values())).lower_is_better
        top = min(scores.values()) if least else max(scores.values())
        return {model for model, score in scores.items() if score == top}

    def conditions(self, label: str) -> list[tuple[str, str]]:
        """The conditions under which a model was asked, names and texts, those with the largest typical effect first."""
        model = self.summary.sources[label].model
        return [(condition.name, condition.value) for condition in fingerprint(self.recipes[label], model)]

    def means(self, label: str) -> Iterator[SummaryRow]:
        """The rows of a model that are no part of another: its tasks' means by each rule, and those of capabilities."""
        for row in self.summary.rows:
            if row.model == label and (row.is_task_mean or row.task is None or row.average == "micro"):
                yield row
