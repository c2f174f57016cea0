"""An OpenAI-compatible server that fails as real ones do: a real HTTP server on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

RETRY_AFTER = 0.1


@dataclass
class Faulty:
    """Answers ``Q12`` with ``A12``; ``shares`` says how often which fault is met instead.

    ``limit`` requests a second are let through (a bucket that holds one second's worth) and the others told to come back.
    """

    shares: dict[str, float] = field(default_factory=dict)
    delay: float = 0.005
    limit: float | None = None
    most: int | None = None
    """More requests at once than this are refused."""
    seed: int = 0
    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each question came."""
    faults: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What each question met that was no answer."""
    answered: Counter[str] = field(default_factory=Counter)
    early: int = 0
    """Requests that came back before the server wanted them."""
    inside: int = 0
    highest: int = 0
    moments: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._until: dict[str, float] = {}
        self._tokens, self._filled = self.limit or 0.0, time.monotonic()

    def fault(self, question: str) -> str:
        """Choose what a request meets."""
        now = time.monotonic()
        self.early += now < self._until.pop(question, 0.0)
        if self.most is not None and self.inside > self.most:
            return "429"
        if self.limit is not None:
            self._tokens = min(self.limit, self._tokens + (now - self._filled) * self.limit)
            self._filled = now
            if self._tokens < 1:
                return "429"
            self._tokens -= 1
        kinds, weights = list(self.shares), list(self.shares.values())
        return self.random.choices(["", *kinds], [max(0.0, 1 - sum(weights)), *weights])[0]

    def refuse(self, question: str) -> str:
        """Return how long the server wants to be left alone."""
        seconds = RETRY_AFTER if self.limit is None else 1 / self.limit
        self._until[question] = time.monotonic() + seconds
        return f"{seconds:.3f}"


class _Connection(asyncio.Protocol):
    """One connection, on which one request comes after the other."""

    def __init__(self, server: Faulty) -> None:
        self.server = server
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        size = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if size is None or len(rest) < int(size[1]):
            return
        body = json.loads(rest[: int(size[1])])
        self.buffer = b""
        self._take(body)

    def _take(self, body: dict[str, Any]) -> None:
        server = self.server
        question = re.findall(r"Q\d+", body["messages"][-1]["content"])[-1]
        server.asked[question] += 1
        server.moments.append(time.monotonic())
        server.inside += 1
        server.highest = max(server.highest, server.inside)
        fault = server.fault(question)
        if fault and fault != "slow":
            server.faults[question].append(fault)
        wait = 0.3 if fault == "slow" else 0.0 if fault == "429" else server.delay
        asyncio.get_running_loop().call_later(wait, self._answer, question, fault)

    def _answer(self, question: str, fault: str) -> None:
        self.server.inside -= 1
        if fault == "hung" or self.transport.is_closing():
            return
        content = json.dumps(_completion("" if fault == "blank" else question.replace("Q", "A"))).encode()
        if fault == "429":
            self._send(429, b'{"error": {"message": "slow down"}}', f"Retry-After: {self.server.refuse(question)}\r\n")
        elif fault == "500":
            self._send(500, b'{"error": {"message": "oops"}}')
        elif fault == "malformed":
            self._send(200, content[: len(content) // 2])
        elif fault == "nothing":
            self._send(200, b"")
        elif fault in ("short", "reset"):  # the connection ends in the middle of the body, in good order or not
            self._send(200, content, cut=len(content) // 2)
            (self.transport.close if fault == "short" else self.transport.abort)()
        else:
            self.server.answered[question] += not fault or fault == "slow"
            self._send(200, content)

    def _send(self, status: int, content: bytes, headers: str = "", cut: int | None = None) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
        self.transport.write(head.encode() + content[:cut])


def _completion(text: str) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}


@contextmanager
def failing(server: Faulty, tls: ssl.SSLContext | None = None) -> Iterator[Faulty]:
    """Serve on a free port of the loopback interface while the block runs."""
    loop = asyncio.new_event_loop()
    listener = loop.run_until_complete(loop.create_server(lambda: _Connection(server), "127.0.0.1", 0, backlog=1024, ssl=tls))
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listener.close()
        loop.close()
