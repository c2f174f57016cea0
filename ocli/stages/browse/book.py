"""Runs as a book of items: what the page shows at once, pages of rows, and one item with its prompts and replies."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from ocli import __version__
from ocli.errors import NotFoundError, did_you_mean
from ocli.fingerprint import fingerprint
from ocli.recipe import Recipe
from ocli.runs import Run, stamp
from ocli.scoring import runs_code
from ocli.stages import tables
from ocli.stages.browse.lines import Key, Stopped
from ocli.stages.browse.live import Tail
from ocli.stages.browse.parts import KINDS, Part
from ocli.stages.browse.table import Query, Table
from ocli.stages.report import Source, Summary, combine, summarise
from ocli.task import TaskSpec, mode_name

Place = tuple[Path, str, str]
"""A run's path, a model, a task."""
TABLES = 2
"""So many tasks are kept in memory: a reader looks at one after the other."""


@dataclass(frozen=True)
class State:
    """Everything as it was at one look."""

    stamps: tuple[Any, ...]
    summary: Summary
    recipes: dict[Path, Recipe]
    parts: dict[Place, Part]
    live: bool
    progress: dict[str, dict[str, list[int]]]

    def of(self, name: str) -> dict[str, Part]:
        """Return a task's parts by the models' labels."""
        places = {label: (source.run.path, source.model, name) for label, source in self.summary.sources.items()}
        return {label: self.parts[place] for label, place in places.items() if place in self.parts}

    @property
    def tasks(self) -> dict[str, TaskSpec]:
        """All tasks; one that several runs have is the first one's."""
        tasks: dict[str, TaskSpec] = {}
        for recipe in self.recipes.values():
            tasks = recipe.tasks | tasks
        return tasks


class Book:
    """One or more runs side by side. ``refresh`` looks at the files again; everything else tells what the last look saw."""

    def __init__(self, runs: Sequence[Run], summary: Summary | None = None) -> None:
        self.runs = list(runs)
        self._given = summary
        self._parts: dict[Place, tuple[Any, Part | None]] = {}
        self._tails: dict[Place, Tail] = {}
        self._tables: dict[str, tuple[list[Part], Table]] = {}
        self._page: tuple[State, dict[str, Any]] | None = None
        self._state: State | None = None
        self._looking, self._building = threading.RLock(), threading.RLock()

    @classmethod
    def of(cls, summary: Summary) -> Book:
        """Open the runs that a summary is of."""
        return cls(list({source.run.path: source.run for source in summary.sources.values()}.values()), summary)

    @property
    def state(self) -> State:
        """What the last look saw."""
        return self._state or self.refresh()

    def refresh(self) -> State:
        """Look at the files; where any has changed, read what is new."""
        with self._looking:
            parts = {place: part for place, part in self._look() if part is not None}
            # The last look's parts and recipes are alive, so that no new one is at the address of an old one.
            stamps = tuple((place, id(part)) for place, part in parts.items()) + tuple(id(run.recipe()) for run in self.runs)
            if self._state is None or self._state.stamps != stamps:
                self._state = self._read(stamps, parts)
            return self._state

    @property
    def behind(self) -> bool:
        """Whether there is more to read at once."""
        return any(tail.behind for tail in self._tails.values())

    def _look(self) -> Iterator[tuple[Place, Part | None]]:
        for run in self.runs:
            recipe = run.recipe()
            for model in recipe.models:
                for name, task in recipe.tasks.items():
                    yield (run.path, model, name), self._part(Source(run, model), name, task)

    def _part(self, source: Source, name: str, task: TaskSpec) -> Part | None:
        """Return the part as it is on disk, the same one while nothing changes; None where there is no reply."""
        run, model = source.run, source.model
        place = run.path, model, name
        results, predictions = stamp(run.results(model, name)), stamp(run.predictions(model, name))
        now, known = (results, predictions, stamp(run.items(model, name))), self._parts.get(place)
        if results[1] and results[0] >= predictions[0]:
            self._tails.pop(place, None)
            if known is None or known[0] != now:
                known = self._parts[place] = now, Part(source, name, task)
            return known[1]
        tail = self._tails.setdefault(place, Tail(run.predictions(model, name), run.items(model, name), task))
        if tail.look() or known is None or known[0] is not tail:
            so_far = tail.results
            known = self._parts[place] = tail, None if so_far is None else Part(source, name, task, so_far)
        return known[1]

    def _read(self, stamps: tuple[Any, ...], parts: dict[Place, Part]) -> State:
        recipes = {run.path: run.recipe() for run in self.runs}
        begun = {run.path for run in self.runs if not any((run.path / "results").glob("*/*.parquet"))}
        live = bool(begun) or any(part.live for part in parts.values())

        def brief(run: Run, model: str, name: str) -> pl.DataFrame | None:
            part = parts.get((run.path, model, name))
            return None if part is None or (part.live and runs_code(part.task)) else part.brief()

        summary = self._given or combine([summarise(run, brief) for run in self.runs])
        if live and self._given is None:
            summary.unasked = []  # not yet
        progress = {label: _progress(recipes[source.run.path], source, parts) for label, source in summary.sources.items()}
        return State(stamps, summary, recipes, parts, live, progress)

    def table(self, name: str) -> Table:
        """Return a task's rows; raise NotFoundError where there is no such task or no reply to it."""
        state = self.state
        if name not in state.tasks:
            raise NotFoundError(f"no task is called {name!r}{did_you_mean(name, state.tasks)}")
        parts = state.of(name)
        if not parts:
            raise NotFoundError(f"{name}: there is no reply yet")
        with self._building:
            known = self._tables.pop(name, None)
            if known is None or known[0] != list(parts.values()):
                known = list(parts.values()), Table(parts)
            self._tables[name] = known
            while len(self._tables) > TABLES:
                self._tables.pop(next(iter(self._tables)))
            return known[1]

    def items(self, name: str, query: Query, stopped: Stopped = lambda: False) -> dict[str, Any]:
        """Return a page of a task's rows (``Table.page``)."""
        return self.table(name).page(query, stopped)

    def item(self, name: str, key: Key) -> dict[str, Any]:
        """Return one item with its prompts and replies."""
        table = self.table(name)
        number = table.position(key)
        if number is None:
            raise NotFoundError(f"{name}: no item has the id {key[0]!r} and the sample {key[1]}")
        return table.items(pl.Series([number]))[0]

    def page(self) -> dict[str, Any]:
        """Return what the page shows at once."""
        state = self.state
        with self._building:
            if self._page is None or self._page[0] is not state:
                self._page = state, _page(state)
            return self._page[1]


def asked(recipe: Recipe, name: str) -> int:
    """Return how many items of a task this run is to ask: of a shard its share."""
    part, parts = map(int, recipe.shard.split("/")) if recipe.shard else (1, 1)
    return len(range(part - 1, recipe.record.get("tasks", {}).get(name, {}).get("asked", 0), parts))


def _progress(recipe: Recipe, source: Source, parts: dict[Place, Part]) -> dict[str, list[int]]:
    done = {name: parts.get((source.run.path, source.model, name)) for name in recipe.tasks}
    return {
        name: [0 if part is None else part.counts["all"], asked(recipe, name) * recipe.tasks[name].samples]
        for name, part in done.items()
    }


def _page(state: State) -> dict[str, Any]:
    summary, recipes = state.summary, state.recipes
    conditions = {
        label: [[one.name, one.value] for one in fingerprint(recipes[source.run.path], source.model)]
        for label, source in summary.sources.items()
    }
    page = {
        "title": summary.recipe,
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "ocli": __version__,
        "live": state.live,
        "complete": True,
        "models": summary.models,
        "summary": summary.to_dict(),
        "notes": tables.notes(summary),
        "tasks": {name: _task(state, name, task) for name, task in state.tasks.items()},
        "conditions": conditions,
    }
    return page | ({"progress": state.progress} if state.live else {})


def _task(state: State, name: str, task: TaskSpec) -> dict[str, Any]:
    parts = state.of(name)
    items = max(recipe.record.get("tasks", {}).get(name, {}).get("asked", 0) for recipe in state.recipes.values())
    counts = {label: part.counts for label, part in parts.items()}
    most = max([items * task.samples, *(count["all"] for count in counts.values())])
    nothing = dict.fromkeys(KINDS, 0)
    letters = {label: part.letters for label, part in parts.items() if part.letters}
    told = {
        "capability": task.capability,
        "description": task.description,
        "source": task.source,
        "mode": mode_name(task.mode, task.score[0].by),
        "metric": task.score[0].label,
        "version": next((row.version for row in state.summary.rows if row.task == name), ""),
        "rules": [rule.label for rule in task.score],
        "samples": task.samples,
        "subsets": [subset for subset in task.data.asked if subset is not None],
        "items": items,
        "held": items,
        "counts": {
            label: {**(mine := counts.get(label, nothing)), "missing": most - mine["all"]} for label in state.summary.models
        },
        "patterns": {label: part.patterns for label, part in parts.items()},
    }
    if letters:
        targets = next(iter(letters.values()))[1]
        told["letters"] = {"answers": {label: found[0] for label, found in letters.items()}, "targets": targets}
    return told
