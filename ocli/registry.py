"""Functions found by name: ``@extractor`` and ``@metric`` put them here, recipes ask for them by that name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from ocli.errors import RecipeError, did_you_mean

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)


class Registry:
    """Named functions of one kind, all living in the modules of one package.

    The package is imported on the first look-up, so that importing this module stays free of polars.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._functions: dict[str, Function] = {}
        self._promises: dict[str, tuple[str, ...]] = {}
        self._loaded = False

    def __call__(self, function: F) -> F:
        """Register a function under its own name (decorator)."""
        self._functions[function.__name__] = function
        return function

    def promising(self, *promises: str) -> Callable[[F], F]:
        """Register a function with what it promises (decorator).

        An extractor: ways to state an answer (``{}``), in all of which it reads that answer. A metric: the columns that it tells
        beside its score, which the results get too. Such a metric is no expression, but
        ``(answers: pl.Series, targets: pl.Series, *, options...)``, and gives a frame with ``score`` and these columns. Whatever
        takes its time is such a metric.
        """

        def register(function: F) -> F:
            self._promises[function.__name__] = promises
            return self(function)

        return register

    def promises(self, name: str) -> tuple[str, ...]:
        """Return what the function called ``name`` promises: an extractor's forms, a metric's columns; nothing of most."""
        self._load()
        return self._promises.get(name, ())

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        self._load()
        return sorted(self._functions)

    def get(self, name: str, options: dict[str, Any]) -> Function:
        """Return the function called ``name``; raise RecipeError on an unknown name or option."""
        self._load()
        if name not in self._functions:
            near = did_you_mean(name, self._functions)
            raise RecipeError(f"unknown {self.kind} {name!r}{near} (there are: {', '.join(self.names())})")
        function = self._functions[name]
        keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        known = [p.name for p in keywords]
        for option in options:
            if option not in known:
                near = did_you_mean(option, known)
                raise RecipeError(f"{self.kind} {name!r} has no option {option!r}{near} (it has: {known})")
        for parameter in keywords:
            if parameter.default is parameter.empty and parameter.name not in options:
                raise RecipeError(f"{self.kind} {name!r} needs the option {parameter.name!r}")
        return function

    def _load(self) -> None:
        if self._loaded:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        self._loaded = True


extractor = Registry("extractor", "ocli.extract")
metric = Registry("metric", "ocli.metrics")
