"""One HTTP request to a webhook, and what its answer means. What is said about it never holds the URL."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any

from ocli import __version__
from ocli.stages.notify.services import Message, one_line

TIMEOUT = 4.0
"""Seconds for the connection, and for each wait for a piece of the answer."""

CODES = {"feishu": ("code", "msg"), "lark": ("code", "msg"), "dingtalk": ("errcode", "errmsg"), "wecom": ("errcode", "errmsg")}
"""Services that answer 200 OK to what they refuse: where their answer says whether it is so (0: no), and why."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A webhook elsewhere is another receiver than the one that was named."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def deliver(service: str, url: str, message: Message, secrets: tuple[str | None, ...] = ()) -> str | None:
    """Send a message; return None, or in one line why it did not arrive.

    What a server says is busy (429, 5xx) and a connection that could not be made are tried once more. A time-out is not: the
    message may have arrived.
    """
    problem, again = _attempt(service, url, message)
    if problem and again:
        problem, _ = _attempt(service, url, message)
    return problem and hidden(problem, url, *secrets)


def _attempt(service: str, url: str, message: Message) -> tuple[str | None, bool]:
    """Return why it was not delivered, and whether it is worth another try."""
    joint = "&" if urllib.parse.urlsplit(url).query else "?"
    whole = url + joint + urllib.parse.urlencode(message.query) if message.query else url
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"ocli/{__version__}"}
    body = json.dumps(message.body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    try:
        request = urllib.request.Request(whole, data=body, headers=headers, method="POST")
        with _OPENER.open(request, timeout=TIMEOUT) as answer:
            return _judged(service, answer.read(65_536)), False
    except urllib.error.HTTPError as error:
        with error:
            said = _explained(service, error.read(2_000))
        return f"HTTP {error.code}{said}", error.code == 429 or error.code >= 500
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            return f"no answer within {TIMEOUT:.0f} s", False
        reason = error.reason.strerror if isinstance(error.reason, OSError) else None
        return f"cannot be reached ({reason or 'no connection'})", True
    except TimeoutError:
        return f"no answer within {TIMEOUT:.0f} s", False
    except (OSError, HTTPException, ValueError) as error:  # their texts may hold the URL
        return f"cannot be reached ({type(error).__name__})", isinstance(error, OSError)


def _judged(service: str, content: bytes) -> str | None:
    """Return what a service says is wrong although its status is 200."""
    if service not in CODES:
        return None
    code, text = CODES[service]
    said = _json(content)
    if code not in said:
        return f"its answer is not {service}'s (no {code!r} in it); is it the right URL?"
    return None if said[code] == 0 else f"{code} {said[code]}: {one_line(str(said.get(text, '')), 200)}"


def _explained(service: str, content: bytes) -> str:
    """Return what a refusal says: a code and its text, or Slack's one word."""
    said = _judged(service, content) if service in CODES and _json(content) else None
    text = content.decode("utf-8", "replace").strip()
    if said is None and text and not text.startswith("<"):
        said = one_line(text, 200)
    return f", {said}" if said else ""


def _json(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def hidden(text: str, url: str, *secrets: str | None) -> str:
    """Return a text without the URL, the parts of it that may be its key, and other secrets; services repeat what they get."""
    parts = urllib.parse.urlsplit(url)
    inner = [*parts.path.split("/"), *(value for _, value in urllib.parse.parse_qsl(parts.query)), parts.query]
    words = [url, *(part for part in inner if len(part) >= 8), *(secret for secret in secrets if secret)]
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "***").replace(urllib.parse.quote(word, safe=""), "***")
    return text
