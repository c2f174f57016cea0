"""Engines: requests in, replies out, in any order, as fast as the hardware allows. One file each; its name is its name.

A file here has a ``class Engine`` of the shape below. It batches inside: callers just keep ``concurrency`` requests in flight.
A request that fails alone gives a ``Reply`` with ``error``; what no request can survive (a wrong key, a dead engine) is
raised as ``EngineError``. Heavy packages are imported inside the engine's file only, when the engine starts.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from ocli.errors import EngineError, did_you_mean
from ocli.recipe import ModelSpec
from ocli.types import Reply, Request

EXTRAS = {"vllm": "vllm", "torch": "hf", "transformers": "hf", "accelerate": "hf", "openai": "", "aiohttp": ""}
"""Which extra of ocli brings a package that an engine imports (none: it is a core dependency)."""


class Engine(Protocol):
    """What every engine offers. ``chat`` and ``record`` are known after ``start``."""

    chat: bool
    """Whether requests are rendered as turns (a chat model) or as one text (a base model)."""
    concurrency: int
    """How many requests are worth keeping in flight."""
    record: dict[str, Any]
    """What was decided while starting: chat template, context length, neutralised settings."""

    def __init__(self, spec: ModelSpec) -> None: ...

    async def start(self) -> None:
        """Load the model or reach the server; raise EngineError when that cannot be done."""

    async def generate(self, request: Request) -> Reply:
        """Answer one request; a failure of this request alone is a reply with ``error``."""
        ...

    async def close(self) -> None:
        """Give back memory, processes and connections."""


def load(spec: ModelSpec) -> Engine:
    """Return the engine that a model names, not yet started."""
    try:
        engine: Engine = importlib.import_module(f"ocli.engines.{spec.engine}").Engine(spec)
    except ModuleNotFoundError as error:
        raise missing_package(error, spec.engine) from None
    return engine


def missing_package(error: ModuleNotFoundError, engine: str) -> Exception:
    """Turn the absence of an engine's package into the command that installs it; anything else is our own typo."""
    package = (error.name or "").split(".")[0]
    if package not in EXTRAS:
        return error
    extra = f"[{EXTRAS[package]}]" if EXTRAS[package] else ""
    return EngineError(f"the {engine} engine needs the package {package!r}, which is not installed: pip install 'ocli{extra}'")


def refuse_unknown(args: dict[str, Any], known: list[str], engine: str) -> None:
    """Raise EngineError on an engine argument that would otherwise do nothing."""
    for name in args:
        if name not in known:
            hint = did_you_mean(name, known) or (f" (it has: {', '.join(known)})" if len(known) < 20 else "")
            raise EngineError(f"args.{name}: the {engine} engine has no such argument{hint}")
