"""What commands print: notes on stderr, tables on stdout, fitted to a terminal and whole in a pipe."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ocli.terminal import cut, printable

if TYPE_CHECKING:
    from ocli.stages.report import Summary


def say(text: str) -> None:
    """Print a note on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def out(line: str) -> None:
    """Print a line of what was asked for on stdout."""
    print(printable(line), flush=True)


def show_summary(summary: Summary) -> None:
    from rich.console import Console

    from ocli.stages import tables

    if sys.stdout.isatty():
        console = Console(highlight=False)
        console.print(tables.to_rich(summary, console.width))
        print()
        for note in tables.notes(summary):
            out(note)
    else:
        sys.stdout.write(tables.to_text(summary))
    sys.stdout.flush()


def fit(line: str) -> str:
    """Cut a line at the terminal's width; a pipe gets it whole."""
    line = line.rstrip()
    return cut(line, os.get_terminal_size(sys.stdout.fileno()).columns) if sys.stdout.isatty() else line
