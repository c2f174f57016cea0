"""list, show, check, ping: what there is, and whether it is as it should be."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Optional

import typer

from ocli.cli.app import INCOMPLETE, OK, app
from ocli.cli.options import AllowCode, DataDir, Debug, Models, Offline, Sets, Tasks, overrides
from ocli.cli.printing import fit, out, say
from ocli.errors import OcliError, one_of


@app.command(name="list")
def list_(
    words: Annotated[Optional[list[str]], typer.Argument(help="Every word must match.", show_default=False)] = None,
    kind: Annotated[Optional[str], typer.Option(help="models, tasks, recipes or suites.", show_default=False)] = None,
    debug: Debug = False,
) -> None:
    """Search models, tasks, recipes and suites."""
    from ocli.catalog import KINDS, search
    from ocli.stages.listing import NUMBERS, sections
    from ocli.stages.tables import aligned

    if kind:
        one_of("--kind", kind, KINDS)
    kinds = [k for k in KINDS if kind in (None, k)]
    found = search(words or [], kinds)
    if not found:
        raise OcliError(f"nothing is called {' '.join(words or [])!r}; 'ocli list' shows everything")
    for number, (heading, rows) in enumerate(sections(found)):
        out("\n" * (number > 0) + heading)
        for line in aligned(rows, right=NUMBERS):
            out(fit(f"  {line}"))


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
        out(line)


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
    with allowed("auto" if allow_code_exec else None, say):
        for name, load in loads.items():
            for verdict in check_tasks(name, load):
                out(f"{verdict.word:<8} {verdict.task}: {verdict.text}")
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

    name, spec = load_model(model, overrides(set_).get("model"))
    good = True
    for line, fine in ping_model(name, spec):
        out(fit(line))
        good &= fine
    raise typer.Exit(OK if good else INCOMPLETE)
