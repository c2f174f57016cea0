"""Answers without a model: the one test double, shipped so that recipes can be tried and tests need no mocks.

``echo`` repeats the last thing it was asked; ``echo:oracle`` answers what the prompt's assistant block says is right;
``echo:silent`` says nothing; ``echo:TEXT`` always says TEXT. ``args``: ``delay`` (seconds a reply takes) and ``fail_every``
(every n-th item, told by its id, fails, so that the same ones fail on every run).
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from ocli.engines import number, refuse_unknown
from ocli.recipe import ModelSpec
from ocli.types import Reply, Request, Usage


class Engine:
    """Replies made from the request alone."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, ["delay", "fail_every"], "echo")
        self.says = spec.path
        self.chat = spec.chat is not False
        self.delay = float(number(spec.args, "delay", 0, whole=False))
        self.fail_every = int(number(spec.args, "fail_every", 0))
        self.concurrency = spec.concurrency or 64
        self.identity: list[Any] = ["echo", spec.path, self.chat]
        self.record: dict[str, Any] = {}

    def check(self, tasks: list[str]) -> None:
        """Any task can be asked."""

    async def start(self) -> None:
        """Nothing to load."""

    async def generate(self, request: Request) -> Reply:
        """Answer after ``delay`` seconds."""
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.fail_every and zlib.crc32(f"{request.task}/{request.id}".encode()) % self.fail_every == 0:
            return Reply(error="echo was asked to fail on this item")
        asked = request.messages[-1]["content"] if request.messages else request.prompt or ""
        text = {None: asked, "oracle": request.oracle, "silent": ""}.get(self.says, self.says or "")
        return Reply(text=text, finish_reason="stop", usage=Usage(len(asked.split()), 0, len(text.split())), seconds=self.delay)

    async def close(self) -> None:
        """Nothing to give back."""
