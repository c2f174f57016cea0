"""eval, infer, score: the stages that make numbers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ocli.cli.app import INCOMPLETE, INTERRUPTED, OK, app
from ocli.cli.options import (
    AllowCode,
    DataDir,
    Debug,
    DryRun,
    Limit,
    Models,
    Offline,
    RecipeArg,
    Resume,
    RunArg,
    Sets,
    Shard,
    Tasks,
    WorkDir,
    overrides,
)
from ocli.cli.printing import out, say, show_summary
from ocli.errors import OcliError

if TYPE_CHECKING:
    from ocli.recipe import Recipe
    from ocli.runs import Run
    from ocli.stages.notify import Notifier


@app.command(name="eval")
def evaluate(
    recipe: RecipeArg = None, model: Models = [], task: Tasks = [], limit: Limit = None, shard: Shard = None,  # noqa: B006
    data_dir: DataDir = None, work_dir: WorkDir = None, resume: Resume = False, set_: Sets = [],  # noqa: B006
    offline: Offline = False, allow_code_exec: AllowCode = False, dry_run: DryRun = False, debug: Debug = False,
    timestamp: Annotated[Optional[str], typer.Option(hidden=True)] = None,
) -> None:  # fmt: skip
    """Ask, score and report: the three stages in order, and the report as a page."""
    from ocli.runs import write_whole
    from ocli.stages.html import to_html
    from ocli.stages.report import report
    from ocli.stages.score import need_consent, score

    settings = {"limit": limit, "shard": shard, "data_dir": data_dir, "work_dir": work_dir, "offline": offline or None}
    resolved = load(recipe, model, task, set_, settings | {"allow_code_exec": allow_code_exec or None})
    if dry_run:
        _estimate(resolved)
    with _telling(resolved) as tell:
        need_consent(resolved, say)
        run, _ = _infer(resolved, resume, timestamp, debug, tell)
        unscored = score(run, say)
        summary = report(run)
        page = run.path / "summary" / "report.html"
        write_whole(page, [to_html(summary).encode()])
    show_summary(summary)
    tell.finished(run, unscored, summary)
    say(f"files: {run.path}/summary/summary.{{txt,csv,md,json}}\npage: {page}")
    refuse_unlabelled(run)
    raise typer.Exit(INCOMPLETE if unscored else OK)


@app.command()
def infer(
    recipe: RecipeArg = None, model: Models = [], task: Tasks = [], limit: Limit = None, shard: Shard = None,  # noqa: B006
    data_dir: DataDir = None, work_dir: WorkDir = None, resume: Resume = False, set_: Sets = [],  # noqa: B006
    offline: Offline = False, dry_run: DryRun = False, debug: Debug = False,
    timestamp: Annotated[Optional[str], typer.Option(hidden=True)] = None,
) -> None:  # fmt: skip
    """Ask only; prints the run directory."""
    settings = {"limit": limit, "shard": shard, "data_dir": data_dir, "work_dir": work_dir, "offline": offline or None}
    resolved = load(recipe, model, task, set_, settings)
    if dry_run:
        _estimate(resolved)
    with _telling(resolved) as tell:
        run, failed = _infer(resolved, resume, timestamp, debug, tell)
    print(run.path)
    tell.finished(run, failed)
    raise typer.Exit(INCOMPLETE if failed else OK)


@app.command()
def score(run: RunArg = None, allow_code_exec: AllowCode = False, debug: Debug = False) -> None:
    """Score the replies of a run again: no model, no network."""
    from ocli.runs import Run
    from ocli.stages.score import score as score_run

    found = Run.find(run)
    unscored = score_run(found, say, allow_code_exec)
    print(found.path)
    refuse_unlabelled(found)
    raise typer.Exit(INCOMPLETE if unscored else OK)


def _estimate(recipe: Recipe) -> None:
    """Print what a run would ask, and end."""
    from ocli.stages.dry_run import dry_run

    for line in dry_run(recipe):
        out(line)
    raise typer.Exit(OK)


def load(reference: str | None, models: list[str], tasks: list[str], sets: list[str], settings: dict[str, Any]) -> Recipe:
    """Resolve the recipe with what the command line says laid over it."""
    from ocli.catalog import load_recipe

    laid_over = overrides(sets) | {key: value for key, value in settings.items() if value is not None}
    return load_recipe(reference, models, tasks, laid_over)


@contextmanager
def _telling(recipe: Recipe) -> Iterator[Notifier]:
    """Tell the recipe's receivers where what is inside fails; who stops it by hand knows of it."""
    from ocli.stages.notify import Notifier

    tell = Notifier(recipe, say)
    try:
        yield tell
    except typer.Exit:
        raise
    except Exception as error:
        tell.failed(error)
        raise


def _infer(recipe: Recipe, resume: bool, timestamp: str | None, debug: bool, tell: Notifier) -> tuple[Run, int]:
    from ocli.runs import Run
    from ocli.stages.infer import infer as infer_run

    run = None
    if resume:
        folder = Path(recipe.work_dir) / recipe.name
        run = Run.find(str(folder / timestamp) if timestamp else str(folder))
    try:
        run, outcome = infer_run(recipe, run, say, debug, tell.started)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses twice gets the advice once
        say("interrupted; every reply so far is kept: run the same command with -r to go on")
        raise typer.Exit(INTERRUPTED) from None
    if outcome.kept:
        say(f"{outcome.kept} replies were there already, {outcome.asked} asked now")
    return run, outcome.failed + outcome.broken + outcome.unpaid


def refuse_unlabelled(run: Run) -> None:
    """Raise OcliError where answers were written to a file, for want of labels, instead of being scored."""
    from ocli.stages.submission import unlabelled

    if lines := unlabelled(run):
        raise OcliError("\n".join(lines))
