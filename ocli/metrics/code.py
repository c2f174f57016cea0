"""Whether programs pass their tests: run by ``ocli.sandbox``, which asks for consent.

The target is JSON text: ``tests``, the Python text that raises where the program is wrong; ``prompt``, the code that the program
goes on with (left out: it stands by itself); ``entry_point``, the name that the tests call (left out: read from the tests). In
place of ``tests`` EvalPlus' data has ``inputs``, ``reference`` and ``tolerance``.
Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", https://arxiv.org/abs/2107.03374, section 2.1.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import sys
import warnings
from functools import lru_cache

import polars as pl

from ocli import sandbox
from ocli.errors import DataError, RecipeError
from ocli.metrics._evalplus import tests_of
from ocli.metrics._typed import typed
from ocli.registry import metric
from ocli.sandbox import Job, Verdict

_FUTURE = re.compile(r"^from __future__ import .*$", re.M)
_USED_BY_TESTS = {"math", "cmath", "random", "copy", "re", "collections", "itertools", "functools", "operator", "string", "json"}
"""Modules that tests use without importing them: the prompt did."""


@metric.promising("verdict", "stderr")
def passes(
    answers: pl.Series, targets: pl.Series, *, timeout: float = 10, memory: int = 2048, types: bool = False
) -> pl.DataFrame:
    """1 where the program and then its tests run to their end, within ``timeout`` seconds and ``memory`` MiB of address space.

    With ``types``, ``assert a == b`` compares types too, as OpenCompass runs MBPP's tests: 2 is not 2.0.

    ``verdict``: passed, failed, timeout, syntax error, memory, or no code. ``stderr``: the end of what the program wrote.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
        raise RecipeError(f"metric 'passes' needs a timeout in seconds above 0, not {timeout!r}")
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 64:
        raise RecipeError(f"metric 'passes' needs memory in MiB, 64 or more, not {memory!r}")
    if not isinstance(types, bool):
        raise RecipeError(f"metric 'passes' needs types to be true or false, not {types!r}")
    pairs = list(zip(answers.to_list(), targets.to_list(), strict=True))
    jobs = [None if answer is None else _job(answer, target, float(timeout), memory, types) for answer, target in pairs]
    verdicts = iter(sandbox.run([job for job in jobs if job]))
    told = [next(verdicts) if job else Verdict("no code") for job in jobs]
    return pl.DataFrame(
        {
            "score": [float(verdict.word == "passed") for verdict in told],
            "verdict": [verdict.word for verdict in told],
            "stderr": [verdict.stderr for verdict in told],
        },
        schema={"score": pl.Float64, "verdict": pl.String, "stderr": pl.String},
    )


def _job(answer: str, target: str, timeout: float, memory: int, types: bool) -> Job:
    try:
        item = json.loads(target)
        tests, prompt, entry = (
            tests_of(item) if "inputs" in item else str(item["tests"]),
            str(item.get("prompt") or ""),
            item.get("entry_point"),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        raise DataError(f"metric 'passes': the target must be JSON text with 'tests', not {target[:80]!r}") from None
    called, modules = names_in(tests)
    entries = (entry,) if entry else called
    future = "".join(f"{line}\n" for line in _FUTURE.findall(answer))  # it must come first, before the prompt too
    program = future + prompt + ("\n" if prompt and not prompt.endswith("\n") else "") + _FUTURE.sub("", answer)
    return Job(
        program,
        typed(tests) if types else tests,
        entries,
        tuple(name for name in modules if name not in entries),
        timeout,
        memory,
    )


@lru_cache(maxsize=4096)
def names_in(tests: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the tests call of a program, and the modules that they use; raise DataError where they are no Python.

    A builtin's name is a program's only where nothing else is called: MBPP has a function ``sum``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(tests)
    except (SyntaxError, ValueError) as error:
        raise DataError(f"metric 'passes': the tests cannot be read: {error} in {tests[:80]!r}") from None
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    called = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules = (imported & sys.stdlib_module_names) | (_USED_BY_TESTS & set(names))
    entries = [name for name in called if name not in own and not hasattr(builtins, name)] or called
    return tuple(dict.fromkeys(entries)), tuple(sorted(modules))
