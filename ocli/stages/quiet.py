"""Keep what engines and their child processes print out of the terminal: it goes into the run's log instead.

Engines write progress bars and warnings to stdout and stderr, from Python and straight to the file descriptors. While a model
runs, both descriptors point at the log; ocli's own lines go through a copy of the terminal's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def diverted(log: Path) -> Iterator[TextIO]:
    """Send all output to ``log`` while the block runs; yield the stream that still reaches the old stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    copies = os.dup(1), os.dup(2)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        with os.fdopen(copies[1], "w", encoding="utf-8", errors="replace", buffering=1, closefd=False) as terminal:
            yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
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
