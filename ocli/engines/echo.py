"""Answers without a model: the one test double, shipped so that recipes can be tried and tests need no mocks.

``echo`` repeats the last thing it was asked; ``echo:oracle`` answers what the prompt's assistant block says is right;
``echo:silent`` says nothing; ``echo:TEXT`` always says TEXT. Asked for likelihoods, the oracle prefers the right choice, TEXT the
choice of that text, and silence has none. ``args``: ``delay`` (seconds a reply takes) and ``fail_every``
(every n-th item, told by its id, fails, so that the same ones fail on every run).
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import Mapping
from typing import Any

from ocli.engines import number, refuse_unknown
from ocli.recipe import ModelSpec
from ocli.task import TaskSpec
from ocli.types import Choice, Likelihood, Reply, Request, Scored, Usage


class Engine:
    """Replies made from the request alone."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, ["delay", "fail_every"], "echo")
        self.spec = spec
        self.says = spec.path
        self.chat = spec.chat is not False
        self.delay = float(number(spec.args, "delay", 0, whole=False))
        self.fail_every = int(number(spec.args, "fail_every", 0))
        self.concurrency = spec.concurrency or 64
        self.identity: list[Any] = ["echo", spec.path, self.chat]
        self.likelihood_identity: list[Any] = []
        self.record: dict[str, Any] = {}

    def check(self, tasks: Mapping[str, TaskSpec]) -> None:
        """Any task can be asked."""

    async def start(self) -> None:
        """Nothing to load."""

    async def generate(self, request: Request) -> Reply:
        """Answer after ``delay`` seconds."""
        if error := await self._wait(request):
            return Reply(error=error)
        asked = request.messages[-1]["content"] if request.messages else request.prompt or ""
        text = {None: asked, "oracle": request.oracle, "silent": ""}.get(self.says, self.says or "")
        return Reply(text=text, finish_reason="stop", usage=Usage(len(asked.split()), 0, len(text.split())), seconds=self.delay)

    async def loglikelihood(self, request: Request) -> Reply:
        """Give the preferred choice probability 1, every other one 1/2 a token."""
        if error := await self._wait(request):
            return Reply(error=error)
        scored = tuple(self._scored(request, number, choice) for number, choice in enumerate(request.choices))
        tokens = sum(choice.own.tokens for choice in scored)
        return Reply(choices=scored, finish_reason="stop", usage=Usage(tokens, 0, 0), seconds=self.delay)

    def fits(self, request: Request) -> bool:
        """Anything fits."""
        return True

    def sent(self, request: Request) -> dict[str, Any]:
        """Nothing is sent anywhere."""
        return {}

    async def close(self) -> None:
        """Nothing to give back."""

    async def _wait(self, request: Request) -> str | None:
        """Take the time of a reply; return why there is none."""
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.fail_every and zlib.crc32(f"{request.task}/{request.id}".encode()) % self.fail_every == 0:
            return "echo was asked to fail on this item"
        return None

    def _scored(self, request: Request, number: int, choice: Choice) -> Scored:
        tokens = max(1, len(choice.text.split()))
        preferred = number == request.right if self.says == "oracle" else choice.text.strip() == self.says
        likely = 0.0 if preferred else tokens * math.log(0.5)
        own = Likelihood(None if self.says == "silent" else likely, tokens)
        context = Likelihood(0.0, 1) if request.whole else None
        baseline = Likelihood(tokens * math.log(0.5), tokens) if choice.baseline is not None else None
        return Scored(choice.text, own, preferred, context, baseline)
