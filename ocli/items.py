"""From raw rows to items: field expressions, answers, choices, few-shot examples, and which items ``--limit`` leaves.

Everything here is decided by the recipe, the data and the seed alone: not by engines, batches, workers or resumes.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ocli.errors import DataError, PromptError, did_you_mean
from ocli.prompts import compile_field
from ocli.task import TaskSpec
from ocli.types import Row

_NO_LABELS = (
    "a split whose labels are not public cannot be scored: choose another one (--set task.data.splits.test=...), or say "
    "'labels: false' to have the answers written to a file"
)


NAME = 40
"""Characters up to which what a cluster shares is its name."""


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
    right: int | None = None
    """The index of the right choice, where choices are compared by their likelihood."""
    baseline: str | None = None
    accepted: tuple[str, ...] = ()
    """All answers that are right, where a reply is generated; the target is the first of them. None: nobody has said."""
    weights: tuple[float | None, ...] = ()
    """What the item counts for under each of the task's rules; None: as much as any other."""
    cluster: str | None = None
    """What it shares with the items that it is not independent of."""


class RowReader:
    """Evaluates a task's field expressions on raw rows."""

    def __init__(self, task: str, spec: TaskSpec) -> None:
        self.task = task
        self.spec = spec
        self._fields = [(name, compile_field(f"{task}: data.fields.{name}", text)) for name, text in spec.data.fields.items()]
        self._choices = compile_field(f"{task}: choices", spec.choices) if spec.choices else None
        self._where = compile_field(f"{task}: data.where", spec.data.where) if spec.data.where else None
        self._cluster = compile_field(f"{task}: cluster", spec.cluster) if spec.cluster else None
        self._baseline = compile_field(f"{task}: baseline", spec.baseline) if spec.baseline is not None else None

    def questions(self, subset: str | None, rows: list[Row], split: str = "") -> list[tuple[int, Row]]:
        """Return the questions of a split with their indices: the rows, or what a column lists, but for those left out."""
        spec = self.spec.data
        if spec.each:
            rows = [question for index, row in enumerate(rows) for question in self._each(item_id(subset, index), row, spec.each)]
        numbered = list(enumerate(rows))
        if self._where is None:
            return numbered
        kept = [(index, row) for index, row in numbered if self._evaluate_where(subset, index, row, split)]
        if not kept:
            raise DataError(
                f"{self.task}: data.where ({spec.where!r}) leaves no question" + (f" of {subset!r}" if subset else "")
            )
        return kept

    def _each(self, where: str, row: Row, path: str) -> list[Row]:
        """Return a row for each question of the list ``path`` names, with the columns of all it stands in.

        A dot leads on to a list in each element: ``paragraphs.qas``; an object on the way is a list of one.
        """
        column, _, inner = path.partition(".")
        questions = row.get(column)
        if inner and isinstance(questions, dict):
            questions = [questions]
        if not isinstance(questions, list) or not all(isinstance(question, dict) for question in questions):
            raise DataError(
                f"{self.task}: row {where}: data.each: {column!r} is no list of questions; the row has: {', '.join(row)}"
            )
        rows = [{**row, **question} for question in questions]
        return [question for row in rows for question in self._each(where, row, inner)] if inner else rows

    def _evaluate_where(self, subset: str | None, index: int, row: Row, split: str) -> bool:
        assert self._where is not None
        seen = {**row, "row": row, "split": split} | ({"subset": subset} if subset else {})
        return bool(self._evaluate(f"row {item_id(subset, index)}", self._where, seen))

    def values(self, subset: str | None, index: int, row: Row, labelled: bool = True) -> Row:
        """Return the row's columns, its subset's fields and the task's fields; later ones may use earlier ones.

        Where it is not ``labelled``, the target is empty.
        """
        values: Row = {**row, **(self.spec.data.subsets.get(subset) or {} if subset else {}), "row": row}
        if subset:
            values["subset"] = subset
        try:
            for name, evaluate in self._fields:
                values[name] = evaluate(values) if labelled or name != "target" else ""
        except PromptError as error:
            hint = f"; {_NO_LABELS}" if name == "target" and "undefined" in str(error) else ""
            raise DataError(f"{error} (row {item_id(subset, index)}){hint}") from None
        return values

    def item(self, subset: str | None, index: int, row: Row, labelled: bool = True) -> Item:
        """Return the item of a row; raise DataError, naming the row, when it cannot be scored though it is ``labelled``."""
        where = f"{self.task}: row {item_id(subset, index)}"
        values = self.values(subset, index, row, labelled)
        groups = tuple(group for name in self.spec.groups for group in _groups(where, name, values))
        choices = self._offered(where, values)
        weights, cluster = self._weights(where, values), self._shared(where, values)
        item = Item(item_id(subset, index), subset, values, "", choices, groups, weights=weights, cluster=cluster)
        if self.spec.mode == "perplexity" or not labelled:
            return item
        if self.spec.mode == "generate":
            accepted = _answers(where, values["target"])
            for target in accepted:
                if choices and target not in choices:
                    raise DataError(f"{where}: the answer {target!r} is none of the choices {', '.join(choices)}")
            if isinstance(values["target"], (list, tuple)):
                values["target"] = accepted[0]
            return replace(item, target=accepted[0], accepted=accepted)
        right = _right(where, values["target"], choices)
        # In a prompt, ``target`` is the choice that is being written: here and in examples the right one.
        values["target"] = choices[right]
        baseline = _text(f"{where}: baseline", self._evaluate(where, self._baseline, values)) if self._baseline else None
        return replace(item, target=choices[right], right=right, baseline=baseline)

    def _shared(self, where: str, values: Row) -> str | None:
        """Return the cluster's name: what the expression gives, or a digest where that is a whole passage."""
        if self._cluster is None:
            return None
        value = self._evaluate(where, self._cluster, values)
        if value in (None, ""):
            raise DataError(f"{where}: cluster: {self.spec.cluster!r} is empty here; every question must be in one")
        text = str(value)
        return text if len(text) <= NAME else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]

    def _weights(self, where: str, values: Row) -> tuple[float | None, ...]:
        """Return what the item counts for under each rule."""
        weights = []
        for rule in self.spec.score:
            weight = values.get(rule.weight) if rule.weight else None
            number = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < math.inf
            if rule.weight and not number:
                seen = f"not {weight!r:.60}" if rule.weight in values else f"but there is none{did_you_mean(rule.weight, values)}"
                raise DataError(f"{where}: weight: {rule.weight!r} must be a field with a number above 0, {seen}")
            weights.append(weight)
        return tuple(weights)

    def example(self, subset: str | None, index: int, row: Row) -> Row:
        """Return the values of a row that is shown as a worked example."""
        return self.item(subset, index, row).values

    def _offered(self, where: str, values: Row) -> tuple[str, ...]:
        if self._choices is None:
            return ()
        choices = self._evaluate(where, self._choices, values)
        # A generated reply may be free text under one question of a task and a choice under another (BBH).
        if not isinstance(choices, (list, tuple)) or not (choices or self.spec.mode == "generate"):
            raise DataError(f"{where}: 'choices' must give a list of the answers on offer, not {choices!r}")
        target = values.get("target")
        if self.spec.mode == "loglikelihood" and type(target) is int and any(type(choice) is int for choice in choices):
            raise DataError(
                f"{where}: the choices are numbers, so the answer {target} could be one of them or an index; "
                "write the answer as text (ANSWER|string), or the choices (OPTIONS|map('string')|list)"
            )
        texts = tuple(_text(f"{where}: choice {number}", choice) for number, choice in enumerate(choices))
        if len(texts) == 1 and any(rule.by for rule in self.spec.score):
            raise DataError(f"{where}: there is one choice only ({texts[0]!r}), so nothing can be compared")
        return texts

    def _evaluate(self, where: str, expression: Callable[[Row], Any], values: Row) -> Any:
        try:
            return expression(values)
        except PromptError as error:
            raise DataError(f"{error} ({where})") from None


def item_id(subset: str | None, index: int) -> str:
    """Return the id of a row, as the contract writes it."""
    return f"{subset}/{index}" if subset else str(index)


def _answers(where: str, target: Any) -> tuple[str, ...]:
    """Return the right answers: one, or a list of texts of which any will do."""
    if isinstance(target, (list, tuple)) and target:
        return tuple(dict.fromkeys(_answer(where, one) for one in target))
    return (_answer(where, target),)


def _answer(where: str, target: Any) -> str:
    if target is None or target == "":
        raise DataError(f"{where} has no answer (target is empty); {_NO_LABELS}")
    if isinstance(target, (list, tuple, dict)):
        raise DataError(
            f"{where}: the answer is a {type(target).__name__}; write a 'target' expression that gives a text, or texts"
        )
    return _text(f"{where}: the answer", target)


def _text(what: str, value: Any) -> str:
    """Return a value as text; raise DataError on what would be written as the word for it (None, nan, [...])."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a spreadsheet's 5 comes out of Parquet as 5.0, and nobody answers that
    if isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    raise DataError(f"{what} must be a text or a number, not {value!r}")


def _right(where: str, target: Any, choices: tuple[str, ...]) -> int:
    """Return the index of the right choice: the target is that index (a whole number, from 0) or the choice's text."""
    if isinstance(target, int) and not isinstance(target, bool):
        if not 0 <= target < len(choices):
            raise DataError(f"{where}: the answer is choice {target}, but there are {len(choices)} (0 to {len(choices) - 1})")
        return target
    text = _answer(where, target)
    if text not in choices:
        hint = "; an index is written as a number: ANSWER|int" if text.isdecimal() and int(text) < len(choices) else ""
        raise DataError(f"{where}: the answer {text!r} is none of the choices {', '.join(choices)}{hint}")
    return choices.index(text)


def _groups(where: str, name: str, values: Row) -> list[str]:
    """Read one group field: it holds one group, a list of them, or nothing."""
    if name not in values:
        raise DataError(f"{where}: groups: there is no field {name!r}{did_you_mean(name, values)}; it has: {', '.join(values)}")
    value = values[name]
    return [str(part) for part in value] if isinstance(value, list) else [] if value in (None, "") else [str(value)]


Questions = list[tuple[int, Row]]


def examples(task: str, spec: TaskSpec, subset: str | None, rows: Questions, asked: Questions, seed: int) -> Questions:
    """Choose the few-shot rows of one subset: the same for every item, whatever the order of work."""
    select, count = spec.fewshot.select, spec.fewshot.count
    place = f"{spec.data.splits.fewshot!r}" + (f" of {subset!r}" if subset else "")
    if rows == asked:
        raise DataError(f"{task}: the few-shot split {place} holds the very questions that are asked; name another split")
    known = dict(rows)
    indices = select if isinstance(select, list) else list(known)
    if select == "random":
        random.Random(f"{seed}/{task}/{subset}/fewshot").shuffle(indices)
    missing = [index for index in indices if index not in known]
    if len(indices) < count or missing:
        which = f" and none with the index {missing[0]}" if missing else ""
        raise DataError(f"{task}: {count} examples are asked for, but the split {place} has {len(rows)} rows{which}")
    return [(index, known[index]) for index in indices[:count]]


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
