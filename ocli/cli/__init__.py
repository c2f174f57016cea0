"""Read arguments, call one stage, print. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import io
import re
import sys

from ocli.cli.app import USER_ERROR, app
from ocli.cli.printing import say
from ocli.errors import OcliError

# Importing them registers their commands, in the order in which --help shows them.
# isort: off
from ocli.cli import run  # noqa: F401
from ocli.cli import report  # noqa: F401
from ocli.cli import compare  # noqa: F401
from ocli.cli import view  # noqa: F401
from ocli.cli import catalog  # noqa: F401

# isort: on


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
    if isinstance(sys.stdout, io.TextIOWrapper):  # an ASCII locale prints Chinese as escapes, and does not stop at it
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(arguments)
    except OcliError as error:
        if "--debug" in arguments:
            raise
        say(f"ocli: {error}")
        sys.exit(USER_ERROR)
