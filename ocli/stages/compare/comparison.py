"""The comparison of two models as a whole: all tasks that both have, what is not comparable, what differs, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ocli.errors import RunError
from ocli.fingerprint import differences, fingerprint, untold
from ocli.paired import holm
from ocli.stages.compare.difference import Measured, measure, pair
from ocli.stages.compare.flips import Flips, find
from ocli.stages.compare.sides import Side, common_tasks, reasons, remarks
from ocli.stages.finite import finite

VERDICTS = ("FAIL", "INCONCLUSIVE", "PASS")
"""What a tolerance makes of a task, the worst first."""
NO_FLIPS = Flips([], [], {}, [])
"""Of perplexities: every text's changes."""


@dataclass(frozen=True)
class Task:
    """One task's difference and the items behind it."""

    measured: Measured
    flips: Flips
    verdict: str | None
    """One of ``VERDICTS``; None without a tolerance, and for perplexities, which have no points."""


@dataclass(frozen=True)
class Comparison:
    """Everything that ``ocli compare`` says."""

    a: Side
    b: Side
    tasks: list[Task]
    settings: list[tuple[str, str, str]]
    """Conditions that differ, largest typical effect first: name, A's, B's."""
    untold: list[str]
    """Conditions that only one side has on record, so that they cannot be compared."""
    reasons: list[str]
    """Why this is no true comparison, where ``--anyway`` made one."""
    remarks: list[str]
    """What the models' own settings changed in what they were asked."""
    tolerance: float | None = None

    @property
    def verdict(self) -> str | None:
        """The worst of the tasks' verdicts."""
        told = {task.verdict for task in self.tasks}
        return next((verdict for verdict in VERDICTS if verdict in told), None)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            **{letter: _side_json(side) for letter, side in (("a", self.a), ("b", self.b))},
            "comparable": not self.reasons,
            "reasons": self.reasons,
            "remarks": self.remarks,
            "settings": [{"name": name, "a": a, "b": b} for name, a, b in self.settings],
            "untold": self.untold,
            "tolerance": self.tolerance,
            "verdict": self.verdict,
            "tasks": [_task_json(task) for task in self.tasks],
        }


def _side_json(side: Side) -> dict[str, str]:
    return {"label": side.label, "run": str(side.run.path), "model": side.model}


def _task_json(task: Task) -> dict[str, Any]:
    measured = task.measured
    flips = {
        "worse": task.flips.worse, "better": task.flips.better,
        "subsets": {name: {"worse": worse, "better": better} for name, (worse, better) in task.flips.subsets.items()},
        "shown": [{**vars(flip), "said": [vars(said) for said in flip.said]} for flip in task.flips.shown],
    }  # fmt: skip
    return {**finite(vars(measured)), "shown": measured.shown, "gain": measured.gain, "verdict": task.verdict, "flips": flips}


def compare(
    a: Side, b: Side, wanted: Sequence[str] = (), *, anyway: bool = False, most: int = 3, tolerance: float | None = None
) -> Comparison:
    """Compare two models on the tasks that both have, or on the ``wanted`` ones.

    Raises RunError with every reason why they are not comparable, unless ``anyway``. ``most`` is how many flipped items of a task
    are read, ``tolerance`` how many points B may lose (``Measured.judge``).
    """
    names = common_tasks(a, b, wanted)
    results = {name: (a.results(name), b.results(name)) for name in names}
    why = [reason for name in names for reason in reasons(a, b, name, results[name])]
    if why and not anyway:
        raise RunError("\n  ".join([f"{a.label} and {b.label} are not comparable; --anyway compares them all the same:", *why]))
    noted = [remark for name in names for remark in remarks(a, b, name, results[name])]
    pairs = {name: pair(name, (a.recipe.tasks[name], b.recipe.tasks[name]), results[name]) for name in names}
    measured = [measure(name, a.recipe.tasks[name], pairs[name]) for name in names]
    if tolerance is not None and all(one.lower_is_better for one in measured):
        raise RunError(f"--fail-if-worse counts points, and {', '.join(names)} has a perplexity; leave it out")
    tasks = [
        Task(
            one,
            NO_FLIPS if one.lower_is_better else find(a, b, one.task, results[one.task], pairs[one.task], most),
            None if tolerance is None or one.lower_is_better else one.judge(tolerance),
        )
        for one in adjusted(measured)
    ]
    sides = [fingerprint(side.recipe, side.model, names) for side in (a, b)]
    return Comparison(a, b, tasks, differences(*sides), untold(*sides), why, noted, tolerance)


def adjusted(measured: list[Measured]) -> list[Measured]:
    """Put Holm's p beside each p that decides where there are several."""
    tested = [one for one in measured if one.deciding_p is not None]
    if len(tested) < 2:
        return measured
    adjusted = dict(zip((one.task for one in tested), holm([one.deciding_p or 0.0 for one in tested]), strict=True))
    return [replace(one, adjusted_p=adjusted.get(one.task)) for one in measured]
