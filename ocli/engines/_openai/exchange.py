"""One request's way to a reply: a place at a server, an attempt, and what comes after an attempt that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ocli.engines._openai.dialects import Dialect
from ocli.engines._openai.endpoints import Endpoint, Endpoints
from ocli.engines._openai.reply import words_of
from ocli.engines._openai.retries import Failure, Patience, describe, failure, hide, named_in
from ocli.engines._openai.streams import joined
from ocli.errors import EngineError

T = TypeVar("T")
Body = dict[str, Any]

LACKING = (400, 404, 405, 415, 422, 500, 501)
"""HTTP statuses with which servers answer what they cannot do; others (a wrong key, too many requests) say nothing of that."""
KNOCKS = 3
"""So often a server is tried that never answered, before the run is stopped: its address is wrong, or it is not running."""
QUIET = 5.0
"""After so many seconds without any reply the progress line says what is on its way."""


class RefusedError(Exception):
    """What one request alone has met; the message is its ``error``."""


@dataclass
class Exchange:
    """Asks one model, wherever it is served, until there is a reply or no hope of one."""

    endpoints: Endpoints
    dialect: Dialect
    key: str
    model: str
    timeout: float
    deadline: float
    max_retries: int
    probing: bool = False
    """Whether a refusal may mean that a server lacks something: then it is raised as it came."""
    _waits: dict[object, tuple[float, str]] = field(default_factory=dict)
    _moved: float = 0.0

    async def send(self, path: str, write: Callable[[], Body], read: Callable[[Any], T]) -> T:
        """Send what ``write`` makes, again where that may help, and return what ``read`` finds in the reply.

        Raises RefusedError for what this request alone has met, EngineError for what every other would meet as well.
        """
        patience = Patience(self.max_retries, self.deadline)
        loop = asyncio.get_running_loop()
        later: dict[Endpoint, float] = {}  # when each server wants to see this request again
        while True:
            server = await self.endpoints.place(first=patience.attempts > 0)
            wait, hold = 0.0, 0.0
            body = write()
            try:
                await self._away(later.get(server, 0.0), patience.reason)
                await self._ready(server, body)
                began = self._moved = patience.begin(loop.time())
                try:
                    answer = await self._post(server, path, body, patience.left(began))
                    value = read(answer)
                except Exception as error:  # noqa: BLE001 - sorted by what it means, and raised when it means nothing
                    wait, hold = self._after(error, server, body, patience, began)
                else:
                    now = loop.time()
                    server.replied(now - began, body, answer, now)
                    return value
            finally:
                self._moved = loop.time()
                if hold:  # the place stays taken, so that a server that is busy is asked less
                    loop.call_later(hold, self.endpoints.leave, server)
                else:
                    self.endpoints.leave(server)
            later[server] = loop.time() + wait
            if not self.endpoints.another(server):
                await self._away(later[server], patience.reason)

    async def listing(self, server: Endpoint) -> Any:
        """Return what a server says of the models it serves; raise EngineError when it does not."""
        patience = Patience(min(KNOCKS - 1, self.max_retries), self.deadline)
        while True:
            began = patience.begin(asyncio.get_running_loop().time())
            try:
                return await server.client.get("/models")
            except Exception as error:
                failed = failure(error)
                wait = patience.wait(failed, began) if failed else None
                if failed is None:
                    raise
                if wait is None:
                    words = hide(failed.words, self.key)
                    raise EngineError(f"{server.url} does not say which models it serves: {words}") from None
            await asyncio.sleep(wait)

    @property
    def waiting(self) -> str:
        """What is waited for where nothing moves, in a few words for the progress line."""
        try:
            now = asyncio.get_running_loop().time()
        except RuntimeError:
            return ""
        if self._waits:
            until, reason = max(self._waits.values())
            count = sum(other == reason for _, other in self._waits.values())
            return f"{count} waiting {max(0.0, until - now):.0f} s ({reason})"
        if self.endpoints.inside and now - self._moved >= QUIET:
            return f"{self.endpoints.inside} in flight, none back for {now - self._moved:.0f} s"
        return ""

    def place(self) -> str:
        """Return where the model is asked, for messages."""
        return f"{', '.join(server.url for server in self.endpoints.servers)} (model {self.model})"

    async def _away(self, until: float, reason: str) -> None:
        """Wait until a moment, if it is still to come."""
        if (wait := until - asyncio.get_running_loop().time()) > 0:
            with self._waiting(wait, reason):
                await asyncio.sleep(wait)

    async def _ready(self, server: Endpoint, body: Body) -> None:
        """Wait until the server may be asked."""
        loop = asyncio.get_running_loop()
        if wait := server.book(loop.time(), body):
            with self._waiting(wait, "rate limit"):
                await asyncio.sleep(wait)
        while wait := server.rests(loop.time()):
            with self._waiting(wait, server.reason):
                await asyncio.sleep(wait)

    async def _post(self, server: Endpoint, path: str, body: Body, left: float) -> Any:
        if body.get("stream"):  # as long as it goes on: the client gives up a stream that stands still
            return await joined(server.client.stream(path, body, left))
        return await server.client.post(path, body, min(self.timeout, left))

    def _after(self, error: Exception, server: Endpoint, body: Body, patience: Patience, began: float) -> tuple[float, float]:
        """Return how long the request waits after a failed attempt, and how long its place; raise where waiting is no use."""
        failed = failure(error)
        status = getattr(error, "status_code", None)
        if failed is None or (self.probing and status in LACKING):
            raise error
        failed = replace(failed, words=hide(failed.words, self.key))
        now = asyncio.get_running_loop().time()
        if status in (400, 422) and self.dialect.learn(body, hide(words_of(error), self.key), named_in(error)):
            server.failed(failed, now - began, 0.0, now)
            return 0.0, 0.0
        wait = patience.wait(failed, now)
        server.failed(failed, now - began, wait or 0.0, now)
        if failed.then == "stop":
            raise EngineError(f"{self.place()} refuses: {hide(words_of(error), self.key)} (HTTP {status})") from None
        self._knock(failed, patience)
        if wait is None:
            raise RefusedError(describe(failed, patience.attempts)) from None
        return wait, wait if failed.crowded else 0.0

    def _knock(self, failed: Failure, patience: Patience) -> None:
        """Raise EngineError where no server was ever there."""
        tried = patience.attempts >= min(KNOCKS, self.max_retries + 1)
        if tried and not failed.reached and not any(server.answered for server in self.endpoints.servers):
            raise EngineError(f"{self.place()} cannot be asked: {failed.words}; is it running, and is base_url right?") from None

    @contextmanager
    def _waiting(self, seconds: float, reason: str) -> Iterator[None]:
        token = object()
        self._waits[token] = (asyncio.get_running_loop().time() + seconds, reason)
        try:
            yield
        finally:
            del self._waits[token]
