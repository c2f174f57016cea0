r"""Formulas compared by meaning (``\frac{1}{2}`` is 0.5), by Hugging Face's math-verify: ``pip install 'ocli[math]'``.

math-verify stops a formula that takes it too long by a signal, which only the main thread of a process gets, and some powers
hang it even so. It therefore runs in a child process (``python -m ocli.metrics.latex``), which answers a line with a line.
"""

from __future__ import annotations

import atexit
import importlib
import json
import subprocess
import sys
import threading
from contextlib import suppress
from functools import lru_cache

import polars as pl

from ocli.errors import RecipeError
from ocli.extras import need
from ocli.metrics._text import score_pairs
from ocli.registry import metric

PATIENCE = 10.0
"""Seconds a pair may take before the child is ended and the pair counts as different.

math-verify's own limits are off: on a busy machine they would call formulas different for want of time.
"""


@metric
def equal_latex(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """1 where answer and target are the same text or, to math-verify, the same formula, number, set, tuple or interval."""
    need("metric 'equal_latex'", "math", "math_verify")
    return score_pairs(answer, target, same_formula)


def same_formula(given: str, wanted: str) -> bool:
    """Say whether both are the same text or, to math-verify, the same formula."""
    return given.strip() == wanted.strip() or _child.same(given, wanted)


class _Child:
    """The child process, started when it is first asked, and again after it was ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        atexit.register(self.close)

    @lru_cache(maxsize=1 << 16)  # noqa: B019  (one child a process: the cache ends with it)
    def same(self, given: str, wanted: str) -> bool:
        """Ask whether the two are the same formula; a pair the child does not survive is not."""
        with self._lock:
            process = self._process = self._process or _start()
            assert process.stdin is not None
            assert process.stdout is not None
            timer = threading.Timer(PATIENCE, process.kill)
            timer.start()
            try:
                process.stdin.write(json.dumps([given, wanted]) + "\n")
                process.stdin.flush()
                reply = process.stdout.readline()
            except OSError:
                reply = ""
            finally:
                timer.cancel()
            if not reply:
                self.close()
            return reply == "same\n"

    def close(self) -> None:
        """End the child, if there is one."""
        if self._process is not None:
            self._process.kill()
            with suppress(OSError):
                self._process.communicate()
            self._process = None


def _start() -> subprocess.Popen[str]:
    """Start a child and wait until it is ready; raise RecipeError where math-verify cannot be loaded."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "ocli.metrics.latex"]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, encoding="utf-8")
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        process.communicate()
        raise RecipeError("metric 'equal_latex': math-verify does not load; try: python -c 'import math_verify'")
    return process


_child = _Child()


def _serve() -> None:
    """Answer each pair on standard input until it ends."""
    library = importlib.import_module("math_verify")

    def same(pair: list[str]) -> bool:
        given, wanted = (library.parse(_as_formula(text), parsing_timeout=0) for text in pair)
        return bool(given) and bool(wanted) and bool(library.verify(wanted, given, timeout_seconds=None))

    same([r"\frac{1}{2}", "1/2"])  # the first one loads the grammar and much of sympy
    print("ready", flush=True)  # noqa: T201  (the parent reads it)
    for line in sys.stdin:
        print("same" if same(json.loads(line)) else "different", flush=True)  # noqa: T201


def _as_formula(text: str) -> str:
    r"""Return a bare text as a formula in dollars, which math-verify looks for first; ``\$`` is money and none of them."""
    text = text.replace("\\$", "").replace("\\!", "")
    return text if "$" in text or "\\boxed" in text or "\\(" in text or "\\[" in text else f"${text}$"


if __name__ == "__main__":
    _serve()
