"""report: what a run has found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ocli.cli.app import INCOMPLETE, OK, app
from ocli.cli.options import Debug
from ocli.cli.printing import show_summary
from ocli.errors import OcliError

if TYPE_CHECKING:
    from ocli.stages.report import Summary


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
        show_summary(summary)
    else:
        sys.stdout.write(writers[format](summary))
    raise typer.Exit(INCOMPLETE if summary.unasked or any(row.failed for row in summary.rows) else OK)
