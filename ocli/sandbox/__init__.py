"""Runs programs that a model wrote, each against its tests, where they can do no harm: ``run(jobs)`` gives a verdict for each.

Nothing runs without consent: ``with allowed("auto"): ...`` says that it may, and how. The executors are bubblewrap, a plain
subprocess, docker or podman (``executors.py``), or one from outside, ``package.module:Name``: a class whose instances have
``run(job: Job) -> Verdict``, called from several threads at once.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol

from ocli.errors import ConsentError, RecipeError, did_you_mean

Word = Literal["passed", "failed", "timeout", "syntax error", "memory", "no code"]
Say = Callable[[str], None]

NO_CONSENT = (
    "the score is found by running, on this machine, the programs that the model wrote: allow it with --allow-code-exec "
    "(or 'allow_code_exec: true' in the recipe); 'ocli infer' asks the model and runs nothing"
)

EVERY = 5.0
"""Seconds between two words on how far a long run is."""


@dataclass(frozen=True)
class Job:
    """A program and the tests that run after it in the same interpreter.

    ``entry`` names what the tests call; ``modules`` are the standard library's that they use. ``timeout`` is in seconds of wall
    clock, ``memory`` in MiB of address space.
    """

    program: str
    tests: str
    entry: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    timeout: float = 10.0
    memory: int = 2048


@dataclass(frozen=True)
class Verdict:
    """What became of a program, with the end of what it wrote."""

    word: Word
    stderr: str = ""


class Executor(Protocol):
    """The seam: whatever can run one job."""

    def run(self, job: Job) -> Verdict:
        """Run a job to its end; called from several threads."""
        ...


@dataclass(frozen=True)
class Consent:
    """That code may run, by which executor, and who is told how far it is."""

    executor: str = "auto"
    say: Say = lambda _: None


_CONSENT: ContextVar[Consent | None] = ContextVar("consent", default=None)


@contextmanager
def allowed(executor: str | None = "auto", say: Say = lambda _: None) -> Iterator[None]:
    """Let code run in this block, by this executor; None: nothing changes."""
    before = _CONSENT.get()
    token = _CONSENT.set(Consent(executor, say) if executor else before)
    try:
        yield
    finally:
        _CONSENT.reset(token)


def prepare(executor: str, say: Say) -> None:
    """Try an executor before anything depends on it; raises RecipeError where it cannot be used."""
    _executor(executor, say)


def run(jobs: Sequence[Job]) -> list[Verdict]:
    """Run the jobs, as many at a time as there are cores; equal jobs run once. Raises ConsentError where nobody has consented."""
    if not jobs:
        return []
    consent = _CONSENT.get()
    if consent is None:
        raise ConsentError(NO_CONSENT)
    executor = _executor(consent.executor, consent.say)
    different = list(dict.fromkeys(jobs))
    with ThreadPoolExecutor(max(1, cores())) as pool:
        futures = {pool.submit(executor.run, job): job for job in different}
        try:
            verdicts = {futures[done]: done.result() for done in _watched(futures, consent.say)}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C, too: those that run have seconds left
            raise
    return [verdicts[job] for job in jobs]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _watched(futures: dict[Future[Verdict], Job], say: Say) -> Iterator[Future[Verdict]]:
    """Yield what is done, and say now and then how far it is."""
    started = said = time.monotonic()
    for count, done in enumerate(as_completed(futures), start=1):
        yield done
        now = time.monotonic()
        if now - said >= EVERY:
            said = now
            say(f"{count} of {len(futures)} programs run, {count / (now - started):.0f}/s")


_EXECUTORS: dict[str, Executor] = {}
"""By the name that was asked for: each is tried once, and warns once."""


def _executor(name: str, say: Say) -> Executor:
    if name not in _EXECUTORS:
        _EXECUTORS[name] = _outside(name) if ":" in name else _own(name, say)
    return _EXECUTORS[name]


def _own(name: str, say: Say) -> Executor:
    from ocli.sandbox.executors import NAMES, choose

    if name not in ("auto", *NAMES):
        raise RecipeError(
            f"sandbox: {name!r} is none{did_you_mean(name, NAMES)} (there are: auto, {', '.join(NAMES)}, or package.module:Name)"
        )
    return choose(name, say)


def _outside(name: str) -> Executor:
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise RecipeError(f"sandbox: {name}: cannot be made: {error}") from None
    if not callable(getattr(made, "run", None)):
        raise RecipeError(f"sandbox: {name}: has no method run(job)")
    return made  # type: ignore[no-any-return]
