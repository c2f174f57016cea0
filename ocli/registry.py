"""Functions found by name: ``@extractor`` and ``@metric`` put them here, recipes ask for them by that name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from ocli.errors import RecipeError, did_you_mean

Function = Callable[..., Any]


class Registry:
    """Named functions of one kind, all living in the modules of one package.

    The package is imported on the first look-up, so that importing this module stays free of polars.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._functions: dict[str, Function] = {}
        self._forms: dict[str, tuple[str, ...]] = {}
        self._columns: dict[str, tuple[str, ...]] = {}
        self._loaded = False

    def __call__(self, function: Function) -> Function:
        """Register a function under its own name (decorator)."""
        self._functions[function.__name__] = function
        return function

    def reads(self, *forms: str) -> Callable[[Function], Function]:
        """Register an extractor with ways to state an answer (``{}``), in all of which it must read that answer (decorator)."""

        def register(function: Function) -> Function:
            self._forms[function.__name__] = forms
            return self(function)

        return register

    def forms(self, name: str) -> tuple[str, ...]:
        """Return the ways to state an answer that the function called ``name`` promises to read."""
        self._load()
        return self._forms.get(name, ())

    def tells(self, *columns: str) -> Callable[[Function], Function]:
        """Register a metric that is no expression (decorator): ``(answers: pl.Series, targets: pl.Series, *, options...)``.

        It gives a frame with ``score`` and these columns, which the results get too. Whatever takes its time is such a metric.
        """

        def register(function: Function) -> Function:
            self._columns[function.__name__] = columns
            return self(function)

        return register

    def columns(self, name: str) -> tuple[str, ...]:
        """Return the columns that the metric called ``name`` tells beside its score; none of one that is an expression."""
        self._load()
        return self._columns.get(name, ())

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
