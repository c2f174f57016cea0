"""A small OpenAI-compatible server for tests: a real HTTP server whose answers a function decides."""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

Answer = tuple[int, Any]
"""A status and a body: a string is sent as an HTML page, bytes as events of a stream, anything else as JSON."""
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
            kind = {str: "text/html", bytes: "text/event-stream"}.get(type(body), "application/json")
            text = body if isinstance(body, (str, bytes)) else json.dumps(body)
            content = text.encode() if isinstance(text, str) else text
            self.send_response(status)
            self.send_header("Content-Type", kind)
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


TOKEN = re.compile(r" ?\(\w| ?\w+| ?[^\w\s]|\s")
"""A token of the toy model; ``(A`` is one, so that a choice can begin inside a token."""
VOCABULARY = [
    *(f"{space}{letter}" for letter in "ABCDEF" for space in ("", " ")),
    " the",
    " of",
    "\n",
    ".",
    " 1",
    " 2",
    "?",
    " x",
]


@dataclass
class Toy:
    """A deterministic language model behind an OpenAI-compatible server, and what that server lacks.

    A token's log-probability depends on the token before it and on itself. Call it as ``serving``'s function.
    """

    bos: str = "<s>"
    echo: bool = True
    offsets: bool = True
    most: int = 20
    """The most next tokens it tells; 0: none."""
    hidden: tuple[str, ...] = ()
    """Next tokens that it never tells."""
    refused: str = "\0"
    """A prompt that holds this text is too long for it."""
    spell: Callable[[str], str] = str

    def tokens(self, text: str) -> list[str]:
        return [self.bos] * bool(self.bos) + TOKEN.findall(text)

    def logprob(self, before: str, token: str) -> float:
        return -0.01 - zlib.crc32(f"{before}|{token}".encode()) % 997 / 100

    def value(self, context: str, text: str) -> float:
        """Return the log-probability of the tokens that reach past the end of a context."""
        tokens = self.tokens(context + text)
        ends = [sum(map(len, tokens[bool(self.bos) : number])) for number in range(1, len(tokens) + 1)]
        border = len(context.rstrip(" "))
        return sum(self.logprob(tokens[i - 1], tokens[i]) for i in range(1, len(tokens)) if ends[i] > border)

    def next(self, text: str, most: int) -> dict[str, float]:
        """Return the most likely next tokens."""
        before = self.tokens(text)[-1]
        told = {token: self.logprob(before, token) for token in VOCABULARY if token not in self.hidden}
        return dict(sorted(told.items(), key=lambda item: -item[1])[:most])

    def __call__(self, path: str, body: dict[str, Any]) -> Answer:
        chat = path.endswith("/chat/completions")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        if self.refused in prompt:
            return 400, {"error": {"message": "the prompt is too long"}}
        if body.get("echo"):
            return self._echo(prompt) if self.echo else (400, {"error": {"message": "echo is not supported"}})
        asked = body.get("top_logprobs" if chat else "logprobs", 0)
        if asked > self.most:
            return 400, {"error": {"message": f"logprobs must be at most {self.most}"}}
        return self._next(prompt, asked, chat)

    def _next(self, prompt: str, asked: int, chat: bool) -> Answer:
        tops = self.next(prompt, asked)
        [(token, value)] = self.next(prompt, 1).items()
        if chat:
            rows = [{"token": text, "logprob": logprob, "bytes": list(text.encode())} for text, logprob in tops.items()]
            logprobs: Any = {"content": [{"token": token, "logprob": value, "top_logprobs": rows}]}
            message = {"role": "assistant", "content": token}
            return 200, _completion("chat.completion", {"index": 0, "message": message, "logprobs": logprobs})
        logprobs = {"tokens": [token], "token_logprobs": [value], "top_logprobs": [tops], "text_offset": [len(prompt)]}
        return 200, _completion("text_completion", {"index": 0, "text": token, "logprobs": logprobs})

    def _echo(self, prompt: str) -> Answer:
        tokens = [*self.tokens(prompt), *self.next(prompt, 1)]
        pairs = list(pairwise(tokens))
        values = [None, *(self.logprob(*pair) for pair in pairs)]
        tops = [None, *({token: self.logprob(before, token), **self.next(before, 1)} for before, token in pairs)]
        spelled = [self.spell(token) for token in tokens]
        logprobs = {"tokens": spelled, "token_logprobs": values, "top_logprobs": tops}
        if self.offsets:  # as vLLM counts them: BOS too
            logprobs["text_offset"] = [sum(map(len, spelled[:number])) for number in range(len(spelled))]
        answer = _completion("text_completion", {"index": 0, "text": prompt + tokens[-1], "logprobs": logprobs})
        answer["usage"] = {"prompt_tokens": len(tokens) - 1, "completion_tokens": 1, "total_tokens": len(tokens)}
        return 200, answer
