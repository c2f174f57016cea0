"""Engines: requests in, replies out, in any order, as fast as the hardware allows. One file each; its name is its name.

A file here has a ``class Engine`` of the shape below and says in ``NEEDS`` which packages it imports. It batches inside:
callers just keep ``concurrency`` requests in flight. A request that fails alone gives a ``Reply`` with ``error``; what no
request can survive (a wrong key, a dead engine) is raised as ``EngineError``. Heavy packages are imported inside the engine's
file only, when the engine starts.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ocli.errors import EngineError, did_you_mean
from ocli.recipe import ModelSpec
from ocli.task import TaskSpec
from ocli.types import Reply, Request

EXTRAS = {"vllm": "[vllm]", "torch": "[hf]", "transformers": "[hf]"}
"""Which extra of ocli brings a package that an engine needs; the others are core dependencies."""


class Engine(Protocol):
    """What every engine offers. ``chat``, ``concurrency``, both identities and ``record`` are known after ``start``."""

    chat: bool
    """Whether requests are rendered as turns (a chat model) or as one text (a base model)."""
    concurrency: int
    """How many requests are worth keeping in flight."""
    identity: list[Any]
    """What decides a reply beside the prompt and its sampling (model, revision, dtype, ...): part of a request's key.

    Batch sizes, devices and parallelism are not in it: a run goes on elsewhere with the replies it has.
    """
    likelihood_identity: list[Any]
    """What decides likelihoods beside that: part of the keys of such requests only."""
    record: dict[str, Any]
    """What was decided while starting: chat template, context length, neutralised settings."""

    def __init__(self, spec: ModelSpec) -> None: ...

    def check(self, tasks: Mapping[str, TaskSpec]) -> None:
        """Raise EngineError when these tasks cannot be asked; called before anything is loaded."""

    async def start(self) -> None:
        """Load the model or reach the server; raise EngineError when that cannot be done."""

    async def generate(self, request: Request) -> Reply:
        """Answer one request; a failure of this request alone is a reply with ``error``."""
        ...

    async def loglikelihood(self, request: Request) -> Reply:
        """Score the choices of one request; a failure of this request alone is a reply with ``error``."""
        ...

    def fits(self, request: Request) -> bool:
        """Whether the model's context holds a request, as far as the engine can tell; known after ``start``."""
        ...

    def sent(self, request: Request) -> dict[str, Any]:
        """Return what is sent for a request, for the run's record: ``sampling``, and how its token ids begin and end."""
        ...

    async def close(self) -> None:
        """Give back memory, processes and connections."""


async def ask(engine: Engine, request: Request) -> Reply:
    """Ask what a request asks: a reply, or the likelihoods of its choices."""
    return await (engine.loglikelihood(request) if request.choices else engine.generate(request))


def waiting(engine: Engine) -> str:
    """Return what an engine waits for beside its model, a rate limit for instance, in a few words for the progress line."""
    return getattr(engine, "waiting", "")


def load(spec: ModelSpec) -> Engine:
    """Return the engine that a model names, not yet started; raise EngineError when a package of it is missing."""
    module = importlib.import_module(f"ocli.engines.{spec.engine}")
    for package in getattr(module, "NEEDS", ()):
        if importlib.util.find_spec(package) is None:
            extra = EXTRAS.get(package, "")
            raise EngineError(
                f"the {spec.engine} engine needs the package {package!r}, which is not installed: pip install 'ocli{extra}'"
            )
    engine: Engine = module.Engine(spec)
    return engine


def model_path(spec: ModelSpec) -> str:
    """Return the hub id or the directory of a model that is loaded here; raise EngineError on a directory that is not there."""
    path = str(spec.path)
    if path.startswith((".", "/", "~")):
        path = str(Path(path).expanduser())
        if not Path(path).is_dir():
            raise EngineError(f"path {spec.path!r}: no such directory (working directory: {Path.cwd()})")
    return path


def refuse_unknown(args: dict[str, Any], known: list[str], engine: str) -> None:
    """Raise EngineError on an engine argument that would otherwise do nothing."""
    for name in args:
        if name not in known:
            hint = did_you_mean(name, known) or (f" (it has: {', '.join(known)})" if len(known) < 20 else "")
            raise EngineError(f"args.{name}: the {engine} engine has no such argument{hint}")


def number(args: dict[str, Any], name: str, default: float, least: float = 0, whole: bool = True) -> float:
    """Return a number among the engine's arguments; raise EngineError on anything else, which a recipe can well hold."""
    value = args.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value >= least:
        kind = "a whole number" if whole else "a number"
        raise EngineError(f"args.{name} must be {kind} of at least {least:g}, not {value!r}")
    return value


def chosen(args: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments of these names as JSON can hold them, in one order: what of ``args`` decides a reply."""
    picked: dict[str, Any] = json.loads(json.dumps({name: args[name] for name in names if name in args}, default=str))
    return dict(sorted(picked.items()))
