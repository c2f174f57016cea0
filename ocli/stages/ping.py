"""Try a model's servers before a run is spent on them: what they can do, how fast, and what a request costs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ocli.errors import EngineError
from ocli.recipe import ModelSpec

SERVING = ("chat", "completions")
"""Either of them is enough to ask a model."""


def ping(name: str, spec: ModelSpec) -> Iterator[tuple[str, bool]]:
    """Yield lines, each with whether it is good news; a server that can neither chat nor complete is none."""
    if spec.engine != "openai":
        raise EngineError(
            f"ping asks servers, but the engine of {name} is {spec.engine}: 'ocli eval -m {name} --limit 1' tries it"
        )
    from ocli.engines._openai.ping import pings

    loop = asyncio.new_event_loop()
    try:
        for one in pings(spec):
            yield one.address.url, True
            findings = one.findings()
            served = False
            while (found := loop.run_until_complete(anext(findings, None))) is not None:
                served |= found.can and found.name in SERVING
                yield f"  {found.name:<34} {'yes' if found.can else 'no':<4} {found.seconds:6.2f} s  {found.words}".rstrip(), True
            spent = one.spent
            cost = f", {spent.bill}" if spent.bill else ""
            yield (
                f"  used: {spent.requests} requests, {spent.prompt} prompt and {spent.completion} completion tokens{cost}",
                served,
            )
    finally:
        loop.close()
