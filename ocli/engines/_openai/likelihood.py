"""What the two ways of getting likelihoods from a server have in common: asking, adding up, and what a way can do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from ocli.engines._openai.reply import MalformedError, usage_of
from ocli.types import Request, Scored, Usage

Post = Callable[[dict[str, Any]], Awaitable[Any]]
"""Sends a body to the model's endpoint and returns the server's answer."""

LEAST = -9999.0
"""What vLLM writes for a probability of zero, because JSON has no infinity."""


class Way(Protocol):
    """One way of getting likelihoods; ``name`` is on record, and part of the key of what was asked."""

    name: str

    async def probe(self) -> None:
        """Ask the server one made-up question in this way; raise MalformedError or an HTTP error where it cannot be asked."""

    async def score(self, request: Request) -> tuple[tuple[Scored, ...], Usage]:
        """Return the likelihoods of a request's choices and the tokens they took; raise UnaskableError or MalformedError."""
        ...


async def together(post: Post, bodies: Sequence[dict[str, Any]]) -> tuple[list[Any], Usage]:
    """Send bodies at the same time; return the answers and all their tokens. When one fails the others are given up."""
    tasks = [asyncio.ensure_future(post(body)) for body in bodies]
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    counts = [usage_of(answer) for answer in answers]
    prompt, cached = _sum(count.prompt for count in counts), _sum(count.cached for count in counts)
    return answers, Usage(prompt, cached, _sum(count.completion for count in counts))


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def number(value: Any) -> float:
    """Return a log-probability as a number; minus infinity where the server writes that in its own way."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise MalformedError(f"has a log-probability that is no number: {value!r}")
    return -math.inf if value <= LEAST else float(value)
