"""report: what a run has found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ocli.cli.app import INCOMPLETE, OK, app
from ocli.cli.options import Debug, RunsArg
from ocli.cli.printing import out, say, show_summary
from ocli.errors import OcliError

if TYPE_CHECKING:
    from ocli.stages.exports import Form
    from ocli.stages.report import Summary


@app.command()
def report(
    runs: RunsArg = None,
    format: Annotated[
        str, typer.Option(help="table, csv, md, json, html, latex, parquet, xlsx, lm-eval or model-card.")
    ] = "table",
    output: Annotated[
        Optional[str],
        typer.Option(
            "-o", "--output", metavar="FILE",
            help="Where it is written; -: stdout; of lm-eval and model-card with several models a directory.", show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str], typer.Option("-m", "--model", metavar="MODEL", help="Only this model. Repeatable.", show_default=False)
    ] = [],  # noqa: B006
    to: Annotated[
        Optional[str],
        typer.Option("--to", metavar="TRACKER", help="Send it to wandb[:PROJECT] or mlflow[:EXPERIMENT].", show_default=False),
    ] = None,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Print the table of one run, or of several side by side, or write it in another form."""
    from ocli.runs import Run
    from ocli.stages.exports import form_of, only
    from ocli.stages.exports.trackers import check_target, track
    from ocli.stages.report import combine
    from ocli.stages.report import report as report_run

    form = form_of(format)
    if to is not None:
        check_target(to)
    found = Run.find_all(runs or [])
    whole = combine([report_run(run) for run in found])
    summary = only(whole, model) if model else whole
    if format == "table" and output is None:
        show_summary(summary)
    else:
        # A run's own folder has the page of the whole run, and of nothing else.
        own = summary.models == whole.models and len({source.run for source in whole.sources.values()}) == 1
        _write(summary, form, format, output, found[0].path / "summary" if own else Path())
    for line in track(summary, to) if to is not None else ():
        say(line)
    raise typer.Exit(INCOMPLETE if summary.unasked or any(row.failed for row in summary.rows) else OK)


def _write(summary: Summary, form: Form, format: str, output: str | None, folder: Path) -> None:
    """Write a form where it is wanted, a page into ``folder`` where nobody says where, and print the paths of files."""
    from ocli.runs import write_whole
    from ocli.stages.exports import only

    if output == "":
        raise OcliError("-o has an empty name; say a file, or - for stdout")
    if form.single and len(summary.models) > 1:
        if output in (None, "-"):
            many = ", ".join(summary.models)
            raise OcliError(f"--format {format} holds one model; name one with -m ({many}), or write a file of each with -o DIR")
        files = {
            Path(str(output)) / f"{label.replace('/', '_')}.{form.suffix}": only(summary, [label]) for label in summary.models
        }
    elif output == "-" or (output is None and form.page is None):
        sys.stdout.flush()
        sys.stdout.buffer.write(form.content(summary))
        sys.stdout.flush()
        return
    else:
        files = {Path(output) if output else folder / str(form.page): summary}
    for path, part in files.items():
        if path.is_dir():
            raise OcliError(f"-o {path}: is a directory; name a file in it")
        write_whole(path, [form.content(part)], "-o FILE")
        out(str(path))
