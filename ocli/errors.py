"""Errors that are the user's to mend. Each message is one line: what is wrong, where, what to do next.

    OcliError                  printed in one line, exit code 2
    ├── RecipeError            a recipe, model, task or prompt file says something impossible
    ├── NotFoundError          a name or file that does not exist, with the nearest names
    ├── DataError              benchmark data that is malformed
    │   └── MissingDataError   data that is not on this machine
    ├── PromptError            a template or expression that asks for what the row lacks
    ├── EngineError            a model that cannot be loaded or reached
    ├── PackageError           a package that is installed only with an extra
    ├── ConsentError           a model's code that nobody has allowed to run
    └── RunError               a run directory that cannot be read or written

Anything else that is raised is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class OcliError(Exception):
    """Something the user can mend; the message says how."""


class RecipeError(OcliError):
    """A recipe, model, task or suite file is not what its schema asks for."""


class NotFoundError(OcliError):
    """A name or a file that is not there."""


class DataError(OcliError):
    """Benchmark data that is missing, unreadable or malformed."""


class MissingDataError(DataError):
    """Data that is nowhere to be found, with the ways to get it."""


class PromptError(OcliError):
    """A template or a field expression that cannot be evaluated on a row."""


class EngineError(OcliError):
    """A model that cannot be loaded, reached or used as the recipe asks."""


class PackageError(OcliError):
    """A package that is not installed, with the extra that brings it."""


class ConsentError(OcliError):
    """A model's code that nobody has allowed to run."""


class RunError(OcliError):
    """A run directory that cannot be read, written or resumed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x' or 'y'?`` for the nearest known words, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def one_of(option: str, value: str, known: Collection[str]) -> None:
    """Raise OcliError where an option's value is none of the known ones."""
    if value not in known:
        raise OcliError(f"{option} {value}: unknown{did_you_mean(value, known)} (known: {', '.join(known)})")
