"""The command line: read arguments, call one stage, print. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ocli.errors import OcliError

if TYPE_CHECKING:
    from ocli.recipe import Recipe
    from ocli.runs import Run
    from ocli.stages.report import Summary

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Evaluate large language models: recipes name models and tasks, an engine answers, polars scores.",
)

OK, INCOMPLETE, USER_ERROR, INTERRUPTED = 0, 1, 2, 130

# Optional[...] and not X | None: typer reads the annotations at run time, on Python 3.10 too.
RecipeArg = Annotated[
    Optional[str],
    typer.Argument(metavar="RECIPE", help="A recipe: a YAML or TOML file, or a name from 'ocli list'.", show_default=False),
]
Models = Annotated[
    list[str],
    typer.Option("-m", "--model", metavar="MODEL", help="A model: name, file, or engine:path. Repeatable.", show_default=False),
]
Tasks = Annotated[
    list[str],
    typer.Option(
        "-t",
        "--task",
        metavar="TASK",
        help="A task or suite: name, file, or a CSV of questions. Repeatable.",
        show_default=False,
    ),
]
Limit = Annotated[
    Optional[int],
    typer.Option(
        "--limit",
        metavar="N",
        help="Ask only N items of each task, spread over its subsets.",
        min=1,
        show_default=False,
    ),
]
Shard = Annotated[
    Optional[str],
    typer.Option("--shard", metavar="I/N", help="Ask only the I-th of N shares of the items.", show_default=False),
]
DataDir = Annotated[
    Optional[str],
    typer.Option("--data-dir", metavar="DIR", help="Where the data is: a directory or a zip.", show_default=False),
]
WorkDir = Annotated[
    Optional[str],
    typer.Option("-w", "--work-dir", metavar="DIR", help="Where runs are written (default: outputs).", show_default=False),
]
Resume = Annotated[
    bool, typer.Option("-r", "--resume", help="Go on with the latest run of this recipe; -r TIMESTAMP names another.")
]
Sets = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="K=V",
        help="Change one key of the recipe, as sampling.max_tokens=64. Repeatable.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Ask nothing: print requests, estimated tokens and cost, and the first prompt.")
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code-exec", help="Let code benchmarks run the model's programs, in a sandbox, to score them.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Open no socket: what is not on this machine is an error.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
RunArg = Annotated[
    Optional[str],
    typer.Argument(metavar="RUN", help="A run directory; left out: the latest below ./outputs.", show_default=False),
]


@app.command(name="eval")
def evaluate(
    recipe: RecipeArg = None, model: Models = [], task: Tasks = [], limit: Limit = None, shard: Shard = None,  # noqa: B006
    data_dir: DataDir = None, work_dir: WorkDir = None, resume: Resume = False, set_: Sets = [],  # noqa: B006
    offline: Offline = False, allow_code_exec: AllowCode = False, dry_run: DryRun = False, debug: Debug = False,
    timestamp: Annotated[Optional[str], typer.Option(hidden=True)] = None,
) -> None:  # fmt: skip
    """Ask, score and report: the three stages in order."""
    from ocli.stages.report import report
    from ocli.stages.score import need_consent, score

    settings = {"limit": limit, "shard": shard, "data_dir": data_dir, "work_dir": work_dir, "offline": offline or None}
    resolved = _load(recipe, model, task, set_, settings | {"allow_code_exec": allow_code_exec or None})
    if dry_run:
        _estimate(resolved)
    need_consent(resolved, _say)
    run, _ = _infer(resolved, resume, timestamp, debug)
    unscored = score(run, _say)
    _show(report(run))
    _say(f"files: {run.path}/summary/summary.{{txt,csv,md,json}}")
    _refuse_unlabelled(run)
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
    resolved = _load(recipe, model, task, set_, settings)
    if dry_run:
        _estimate(resolved)
    run, failed = _infer(resolved, resume, timestamp, debug)
    print(run.path)
    raise typer.Exit(INCOMPLETE if failed else OK)


@app.command()
def score(run: RunArg = None, allow_code_exec: AllowCode = False, debug: Debug = False) -> None:
    """Score the replies of a run again: no model, no network."""
    from ocli.runs import Run
    from ocli.stages.score import score as score_run

    found = Run.find(run)
    unscored = score_run(found, _say, allow_code_exec)
    print(found.path)
    _refuse_unlabelled(found)
    raise typer.Exit(INCOMPLETE if unscored else OK)


@app.command()
def report(
    runs: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="RUN...", help="Run directories; left out: the latest.", show_default=False),
    ] = None,
    format: Annotated[str, typer.Option(help="table, csv, md or json.")] = "table",
    debug: Debug = False,
) -> None:
    """Print the table of one run, or of several side by side."""
    from ocli.errors import did_you_mean
    from ocli.runs import Run
    from ocli.stages import tables
    from ocli.stages.report import combine
    from ocli.stages.report import report as report_run

    writers: dict[str, Callable[[Summary], str]] = {
        "csv": tables.to_csv, "md": tables.to_markdown, "json": lambda summary: summary.to_json(),
    }  # fmt: skip
    if format != "table" and format not in writers:
        raise OcliError(
            f"--format {format}: unknown{did_you_mean(format, ['table', *writers])} (known: table, {', '.join(writers)})"
        )
    found = [Run.find(run) for run in runs] if runs else [Run.find(None)]
    summary = combine([report_run(run) for run in found])
    if format == "table":
        _show(summary)
    else:
        sys.stdout.write(writers[format](summary))
    raise typer.Exit(INCOMPLETE if summary.unasked or any(row.failed for row in summary.rows) else OK)


@app.command()
def check(
    recipes: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="RECIPE...", help="Recipes whose tasks are checked.", show_default=False),
    ] = None,
    task: Tasks = [],  # noqa: B006
    data_dir: DataDir = None,
    offline: Offline = False,
    allow_code_exec: AllowCode = False,
    debug: Debug = False,
) -> None:
    """Prove tasks without a model: schema, data, prompts, right answers and silence. Names none: the whole catalog."""
    from ocli.catalog import entries, load_recipe
    from ocli.sandbox import allowed
    from ocli.stages.check import check as check_tasks

    settings: dict[str, Any] = {"data_dir": data_dir, "offline": offline}
    # Each by itself, so that one that cannot be read leaves the others their verdicts.
    loads = {recipe: partial(load_recipe, recipe, [], task, settings) for recipe in recipes or []}
    everything = [entry.name for entry in entries("tasks") if not entry.name.startswith("custom_")]
    named = bool(recipes or task)
    loads |= {
        name: partial(load_recipe, None, ["echo"], [name], settings) for name in (task if named else everything) if not recipes
    }
    bad = 0
    with allowed("auto" if allow_code_exec else None, _say):
        for name, load in loads.items():
            for verdict in check_tasks(name, load):
                print(f"{verdict.word:<8} {verdict.task}: {verdict.text}", flush=True)
                # Nobody has all the data: what is not there is wrong only where it was asked for.
                bad += verdict.word == "wrong" or (named and verdict.word == "no data")
    raise typer.Exit(INCOMPLETE if bad else OK)


@app.command()
def ping(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the openai engine: name, file, or openai:path.")],
    set_: Sets = [],  # noqa: B006
    debug: Debug = False,
) -> None:
    """Try a server: what it can do, how fast it answers, and what that costs."""
    from ocli.catalog import load_model
    from ocli.stages.ping import ping as ping_model

    name, spec = load_model(model, _overrides(set_).get("model"))
    good = True
    for line, fine in ping_model(name, spec):
        print(_fit(line), flush=True)
        good &= fine
    raise typer.Exit(OK if good else INCOMPLETE)


@app.command(name="list")
def list_(
    words: Annotated[Optional[list[str]], typer.Argument(help="Every word must match.", show_default=False)] = None,
    kind: Annotated[Optional[str], typer.Option(help="models, tasks, recipes or suites.", show_default=False)] = None,
    debug: Debug = False,
) -> None:
    """Search models, tasks, recipes and suites."""
    from ocli.catalog import KINDS, search
    from ocli.errors import did_you_mean
    from ocli.stages.listing import NUMBERS, sections
    from ocli.stages.tables import aligned

    if kind and kind not in KINDS:
        raise OcliError(f"--kind {kind}: unknown{did_you_mean(kind, KINDS)} (known: {', '.join(KINDS)})")
    kinds = [k for k in KINDS if kind in (None, k)]
    found = search(words or [], kinds)
    if not found:
        raise OcliError(f"nothing is called {' '.join(words or [])!r}; 'ocli list' shows everything")
    for number, (heading, rows) in enumerate(sections(found)):
        print("\n" * (number > 0) + heading)
        for line in aligned(rows, right=NUMBERS):
            print(_fit(f"  {line}"))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A model, task, suite or recipe.")],
    row: Annotated[int, typer.Option(help="Which item of a task's data to render.", min=0)] = 0,
    model: Models = [],  # noqa: B006
    data_dir: DataDir = None,
    offline: Offline = False,
    debug: Debug = False,
) -> None:
    """Print one thing: a model, or a task with a prompt as the engine will see it."""
    from ocli.stages.show import show_name

    for line in show_name(name, row, model[0] if model else None, data_dir, offline):
        print(line)


def _estimate(recipe: Recipe) -> None:
    """Print what a run would ask, and end."""
    from ocli.stages.dry_run import dry_run

    for line in dry_run(recipe):
        print(line)
    raise typer.Exit(OK)


def _load(reference: str | None, models: list[str], tasks: list[str], sets: list[str], settings: dict[str, Any]) -> Recipe:
    """Resolve the recipe with what the command line says laid over it."""
    from ocli.catalog import load_recipe

    overrides = _overrides(sets) | {key: value for key, value in settings.items() if value is not None}
    return load_recipe(reference, models, tasks, overrides)


def _overrides(sets: list[str]) -> dict[str, Any]:
    """Turn ``a.b=1`` into nested mappings, values read as YAML."""
    from ocli.documents import merge, parse_value

    whole: dict[str, Any] = {}
    for item in sets:
        path, equals, text = item.partition("=")
        if not equals or not path:
            raise OcliError(f"--set {item}: must be KEY=VALUE, as in --set sampling.max_tokens=64")
        value = parse_value(text)
        for key in reversed(path.split(".")):
            value = {key: value}
        whole = merge(whole, value)
    return whole


def _infer(recipe: Recipe, resume: bool, timestamp: str | None, debug: bool) -> tuple[Run, int]:
    from ocli.runs import Run
    from ocli.stages.infer import infer as infer_run

    run = None
    if resume:
        folder = Path(recipe.work_dir) / recipe.name
        run = Run.find(str(folder / timestamp) if timestamp else str(folder))
    try:
        run, outcome = infer_run(recipe, run, _say, debug)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses twice gets the advice once
        _say("interrupted; every reply so far is kept: run the same command with -r to go on")
        raise typer.Exit(INTERRUPTED) from None
    if outcome.kept:
        _say(f"{outcome.kept} replies were there already, {outcome.asked} asked now")
    return run, outcome.failed + outcome.broken + outcome.unpaid


def _refuse_unlabelled(run: Run) -> None:
    """Raise OcliError where answers were written to a file, for want of labels, instead of being scored."""
    from ocli.stages.submission import unlabelled

    if lines := unlabelled(run):
        raise OcliError("\n".join(lines))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show(summary: Summary) -> None:
    from rich.console import Console

    from ocli.stages import tables

    if sys.stdout.isatty():
        console = Console(highlight=False)
        console.print(tables.to_rich(summary, console.width))
        print()
        for note in tables.notes(summary):
            print(note)
    else:
        sys.stdout.write(tables.to_text(summary))
    sys.stdout.flush()


def _fit(line: str) -> str:
    """Cut a line at the terminal's width; a pipe gets it whole."""
    if not sys.stdout.isatty():
        return line.rstrip()
    width = os.get_terminal_size(sys.stdout.fileno()).columns
    return line.rstrip() if len(line) <= width else line[: width - 1] + "…"


def _with_timestamp(arguments: list[str]) -> list[str]:
    """Let ``-r`` take a timestamp or nothing: ``-r 20261121_093000`` becomes ``-r --timestamp 20261121_093000``."""
    changed: list[str] = []
    for argument in arguments:
        if changed and changed[-1] in ("-r", "--resume") and re.fullmatch(r"latest|\d{8}_\d{6}(_\d+)?", argument):
            changed.append("--timestamp")
        changed.append(argument)
    return changed


def main() -> None:
    """Run the command line; what is the user's to mend is one line on stderr and exit code 2."""
    arguments = _with_timestamp(sys.argv[1:])
    try:
        app(arguments)
    except OcliError as error:
        if "--debug" in arguments:
            raise
        print(f"ocli: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
