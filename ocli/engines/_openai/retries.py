"""What a failure means: again, this request's own error, or the end of the run; and how long to wait before it is tried again."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from ocli.engines._openai.reply import MalformedError, words_of

AGAIN = (408, 409, 425, 429)
"""HTTP statuses below 500 that pass by themselves."""
STOP = (401, 402, 403, 404)
"""HTTP statuses that every other request would get as well."""
BUSY = (429, 503, 529)
"""HTTP statuses of a server that has too much to do; they are waited for until the deadline."""
CROWDED = (*BUSY, 408, 502, 504)
"""HTTP statuses that may come from there being too many requests."""
LONGEST = 60.0
"""Seconds waited at once, whatever the server says."""

_EMPTY_PURSE = re.compile(
    r"insufficient[_ ](quota|balance|credit|fund)|exceeded[_ ](your[_ ])?current[_ ]quota|arrearage|余额不足|欠费", re.IGNORECASE
)
_THIS_PROMPT = re.compile(r"moderat|flagged|content[_ ](policy|filter)|data_inspection", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context[_ ]?(length|window|size)|(prompt|input|request)\b.{0,40}\btoo long|too many (input )?tokens|range of input length"
    r"|(prompt|input).{0,40}exceeds?.{0,40}(token|length|limit)|maximum (input|prompt) length|上下文|(输入|长度).{0,12}超",
    re.IGNORECASE | re.DOTALL,
)
_SOON = re.compile(r"(?:try again|retry)(?: in| after)? ([0-9.]+) ?(ms|s|sec|seconds?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Failure:
    """An attempt that failed.

    ``then``: ``again``; ``busy``, again and not counted as the request's own fault; ``alone``, it is this request's error;
    ``stop``, it would be every request's.
    """

    then: Literal["again", "busy", "alone", "stop"]
    words: str
    after: float | None = None
    """Seconds after which the server wants to be asked again."""
    crowded: bool = True
    """Whether it may come from there being too many requests: then the place of the one that failed stays empty for a while."""
    reached: bool = True
    """Whether there was a server at all."""

    @property
    def brief(self) -> str:
        """The kind of failure in a word or two, for the progress line."""
        return self.words.split(":")[0][:40]


def failure(error: Exception) -> Failure | None:
    """Say what an error of the client means; ``None`` for one that is no failure of the exchange but a bug."""
    import aiohttp
    import openai

    if isinstance(error, openai.APIConnectionError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # what the SDK has wrapped
    if isinstance(error, openai.APIStatusError):
        return _refusal(error.status_code, words_of(error), error.response.headers, json.dumps(error.body, ensure_ascii=False))
    if isinstance(error, MalformedError):
        return Failure("again", f"the server's reply {error}", crowded=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Failure("again", f"cannot connect: {words_of(error)}", reached=False)
    if isinstance(error, TimeoutError | openai.APITimeoutError) or type(error).__name__ == "TimeoutError":
        return Failure("again", "no reply in time")
    if isinstance(error, aiohttp.ClientError | ConnectionError | openai.APIConnectionError):
        return Failure("again", f"connection lost: {words_of(error) or type(error).__name__}")
    if isinstance(error, openai.APIError):  # an error that came in the middle of a stream
        return Failure("again", f"the server's reply is an error: {words_of(error)}", crowded=False)
    if isinstance(error, ValueError | TypeError | AttributeError):  # the client's own, on what is no JSON
        return Failure("again", f"the server's reply is no JSON: {words_of(error)}", crowded=False)
    return None


def _refusal(status: int, words: str, headers: Mapping[str, str], body: str) -> Failure:
    said = f"HTTP {status}: {words}"
    if status in STOP or (status == 429 and _EMPTY_PURSE.search(body)):
        return Failure("alone" if status == 403 and _THIS_PROMPT.search(body) else "stop", said, crowded=False)
    if status in AGAIN or status >= 500:
        return Failure("busy" if status in BUSY else "again", said, retry_after(headers, words), status in CROWDED)
    if status in (400, 413, 422) and _TOO_LONG.search(body):
        return Failure("alone", f"the prompt is longer than the model takes: {said}", crowded=False)
    return Failure("alone", said, crowded=False)


def retry_after(headers: Mapping[str, str], words: str = "") -> float | None:
    """Return the seconds that a server wants to be left alone, which it says in a header or, as Moonshot does, in its words."""
    said = headers.get("retry-after-ms")
    if said and _number(said) is not None:
        return (_number(said) or 0.0) / 1000
    said = headers.get("retry-after")
    if said:
        seconds = _number(said)
        return seconds if seconds is not None else _until(said)
    found = _SOON.search(words)
    if found and (seconds := _number(found[1])) is not None:
        return seconds / 1000 if found[2] == "ms" else seconds
    return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


class Patience:
    """How long one request is tried: so many faults, and no longer than a deadline that begins with the first attempt."""

    def __init__(self, faults: int, deadline: float) -> None:
        self.attempts = 0
        self.reason = ""
        self._left = faults
        self._waits = 0
        self._deadline = deadline
        self._end = 0.0

    def begin(self, now: float) -> float:
        """Count an attempt that begins now."""
        self._end = self._end or now + self._deadline
        self.attempts += 1
        return now

    def left(self, now: float) -> float:
        """Return the seconds until the deadline."""
        return self._end - now

    def wait(self, failed: Failure, now: float) -> float | None:
        """Return how long to wait before the next attempt; ``None`` when it has been enough.

        Without a word of the server's the waits double, from half a second on. No two requests wait equally long, and none comes
        back before the server wants it.
        """
        self.reason = failed.brief
        if failed.then in ("alone", "stop") or not self._left:
            return None
        if failed.then == "again":  # an overloaded server is no fault of the request's
            self._left -= 1
        seconds = 0.5 * 2.0 ** min(self._waits, 10) * random.uniform(0.5, 1.0)
        if failed.after is not None:
            seconds = failed.after * random.uniform(1.0, 1.1) + random.uniform(0.0, 0.05)
        else:
            self._waits += 1
        seconds = min(seconds, LONGEST)
        return seconds if now + seconds < self._end else None


def describe(failed: Failure, attempts: int) -> str:
    """Say why a request has no reply."""
    return failed.words if attempts == 1 else f"{failed.words} (asked {attempts} times)"


def hide(text: str, key: str) -> str:
    """Take the key out of a server's words: some servers repeat it."""
    return text.replace(key, "***") if len(key) >= 4 else text


def named_in(error: Exception) -> Any:
    """Return the setting that a server says it refuses, where it says one."""
    body = getattr(error, "body", None)
    return body.get("param") if isinstance(body, dict) else None
