"""The servers of one model: each with its own limits, the least loaded one asked next."""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ocli.engines._openai.limits import Concurrency, Rate, TokenRate
from ocli.engines._openai.reply import usage_of
from ocli.engines._openai.retries import Failure

ROW = 8
"""After so many failures in a row, and no fewer than may be on their way, nobody asks for a while."""
START, MOST = 16, 256
"""Where the search for a concurrency begins and ends when the recipe names none."""


@dataclass(frozen=True)
class Rates:
    """What one endpoint may be asked: requests and tokens a minute, requests a second, requests at once."""

    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    qps: float | None = None


class Endpoint:
    """One server: its client, and how much of it is in use."""

    def __init__(self, url: str, client: Any, rates: Rates) -> None:
        self.url = url
        self.client = client
        self.inside = 0
        self.answered = False
        """Whether any reply ever came from it."""
        self.reason = ""
        """Why it is left alone."""
        self.concurrency = Concurrency(rates.concurrency or MOST, rates.concurrency or START)
        self._rates = [Rate(number) for number in (rates.qps, rates.rpm and rates.rpm / 60) if number]
        self._learned = Rate(math.inf)
        self._tokens = TokenRate(rates.tpm / 60) if rates.tpm else None
        self._row = 0
        self._resumes = -math.inf

    @property
    def load(self) -> float:
        """How full it is, from 0 to 1."""
        return self.inside / self.concurrency.size

    def rests(self, now: float) -> float:
        """Return the seconds until it may be asked again."""
        return max(0.0, self._resumes - now)

    def book(self, now: float, body: dict[str, Any]) -> float:
        """Take the next moment that the rates allow for a request and return the seconds until then."""
        waits = [rate.book(now) for rate in self._rates]
        if self.concurrency.distance:
            self._learned.per_second = 1 / self.concurrency.distance
            waits.append(self._learned.book(now))
        if self._tokens:
            waits.append(self._tokens.book(now, _size(body)))
        return max(waits, default=0.0)

    def replied(self, seconds: float, body: dict[str, Any], answer: Any, now: float) -> None:
        """Learn from a reply and the tokens it took."""
        self.answered = True
        self._row = 0
        self.concurrency.replied(seconds, now)
        if self._tokens:
            usage = usage_of(answer)
            self._tokens.took(_size(body), (usage.prompt or 0) + (usage.completion or 0))

    def failed(self, failed: Failure, seconds: float, wait: float, now: float) -> None:
        """Learn from a failure, after which its request waits."""
        if not failed.crowded:
            self._row = 0
            self.concurrency.replied(seconds, now)
            return
        self._row += 1
        self.concurrency.refused(now)
        # Refusals are quicker than replies, so of many requests sent at once those that are refused come first.
        if self._row >= max(ROW, self.concurrency.size) or not failed.reached:
            self._resumes, self.reason = max(self._resumes, now + wait), failed.brief


@dataclass
class Endpoints:
    """All servers of a model, and who waits for a place at one of them."""

    servers: list[Endpoint]
    _queue: deque[asyncio.Future[Endpoint]] = field(default_factory=deque)

    @property
    def inside(self) -> int:
        """How many requests are at a server, or wait there for its next moment."""
        return sum(server.inside for server in self.servers)

    async def place(self, first: bool = False) -> Endpoint:
        """Wait for a place at the least loaded server; ``first`` is for requests that have waited before."""
        if not self._queue and (server := self._free()):
            return self._enter(server)
        future: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if first else self._queue.append)(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.leave(future.result())
            raise

    def leave(self, server: Endpoint) -> None:
        """Give a place back, and hand out all that are free now."""
        server.inside -= 1
        while self._queue and (free := self._free()):
            future = self._queue.popleft()
            if not future.done():
                future.set_result(self._enter(free))

    def another(self, server: Endpoint) -> bool:
        """Whether there is another server to ask while this one wants to be left alone."""
        now = asyncio.get_running_loop().time()
        return any(other is not server and other.rests(now) == 0 for other in self.servers)

    async def close(self) -> None:
        """Close all connections."""
        for server in self.servers:
            await server.client.close()

    def _free(self) -> Endpoint | None:
        now = asyncio.get_running_loop().time()
        awake = [server for server in self.servers if server.rests(now) == 0] or self.servers
        return min((server for server in awake if server.load < 1), key=lambda server: server.load, default=None)

    def _enter(self, server: Endpoint) -> Endpoint:
        server.inside += 1
        server.concurrency.entered(server.inside, asyncio.get_running_loop().time())
        return server


def _size(body: dict[str, Any]) -> int:
    return len(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
