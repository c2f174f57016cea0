"""What there is, as ``ocli list`` prints it and as docs/tasks.md has it: tasks by capability, with what to know of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from ocli.catalog import KINDS, Entry
from ocli.stages.tables import Row
from ocli.task import CAPABILITIES, mode_name

NUMBERS = (2, 4)
"""The columns of a task's row that are numbers."""


def sections(found: Sequence[Entry]) -> Iterator[tuple[str, list[Row]]]:
    """Yield a heading and its rows: models, then the tasks of each capability, then recipes and suites."""
    for kind in KINDS:
        entries = [entry for entry in found if entry.kind == kind]
        if kind == "tasks":
            for capability, tasks in by_capability(entries):
                yield f"tasks: {capability}", [("", "mode", "shots", "metric", "items", ""), *map(task_row, tasks)]
        elif entries:
            yield kind, [(entry.name, entry.data.get("description") or _where(entry.data)) for entry in entries]


def by_capability(tasks: Iterable[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Yield each capability that has tasks, in the house's order."""
    order = sorted(tasks, key=lambda entry: CAPABILITIES.index(_capability(entry)))
    for capability, members in groupby(order, key=_capability):
        yield capability, list(members)


def task_row(entry: Entry) -> Row:
    """Return name, mode, number of examples, headline metric, published number of items, and description."""
    data = entry.data
    rule = (data.get("score") or [{}])[0]
    metric = rule.get("metric", "")
    label = rule.get("name") or (metric.get("name") if isinstance(metric, dict) else metric)
    items = data.get("items") or ""
    count = sum(items.values()) if isinstance(items, dict) else items
    mode = mode_name(data.get("mode", "generate"), rule.get("by"))
    return entry.name, mode, str(_shots(data)), str(label), str(count), data.get("description") or ""


def to_markdown(found: Sequence[Entry]) -> str:
    """Return the tasks as Markdown, a table that opens for each capability."""
    parts = []
    for capability, tasks in by_capability(entry for entry in found if entry.kind == "tasks"):
        rows = [f"| `{name}` | " + " | ".join(rest) + " |" for name, *rest in map(task_row, tasks)]
        head = ["| task | mode | shots | metric | items | |", "|---|---|---:|---|---:|---|"]
        parts += [f"<details><summary><b>{capability}</b> ({len(tasks)})</summary>", "", *head, *rows, "", "</details>", ""]
    return "\n".join(parts)


def _capability(entry: Entry) -> str:
    said = entry.data.get("capability")
    return said if said in CAPABILITIES else CAPABILITIES[0]


def _shots(data: dict[str, Any]) -> int:
    fewshot = data.get("fewshot") or {}
    select = fewshot.get("select")
    return len(select) if isinstance(select, list) else fewshot.get("count", 0)


def _where(data: dict[str, Any]) -> str:
    return f"{data.get('engine', '')} {data.get('path', '')}".strip()
