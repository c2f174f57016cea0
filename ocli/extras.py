"""Packages that are installed only with an extra: ``pip install 'ocli[text]'``."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from ocli.errors import PackageError


def need(what: str, extra: str, *modules: str) -> None:
    """Raise PackageError, which says how to install them, where modules that ``what`` needs are missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise _error(what, extra, " and ".join(missing))


def package(what: str, extra: str, module: str) -> ModuleType:
    """Import a module that ``what`` needs; raise PackageError where it, or one that it needs itself, is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _error(what, extra, error.name or module) from None


def _error(what: str, extra: str, missing: str) -> PackageError:
    return PackageError(f"{what} needs {missing}: pip install 'ocli[{extra}]'")
