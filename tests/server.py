"""A small OpenAI-compatible server for tests: a real HTTP server whose answers a function decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]
"""A status and a body: a string is sent as an HTML page, anything else as JSON."""
Decide = Callable[[str, dict[str, Any]], Answer]


class Server:
    """What a test sees of it: its address and every request that came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []


def chat_answer(text: Any, **message: Any) -> Answer:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}
    return 200, _completion("chat.completion", choice)


def text_answer(text: Any) -> Answer:
    return 200, _completion("text_completion", {"index": 0, "finish_reason": "length", "text": text})


def _completion(kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}
    return {"id": "x", "object": kind, "created": 1, "model": "served", "choices": [choice], "usage": usage}


@contextmanager
def serving(decide: Decide, models: tuple[str, ...] = ("served",), listing: Any = None) -> Iterator[Server]:
    """Serve on a free port of the loopback interface while the block runs; ``listing`` is sent in place of the models."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            models_list = {"object": "list", "data": [{"id": name, "object": "model"} for name in models]}
            self.answer(200, models_list if listing is None else listing)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append((self.path, body, headers))
            self.answer(*decide(self.path, body))

        def answer(self, status: int, body: Any) -> None:
            page = isinstance(body, str)
            content = body.encode() if page else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if page else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
