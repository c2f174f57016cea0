"""From results to the table: means over subjects, groups and tasks, with their intervals and what went wrong.

A task's mean over subsets is the plain mean of their means (macro), as OpenCompass and the C-Eval authors take it; the mean
over all items stands beside it as ``<metric>_micro``. Where a run has several tasks of a capability, their plain mean is the
capability's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from ocli.cost import Spent
from ocli.errors import RunError
from ocli.metrics.samples import by_item, sizes
from ocli.plan import version
from ocli.recipe import Recipe, Reference
from ocli.runs import Run, write_whole
from ocli.scoring import USAGE, lacking
from ocli.stages import tables
from ocli.stages.averages import Cell, MeanScore, WeightedMean, cells_of, kind_of, per_item
from ocli.stages.finite import finite
from ocli.stages.submission import unlabelled
from ocli.stats import Estimate, mean_of
from ocli.task import CAPABILITIES, TaskSpec, mode_name


@dataclass(frozen=True)
class SummaryRow:
    """One number with all that goes with it; ``score``, ``stderr`` and ``ci95`` are on the scale 0 to 100."""

    model: str
    task: str | None
    """None where it is the mean of a capability's tasks; ``group`` is then the capability."""
    dataset: str
    subset: str | None
    group: str | None
    version: str
    metric: str
    mode: str
    score: float | None
    stderr: float | None
    ci95: list[float] | None
    n: int
    unanswered: int
    truncated: int
    failed: int
    floor: float | None = None
    """The score if every failed request counted as wrong: the true one cannot be lower."""
    average: str | None = None
    subsets: list[int] | None = None
    headline: bool = True
    reference: Reference | None = None
    """A published score to compare with."""
    shots_dropped: int = 0
    """How many items were asked with fewer examples than the task says, because their prompt was too long."""
    replies: int = 0
    """How many replies were asked for: one an item, or as many as the task takes samples."""
    lower_is_better: bool = False
    """Of a perplexity, which is no percentage either."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as ``summary.json`` has it; JSON knows no infinity, which a perplexity can be."""
        values: dict[str, Any] = finite(vars(self))
        return {**values, "reference": self.reference and self.reference.model_dump()}

    @property
    def is_task_mean(self) -> bool:
        """Whether this is a task's own number by one of its rules: over all subsets, and macro where there are any."""
        return self.subset is None and self.group is None and self.average != "micro"

    @property
    def is_headline(self) -> bool:
        """Whether this is the task's number."""
        return self.is_task_mean and self.headline


@dataclass(frozen=True)
class Source:
    """A model of a run; beside other runs it may stand under another label."""

    run: Run
    model: str


@dataclass
class Summary:
    """All rows of one or more runs."""

    run: str
    recipe: str
    models: list[str]
    rows: list[SummaryRow] = field(default_factory=list)
    partial: dict[str, str] = field(default_factory=dict)
    """Tasks of which only a part was asked: ``50 of 1346 items``."""
    capabilities: dict[str, str] = field(default_factory=dict)
    """The capability of each task."""
    unlabelled: list[str] = field(default_factory=list)
    """A line for each model and task whose labels are not public."""
    spent: dict[str, Spent] = field(default_factory=dict)
    """What each model's replies have used, as far as its engine says."""
    unasked: list[tuple[str, str]] = field(default_factory=list)
    """Models and tasks that have no reply at all, because the model could not be asked."""
    sources: dict[str, Source] = field(default_factory=dict)
    """Where each of ``models`` comes from."""

    def to_dict(self) -> dict[str, Any]:
        """Return what ``summary.json`` has."""
        names = ("run", "recipe", "models", "partial", "unlabelled")
        data = {name: getattr(self, name) for name in names}
        data["unasked"] = [f"{model}, {name}" for model, name in self.unasked]
        data["spent"] = {model: spent.to_json() for model, spent in self.spent.items()}
        return {**data, "rows": [row.to_json() for row in self.rows]}

    def to_json(self) -> str:
        """Return the contract's ``summary.json``."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def report(run: Run) -> Summary:
    """Summarise one run and write ``summary/summary.{txt,csv,md,json}``, unless it may only be read, as an archived one."""
    summary, place = summarise(run), run.path / "summary"
    if not os.access(place if place.is_dir() else run.path, os.W_OK):
        return summary
    for suffix, text in (
        ("txt", tables.to_text(summary)),
        ("csv", tables.to_csv(summary)),
        ("md", tables.to_markdown(summary)),
        ("json", summary.to_json()),
    ):
        write_whole(place / f"summary.{suffix}", [text.encode()])
    return summary


Read = Callable[[Run, str, str], "pl.DataFrame | None"]
"""Returns the results of a run's model and task; None where nothing was asked."""


def read_results(run: Run, model: str, name: str) -> pl.DataFrame | None:
    """Read a results file; raise RunError where it is not up to date or cannot be read."""
    path = run.results(model, name)
    if not run.items(model, name).is_file():
        return None
    if not path.is_file() or _older(path, run.predictions(model, name)):
        raise RunError(f"{run.path}: not every reply of {model}/{name} is scored yet; run: ocli score {run.path}")
    try:
        results = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path}: cannot be read: {error}; 'ocli score {run.path}' writes it anew") from None
    if "shots_dropped" not in results.columns:
        raise RunError(f"{path}: was scored by an older ocli; run: ocli score {run.path}")
    return results.with_columns(lacking(results.columns))


def summarise(run: Run, read: Read = read_results) -> Summary:
    """Read a run's results and take every mean."""
    recipe = run.recipe()
    summary = Summary(str(run.path), recipe.name, list(recipe.models), partial=_partial(recipe))
    summary.capabilities = {name: task.capability for name, task in recipe.tasks.items()}
    summary.unlabelled = unlabelled(run)
    summary.sources = {model: Source(run, model) for model in recipe.models}
    digests = recipe.record["tasks"]
    for model in recipe.models:
        for name, task in recipe.tasks.items():
            results = read(run, model, name)
            if results is None:
                summary.unasked.append((model, name))
                continue
            if gone := [rule.label for rule in task.score[1:] if rule.label not in results.columns]:
                raise RunError(f"{run.path}: {model}/{name} is not scored by {', '.join(gone)} yet; run: ocli score {run.path}")
            summary.spent.setdefault(model, Spent(recipe.models[model].price)).include(_spent(results))
            rows = _rows(model, name, task, version(task, digests[name]["digest"]), results)
            published = recipe.reference.get(model, {}).get(name)
            summary.rows += [replace(row, reference=published) if row.is_headline and published else row for row in rows]
        summary.rows += capability_means(model, summary)
    return summary


def _spent(results: pl.DataFrame) -> Spent:
    """Return the tokens of a task's replies, as far as their engine told them."""
    told = results.filter(pl.col("prompt_tokens").is_not_null() | pl.col("completion_tokens").is_not_null())
    prompt, cached, completion = (int(told[f"{name}_tokens"].sum()) for name in USAGE)
    return Spent(None, told.height, prompt, cached, completion)


def capability_means(model: str, summary: Summary) -> Iterator[SummaryRow]:
    """Yield the mean of the headline scores of each capability that has several; perplexities are on another scale."""
    heads = [row for row in summary.rows if row.model == model and row.is_headline and not row.lower_is_better]
    for capability in CAPABILITIES:
        rows = [row for row in heads if row.task and summary.capabilities[row.task] == capability and row.n + row.failed]
        if len(rows) > 1:
            yield _mean_of_tasks(model, capability, rows)


def _mean_of_tasks(model: str, capability: str, rows: list[SummaryRow]) -> SummaryRow:
    """Return the plain mean of tasks that are samples of their own; where one has no score, there is none of them all."""
    estimates = [Estimate(row.score, row.stderr, *row.ci95) for row in rows if row.score is not None and row.ci95]
    whole = mean_of(estimates) if len(estimates) == len(rows) else None
    modes = {row.mode for row in rows}
    n, unanswered, truncated, failed = (
        sum(getattr(row, word) for row in rows) for word in ("n", "unanswered", "truncated", "failed")
    )
    return SummaryRow(
        model, None, capability, None, capability, "-", "mean", modes.pop() if len(modes) == 1 else "mixed",
        whole.mean if whole else None, whole.stderr if whole else None, [whole.low, whole.high] if whole else None,
        n, unanswered, truncated, failed, average="capability", subsets=[len(estimates), len(rows)],
    )  # fmt: skip


def _older(results: Path, predictions: Path) -> bool:
    return predictions.is_file() and results.stat().st_mtime_ns < predictions.stat().st_mtime_ns


def combine(summaries: Sequence[Summary]) -> Summary:
    """Put several runs side by side; a model that is in more than one is named with its run."""
    summaries = list({summary.run: summary for summary in summaries}.values())  # a run that is named twice counts once
    if len(summaries) == 1:
        return summaries[0]
    labels = _labels([source for summary in summaries for source in summary.sources.values()])
    whole = Summary(", ".join(s.run for s in summaries), ", ".join(dict.fromkeys(s.recipe for s in summaries)), [])
    for summary in summaries:
        label = {model: labels[source] for model, source in summary.sources.items()}
        whole.models += label.values()
        whole.sources |= {label[model]: source for model, source in summary.sources.items()}
        whole.spent |= {label[model]: spent for model, spent in summary.spent.items()}
        whole.rows += [replace(row, model=label[row.model]) for row in summary.rows]
        whole.partial |= summary.partial
        whole.capabilities |= summary.capabilities
        whole.unlabelled += summary.unlabelled
        whole.unasked += [(label[model], name) for model, name in summary.unasked]
    return whole


def _labels(sources: Sequence[Source]) -> dict[Source, str]:
    """Name each model by as little as tells it from the others: itself, its run's timestamp, its recipe too, its whole path."""
    labels = {source: source.model for source in sources}
    for depth in range(1, max(len(source.run.path.parts) for source in sources) + 1):
        taken = list(labels.values())
        for source, label in labels.items():
            if taken.count(label) > 1:
                labels[source] = f"{source.model}@{'/'.join(source.run.path.parts[-depth:])}"
    return labels


def _partial(recipe: Recipe) -> dict[str, str]:
    parts: dict[str, list[str]] = {}
    for name, task in recipe.record.get("tasks", {}).items():
        if "subsets" in task:
            parts.setdefault(name, []).append(f"{task['subsets'][0]} of {task['subsets'][1]} subsets")
        if task["asked"] < task["of"]:
            parts.setdefault(name, []).append(f"{task['asked']} of {task['of']} items")
    return {name: ", ".join(words) for name, words in parts.items()}


def _rows(model: str, name: str, task: TaskSpec, version: str, replies: pl.DataFrame) -> Iterator[SummaryRow]:
    label = task.abbr or name
    results = per_item(replies)
    for number, rule in enumerate(task.score):
        column = "score" if number == 0 else rule.label
        kind = kind_of(rule, column, results)
        make = RowMaker(model, name, version, mode_name(task.mode, rule.by), rule.label, number == 0, kind)
        cells = cells_of(kind, results)
        if len(cells) > 1 or cells[0].subset is not None:
            for cell in cells:
                yield make.mean(f"{label}-{cell.subset}", [cell], subset=cell.subset)
        for group in sorted({group for groups in results["groups"].unique().to_list() for group in groups}):
            members = results.filter(pl.col("groups").list.contains(group))
            yield make.mean(f"{label}-{group}", cells_of(kind, members), group=f"{label}-{group}")
        yield make.mean(name, cells)
        if len(cells) > 1 and isinstance(kind, MeanScore):
            yield make.micro(name, results)
        if number == 0 and task.samples > 1:
            yield from _of_samples(make, name, task, replies, results)


def _of_samples(make: RowMaker, name: str, task: TaskSpec, replies: pl.DataFrame, items: pl.DataFrame) -> Iterator[SummaryRow]:
    """Yield what several samples of each item say together, by the headline rule."""
    found = by_item(replies, "score", task.pass_at or sizes(task.samples))
    items = items.join(found, on="id", maintain_order="left")
    for column in found.columns[1:]:
        kind = MeanScore(items, column)
        metric = f"maj@{task.samples}" if column == "maj" else column
        yield replace(make, metric=metric, headline=False, kind=kind).mean(name, cells_of(kind, items))


@dataclass(frozen=True)
class RowMaker:
    """What the rows of one model, task and rule have in common."""

    model: str
    task: str
    version: str
    mode: str
    metric: str
    headline: bool
    kind: MeanScore | WeightedMean

    def mean(self, dataset: str, cells: list[Cell], subset: str | None = None, group: str | None = None) -> SummaryRow:
        """The mean over the cells that have any score: of scores the plain mean of their means."""
        many = len(cells) > 1
        return self._row(
            dataset, self.metric, cells, subset, group, average="macro" if many and isinstance(self.kind, MeanScore) else None,
            subsets=[sum(cell.stratum is not None for cell in cells), len(cells)] if many else None,
        )  # fmt: skip

    def micro(self, dataset: str, results: pl.DataFrame) -> SummaryRow:
        """The mean over all items, whatever their subset."""
        cells = cells_of(self.kind, results.with_columns(pl.lit(None, pl.String).alias("subset")))
        return self._row(dataset, f"{self.metric}_micro", cells, None, None, average="micro", subsets=None)

    def _row(
        self, dataset: str, metric: str, cells: list[Cell],
        subset: str | None, group: str | None, average: str | None, subsets: list[int] | None,
    ) -> SummaryRow:  # fmt: skip
        total: Callable[[str], int] = lambda word: sum(cell.counts[word] for cell in cells)  # noqa: E731
        shown: Callable[[float], float] = lambda value: round(self.kind.scale * value, 6)  # noqa: E731
        strata = [cell.stratum for cell in cells if cell.stratum]
        estimate = self.kind.estimate(strata) if strata else None
        once = total("replies") == sum(stratum.n for stratum in strata) + total("failed")
        floors = [cell.floor for cell in cells] if estimate and once and isinstance(self.kind, MeanScore) else []
        return SummaryRow(
            self.model, self.task, dataset, subset, group, self.version, metric, self.mode,
            score=shown(estimate.mean) if estimate else None,
            stderr=shown(estimate.stderr) if estimate and estimate.stderr is not None else None,
            ci95=[shown(estimate.low), shown(estimate.high)] if estimate else None,
            n=sum(stratum.n for stratum in strata),
            floor=shown(sum(floors) / len(floors)) if floors else None,
            unanswered=total("unanswered"), truncated=total("truncated"), failed=total("failed"),
            shots_dropped=total("shots_dropped"), replies=total("replies"),
            average=average, subsets=subsets, headline=self.headline, lower_is_better=self.kind.lower_is_better,
        )  # fmt: skip
