"""Keep what engines and their child processes print out of the terminal: it goes into the run's log instead.

Engines write progress bars and warnings straight to file descriptors 1 and 2. Those are pointed at the log, while ocli's own
``sys.stdout`` and ``sys.stderr`` go on to where they went.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def diverted(log: Path) -> Iterator[None]:
    """Send everything but ocli's own lines to ``log`` while the block runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    outer = sys.stdout, sys.stderr
    copies = os.dup(1), os.dup(2)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    encoding = {"encoding": "utf-8", "errors": "replace", "buffering": 1}
    sys.stdout = os.fdopen(copies[0], "w", closefd=False, **encoding)  # type: ignore[call-overload]
    sys.stderr = os.fdopen(copies[1], "w", closefd=False, **encoding)  # type: ignore[call-overload]
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = outer
        for number, copy in zip((1, 2), copies, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def last_error(log: Path) -> str:
    """Return the last line of a log that names an exception: a child process's own reason for dying, or nothing."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-400:]
    except OSError:
        return ""
    named = [line for line in lines if "Error: " in line or line.rstrip().endswith("Error")]
    ours = [line for line in named if "Engine core" not in line and "RuntimeError: Worker failed" not in line]
    return (ours or named or [""])[-1].split("] ")[-1].strip()[:400]
