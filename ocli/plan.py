"""From tasks to requests: read the rows, evaluate their fields, choose the examples, render, and give each request its key.

Everything here is decided by the recipe, the data and the seed alone: not by engines, batches, workers or resumes.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from ocli import data
from ocli.errors import DataError, PromptError
from ocli.prompts import Prompt, Shot, compile_field
from ocli.recipe import ModelSpec, Recipe, SamplingSpec, TaskSpec
from ocli.registry import extractor, metric
from ocli.types import Request, Row

SAMPLES = 1
"""Replies asked per item."""

REPLY_ARGS = {
    "dtype", "torch_dtype", "quantization", "quantization_config", "kv_cache_dtype", "hf_overrides", "load_format",
    "tokenizer", "tokenizer_mode", "tokenizer_revision", "code_revision", "enable_lora", "extra_body",
}  # fmt: skip
"""Engine arguments that change replies and so belong to a request's key; batch sizes, devices and parallelism do not."""


@dataclass(frozen=True)
class Item:
    """One question: ``id`` is ``<subset>/<row index in the split>``, or the index alone for a task without subsets."""

    id: str
    subset: str | None
    values: Row
    target: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class TaskPlan:
    """A task with its items and, per subset, the rendered examples. ``total`` counts the items before ``limit``."""

    name: str
    spec: TaskSpec
    prompt: Prompt
    items: list[Item]
    shots: dict[str | None, list[Shot]]
    total: int
    origin: dict[str, str]
    digest: str
    """SHA-256 over all that decides what is asked and what is right: prompt, rows, examples, the task's own settings."""

    def requests(self, model: ModelSpec, chat: bool, sampling: SamplingSpec) -> Iterator[Request]:
        """Yield the requests subset by subset, so that shared prefixes stay together.

        ``sampling`` is the recipe's own layer; the model's and the task's lie below it.
        """
        settings = sampling.over(model.sampling.over(self.spec.sampling)).resolve()
        args = {name: model.args[name] for name in sorted(model.args) if name in REPLY_ARGS}
        identity = [model.engine, model.path, model.revision, chat, model.generation_config, args]
        as_text = self.spec.fewshot.as_ == "text"
        for item in self.items:
            shots = self.shots[item.subset]
            messages, prompt = None, None
            if chat:
                messages = self.prompt.messages(item.values, shots, model.system, as_text)
                rendered = json.dumps(messages, ensure_ascii=False)
            else:
                prompt = rendered = self.prompt.text(item.values, shots, model.system)
            oracle = self.prompt.render("assistant", item.values)
            for sample in range(SAMPLES):
                drawn = settings if settings.seed is None else replace(settings, seed=settings.seed + sample)
                head = json.dumps([*identity, asdict(drawn), sample], ensure_ascii=False)
                key = hashlib.sha256(f"{head}\n{rendered}".encode()).hexdigest()[:32]
                yield Request(key, self.name, item.id, item.subset, sample, drawn, messages, prompt, oracle)


def plan_tasks(recipe: Recipe, note: Callable[[str], None] = lambda _: None) -> list[TaskPlan]:
    """Read and check the data of every task; ``note`` is told what was found."""
    plans = []
    for name, spec in recipe.tasks.items():
        plan = plan_task(name, spec, recipe)
        picked = f"{len(plan.items)} of {plan.total} items" if recipe.limit else f"{plan.total} items"
        note(f"{name}: {picked} from {', '.join(dict.fromkeys(plan.origin.values()))}")
        plans.append(plan)
    return plans


def plan_task(name: str, spec: TaskSpec, recipe: Recipe) -> TaskPlan:
    """Read one task's data and evaluate its fields; a row that lacks what the task asks for is an error that names it."""
    prompt = Prompt(spec.prompt)
    for rule in spec.score:  # an unknown name shows now, not after a model was asked
        extractor.get(rule.extract.name, rule.extract.options)
        metric.get(rule.metric.name, rule.metric.options)
    rows = data.load(name, spec, recipe.data_dir, recipe.offline)
    reader = _RowReader(name, spec)
    items = [reader.item(subset, index, row) for subset, part in rows.test.items() for index, row in enumerate(part)]
    shots = {
        subset: [prompt.shot(reader.values(subset, index, row)) for index, row in _examples(name, spec, recipe, subset, part)]
        for subset, part in rows.fewshot.items()
    }
    picked = _limit(items, recipe.limit, f"{recipe.seed}/{name}")
    shown = {subset: shots.get(subset, []) for subset in rows.test}
    plan = TaskPlan(name, spec, prompt, picked, shown, len(items), rows.origin, _digest(spec, prompt, rows, recipe))
    for subset in rows.test:  # a template's mistake shows now, not after a model was loaded
        first = next((item for item in picked if item.subset == subset), None)
        if first is not None:
            prompt.messages(first.values, plan.shots[subset])
            prompt.render("assistant", first.values)
    return plan


def _digest(spec: TaskSpec, prompt: Prompt, rows: data.TaskData, recipe: Recipe) -> str:
    """Hash what is asked. The same rows give the same digest from a CSV as from Parquet, from a folder as from the hub."""
    settings = recipe.sampling.over(spec.sampling).model_dump(exclude_none=True)
    content = [spec.data.splits.model_dump(), spec.data.subsets, spec.data.fields, spec.choices, spec.fewshot.model_dump()]
    whole = hashlib.sha256(json.dumps([content, settings, recipe.seed, prompt.source()], sort_keys=True).encode())
    for part in (rows.test, rows.fewshot):
        for subset, members in part.items():
            for row in members:
                cells = sorted((column, "" if cell is None else str(cell)) for column, cell in row.items())
                whole.update(f"{subset}{cells}".encode("utf-8", "replace"))
    return whole.hexdigest()


def version(spec: TaskSpec, digest: str) -> str:
    """Return six hex digits over all that a score depends on, but for the model: what is asked, and the rules."""
    rules = [rule.model_dump(mode="json") for rule in spec.score]
    return hashlib.sha256(json.dumps([digest, spec.version, rules], sort_keys=True).encode()).hexdigest()[:6]


class _RowReader:
    """Evaluates a task's field expressions on raw rows."""

    def __init__(self, name: str, spec: TaskSpec) -> None:
        self.name = name
        self.spec = spec
        self.fields = [(field, compile_field(f"{name}: data.fields.{field}", text)) for field, text in spec.data.fields.items()]
        self.choices = compile_field(f"{name}: choices", spec.choices) if spec.choices else None

    def values(self, subset: str | None, index: int, row: Row) -> Row:
        """Return the row's columns, its subset's fields and the task's fields; later ones may use earlier ones."""
        values: Row = {**row, **(self.spec.data.subsets.get(subset) or {} if subset else {}), "row": row}
        if subset:
            values["subset"] = subset
        for field, evaluate in self.fields:
            try:
                values[field] = evaluate(values)
            except PromptError as error:
                raise DataError(f"{error} (row {_id(subset, index)})") from None
        return values

    def item(self, subset: str | None, index: int, row: Row) -> Item:
        values = self.values(subset, index, row)
        choices = tuple(str(choice) for choice in self.choices(values)) if self.choices else ()
        target = values["target"]
        if target is None or target == "":
            raise DataError(
                f"{self.name}: row {_id(subset, index)} has no answer (target is empty); a split whose labels are not public "
                f"cannot be scored, choose another one with --set task.data.splits.test=..."
            )
        if choices and str(target) not in choices:
            raise DataError(
                f"{self.name}: row {_id(subset, index)}: the answer {target!r} is none of the choices {', '.join(choices)}"
            )
        return Item(_id(subset, index), subset, values, str(target), choices)


def _id(subset: str | None, index: int) -> str:
    return f"{subset}/{index}" if subset else str(index)


def _examples(name: str, spec: TaskSpec, recipe: Recipe, subset: str | None, rows: list[Row]) -> list[tuple[int, Row]]:
    """Choose the few-shot rows of one subset: the same for every item, whatever the order of work."""
    select, count = spec.fewshot.select, spec.fewshot.count
    indices = list(range(len(rows)))
    if select == "random":
        random.Random(f"{recipe.seed}/{name}/{subset}/fewshot").shuffle(indices)
    elif isinstance(select, list):
        indices = select
    if len(indices) < count or max(indices[:count], default=0) >= len(rows):
        place = f"{spec.data.splits.fewshot!r}" + (f" of {subset!r}" if subset else "")
        raise DataError(f"{name}: {count} examples are asked for, but the split {place} has {len(rows)} rows")
    return [(index, rows[index]) for index in indices[:count]]


def _limit(items: list[Item], limit: int | None, seed: str) -> list[Item]:
    """Pick ``limit`` items spread over the subsets in proportion to their sizes, drawn by seed, kept in order.

    Each subset is shuffled and its items are ranked from 0 to 1; the lowest ranks of all are taken. So a larger limit holds
    every item of a smaller one, and a run can be resumed with more.
    """
    if limit is None or limit >= len(items):
        return items
    groups: dict[str | None, list[int]] = {}
    for position, item in enumerate(items):
        groups.setdefault(item.subset, []).append(position)
    ranked: list[tuple[float, str, int]] = []
    for subset, group in groups.items():
        random.Random(f"{seed}/{subset}").shuffle(group)
        ranked += [((rank + 0.5) / len(group), str(subset), position) for rank, position in enumerate(group)]
    picked = [position for *_, position in sorted(ranked)[:limit]]
    return [items[position] for position in sorted(picked)]


def describe(request: Request) -> dict[str, Any]:
    """Return the prompt part of a prediction line: ``messages`` for a chat model, ``prompt`` for a base model."""
    return {"messages": list(request.messages)} if request.messages is not None else {"prompt": request.prompt}
