"""From raw rows to items: field expressions, answers, choices, few-shot examples, and which items ``--limit`` leaves.

Everything here is decided by the recipe, the data and the seed alone: not by engines, batches, workers or resumes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from ocli.errors import DataError, PromptError, did_you_mean
from ocli.prompts import compile_field
from ocli.recipe import TaskSpec
from ocli.types import Row


@dataclass(frozen=True)
class Item:
    """One question: ``id`` is ``<subset>/<row index in the split>``, or the index alone for a task without subsets."""

    id: str
    subset: str | None
    values: Row
    target: str
    choices: tuple[str, ...]
    groups: tuple[str, ...] = ()
    """The groups it is averaged in, beside its subset and its task."""


class RowReader:
    """Evaluates a task's field expressions on raw rows."""

    def __init__(self, task: str, spec: TaskSpec) -> None:
        self.task = task
        self.spec = spec
        self._fields = [(name, compile_field(f"{task}: data.fields.{name}", text)) for name, text in spec.data.fields.items()]
        self._choices = compile_field(f"{task}: choices", spec.choices) if spec.choices else None

    def values(self, subset: str | None, index: int, row: Row) -> Row:
        """Return the row's columns, its subset's fields and the task's fields; later ones may use earlier ones."""
        values: Row = {**row, **(self.spec.data.subsets.get(subset) or {} if subset else {}), "row": row}
        if subset:
            values["subset"] = subset
        try:
            for name, evaluate in self._fields:
                values[name] = evaluate(values)
        except PromptError as error:
            raise DataError(f"{error} (row {item_id(subset, index)})") from None
        return values

    def item(self, subset: str | None, index: int, row: Row) -> Item:
        """Return the item of a row; raise DataError, naming the row, when it cannot be scored."""
        where = f"{self.task}: row {item_id(subset, index)}"
        values = self.values(subset, index, row)
        choices = self._offered(where, values)
        target = _answer(where, values["target"])
        if choices and target not in choices:
            raise DataError(f"{where}: the answer {target!r} is none of the choices {', '.join(choices)}")
        groups = tuple(group for name in self.spec.groups for group in _groups(where, name, values))
        return Item(item_id(subset, index), subset, values, target, choices, groups)

    def _offered(self, where: str, values: Row) -> tuple[str, ...]:
        if self._choices is None:
            return ()
        try:
            choices = self._choices(values)
        except PromptError as error:
            raise DataError(f"{error} ({where})") from None
        if not isinstance(choices, (list, tuple)) or not choices:
            raise DataError(f"{where}: 'choices' must give a list of the answers on offer, not {choices!r}")
        return tuple(str(choice) for choice in choices)


def item_id(subset: str | None, index: int) -> str:
    """Return the id of a row, as the contract writes it."""
    return f"{subset}/{index}" if subset else str(index)


def _answer(where: str, target: Any) -> str:
    if target is None or target == "":
        raise DataError(
            f"{where} has no answer (target is empty); a split whose labels are not public cannot be scored, "
            "choose another one with --set task.data.splits.test=..."
        )
    if isinstance(target, (list, tuple, dict)):
        raise DataError(f"{where}: the answer is a {type(target).__name__}; write a 'target' expression that gives one text")
    # A spreadsheet's 5 comes out of Parquet as 5.0, and nobody answers that.
    return str(int(target)) if isinstance(target, float) and target.is_integer() else str(target)


def _groups(where: str, name: str, values: Row) -> list[str]:
    """Read one group field: it holds one group, a list of them, or nothing."""
    if name not in values:
        raise DataError(f"{where}: groups: there is no field {name!r}{did_you_mean(name, values)}; it has: {', '.join(values)}")
    value = values[name]
    return [str(part) for part in value] if isinstance(value, list) else [] if value in (None, "") else [str(value)]


def examples(
    task: str, spec: TaskSpec, subset: str | None, rows: list[Row], asked: list[Row], seed: int
) -> list[tuple[int, Row]]:
    """Choose the few-shot rows of one subset: the same for every item, whatever the order of work."""
    select, count = spec.fewshot.select, spec.fewshot.count
    place = f"{spec.data.splits.fewshot!r}" + (f" of {subset!r}" if subset else "")
    if rows == asked:
        raise DataError(f"{task}: the few-shot split {place} holds the very questions that are asked; name another split")
    indices = select if isinstance(select, list) else list(range(len(rows)))
    if select == "random":
        random.Random(f"{seed}/{task}/{subset}/fewshot").shuffle(indices)
    if len(indices) < count or max(indices[:count], default=0) >= len(rows):
        raise DataError(f"{task}: {count} examples are asked for, but the split {place} has {len(rows)} rows")
    return [(index, rows[index]) for index in indices[:count]]


def limited(items: list[Item], limit: int | None, seed: str) -> list[Item]:
    """Pick ``limit`` items spread over the subsets in proportion to their sizes, drawn by seed, kept in order.

    Each subset is shuffled and its items are ranked from 0 to 1; the lowest ranks of all are taken. So a larger limit holds
    every item of a smaller one, and a run can be resumed with more.
    """
    if limit is None or limit >= len(items):
        return items
    members: dict[str | None, list[int]] = {}
    for position, item in enumerate(items):
        members.setdefault(item.subset, []).append(position)
    ranked: list[tuple[float, str, int]] = []
    for subset, group in members.items():
        random.Random(f"{seed}/{subset}").shuffle(group)
        ranked += [((rank + 0.5) / len(group), str(subset), position) for rank, position in enumerate(group)]
    picked = [position for *_, position in sorted(ranked)[:limit]]
    return [items[position] for position in sorted(picked)]
