"""``ocli view``: a small server on this machine that shows runs item by item, also while ``infer`` writes them.

Model output and file names come from elsewhere, and other pages in the browser can send requests here. So it answers GET alone,
to the names it is bound to (a page elsewhere whose name is made to mean this machine is refused), or, where other machines may
ask, to those that know a token. Nothing of a query is ever a path: tasks and models are looked up by name.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError as BadRequest

from ocli.errors import NotFoundError, OcliError
from ocli.stages.browse import Book
from ocli.stages.browse.table import Query
from ocli.stages.finite import to_json
from ocli.stages.page import render

Say = Callable[[str], None]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PORT = 8760
TRIES = 20
"""So many further ports are tried where the usual one is taken."""
LIMIT = 1000
"""Rows that are told at once."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "ocli_view"
HEADERS = {
    "Content-Security-Policy": "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""The page has a policy of its own, which names the hashes of its scripts."""


class Server:
    """Answers requests about a book; all reading is done in threads, and searches one at a time."""

    def __init__(self, book: Book, host: str) -> None:
        self.book, self.host = book, host
        self.token = None if host in LOOPBACK else secrets.token_urlsafe(16)
        self._searching = asyncio.Semaphore(1)

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard])
        routes = {"/": self._home, "/api/page": self._page, "/api/items": self._items, "/api/item": self._item}
        app.add_routes([web.get(path, handler, allow_head=False) for path, handler in routes.items()])
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse whoever may not ask, and say in one line what goes wrong."""
        try:
            answer = self._refusal(request) or await handler(request)
        except web.HTTPException as error:
            answer = _error(error.status, error.reason)
        except NotFoundError as error:
            answer = _error(404, str(error))
        except OcliError as error:
            answer = _error(400, str(error))
        answer.headers.update(HEADERS)
        return answer

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        if request.method != "GET":
            return _error(405, "only GET is answered")
        if request.path != "/" and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return _error(403, "another page in this browser has asked")
        if self.token is None:
            known = _name(request.headers.get("Host", "")) in LOOPBACK
            return None if known else _error(403, f"this server is {self.host}, and answers to no other name")
        if hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self.token.encode()):
            return None
        if not hmac.compare_digest(request.query.get("token", "").encode(), self.token.encode()):
            return _error(403, "open the address that ocli view has printed: it ends with a token")
        if request.path != "/":
            return None
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(COOKIE, self.token, httponly=True, samesite="Strict")
        return answer

    async def _home(self, _: web.Request) -> web.StreamResponse:
        text = await asyncio.to_thread(lambda: render(self.book.page(), None))
        return web.Response(text=text, content_type="text/html")

    async def _page(self, _: web.Request) -> web.StreamResponse:
        return _json(await asyncio.to_thread(self.book.page))

    async def _items(self, request: web.Request) -> web.StreamResponse:
        asked = request.query
        query = Query(
            asked.get("filter") or "all", asked.get("model") or None, asked.get("subset") or None, asked.get("q", ""),
            _number(asked, "offset", 0), min(_number(asked, "limit", 100), LIMIT),
        )  # fmt: skip
        task = asked.get("task", "")
        if not query.words:
            return _json(await asyncio.to_thread(self.book.items, task, query))
        stop = threading.Event()
        try:
            async with self._searching:
                return _json(await asyncio.to_thread(self.book.items, task, query, stop.is_set))
        finally:
            stop.set()  # whoever asked may have gone

    async def _item(self, request: web.Request) -> web.StreamResponse:
        asked = request.query
        key = asked.get("id", ""), _number(asked, "sample", 0)
        return _json(await asyncio.to_thread(self.book.item, asked.get("task", ""), key))

    async def watch(self) -> None:
        """Look at the files again and again; the longer a look takes, the longer until the next."""
        while True:
            began = time.monotonic()
            with suppress(OcliError):  # a file that is being written anew; requests tell of what stays wrong
                await asyncio.to_thread(self.book.refresh)
            await asyncio.sleep(0.1 if self.book.behind else max(1.0, 4 * (time.monotonic() - began)))


def _name(host: str) -> str | None:
    """Return the name in a Host header, whatever the port: ssh may bring requests from another one."""
    with suppress(ValueError):
        return urlsplit(f"//{host}").hostname
    return None


def _number(asked: Any, name: str, default: int) -> int:
    text = asked.get(name) or str(default)
    if not (text.isascii() and text.isdecimal()) or len(text) > 15:
        raise OcliError(f"{name} must be a whole number from 0, not {text[:40]!r}")
    return int(text)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(text=to_json(value), content_type="application/json", status=status)


def _error(status: int, text: str) -> web.Response:
    return _json({"error": text}, status)


async def _bind(runner: web.AppRunner, host: str, port: int | None) -> int:
    """Listen on a port, or the next free one where nobody asked for it; return it."""
    first = PORT if port is None else port
    for number in range(first, first + (TRIES if port is None else 1)):
        site = web.TCPSite(runner, host, number)
        try:
            await site.start()
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                code = error.errno or 0
                reason = os.strerror(code) if code > 0 else error.strerror
                where = f"{host}:{number}: cannot be listened on: {reason}"
                raise OcliError(f"{where}; say another --port or --host") from None
            continue
        return int(runner.addresses[0][1])
    raise OcliError(f"the ports {PORT} to {PORT + TRIES - 1} are all taken; choose another with --port")


async def _serve(book: Book, host: str, port: int | None, ready: Callable[[str, int], None]) -> None:
    server, stop = Server(book, host), asyncio.Event()
    # What a client sends wrongly is told to the client alone; a fault of ours shows its traceback.
    logging.getLogger("aiohttp.server").addFilter(lambda record: not isinstance((record.exc_info or (0, 0))[1], BadRequest))
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    try:
        bound = await _bind(runner, host, port)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{bound}/" + (f"?token={server.token}" if server.token else ""), bound)
        watching = asyncio.create_task(server.watch())
        await stop.wait()
        watching.cancel()
    finally:
        await runner.cleanup()


def view(book: Book, host: str, port: int | None, ready: Callable[[str, int], None]) -> None:
    """Serve until Ctrl-C; ``ready`` is told the address and the port. ``port`` None: the usual one, or the next free one."""
    asyncio.run(_serve(book, host, port, ready))
