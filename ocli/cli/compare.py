"""compare: which of two models is better, and how sure that is."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Optional

import typer

from ocli.cli.app import INCOMPLETE, OK, app
from ocli.cli.options import Debug
from ocli.cli.printing import out
from ocli.errors import one_of


@app.command()
def compare(
    runs: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="RUN_A [RUN_B]", help="One run or two; left out: the latest.", show_default=False),
    ] = None,
    model: Annotated[
        list[str], typer.Option("-m", "--model", metavar="MODEL", help="A, then B: which models of the runs.", show_default=False)
    ] = [],  # noqa: B006
    task: Annotated[
        list[str], typer.Option("-t", "--task", metavar="TASK", help="Only these tasks. Repeatable.", show_default=False)
    ] = [],  # noqa: B006
    fail_if_worse: Annotated[
        Optional[float],
        typer.Option(
            metavar="POINTS", min=0, max=100, show_default=False,
            help="Exit code 1 where B's score is lower than A's by more than that.",
        ),
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Compare what was not asked or scored alike, and say so.")] = False,
    flips: Annotated[int, typer.Option(metavar="N", min=0, help="How many flipped items of a task are shown.")] = 3,
    format: Annotated[str, typer.Option(help="table, md or json.")] = "table",
    debug: Debug = False,
) -> None:  # fmt: skip
    """Compare two models item by item: difference, interval, test, flips, settings."""
    from ocli.stages.compare import choose
    from ocli.stages.compare import compare as compare_sides
    from ocli.stages.compare.text import lines, to_markdown

    one_of("--format", format, ["table", "md", "json"])
    a, b = choose(runs or [], model)
    comparison = compare_sides(a, b, task, anyway=anyway, most=flips, tolerance=fail_if_worse)
    if format == "json":
        sys.stdout.write(json.dumps(comparison.to_json(), ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    else:
        for line in lines(comparison) if format == "table" else to_markdown(comparison).splitlines():
            out(line)
    raise typer.Exit(INCOMPLETE if comparison.verdict == "FAIL" else OK)
