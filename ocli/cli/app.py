"""The command line application, which the commands beside this file register with."""

from __future__ import annotations

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Evaluate large language models: recipes name models and tasks, an engine answers, polars scores.",
)

OK, INCOMPLETE, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
