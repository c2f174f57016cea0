"""What one model of one server takes: settings that it refuses are said in another way or left out, once, and put on record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ocli.types import Sampling

TINY = 0.01
"""Sent as temperature to servers that take no zero."""

_UNKNOWN = re.compile(
    r"(un|not |n't |not be )support|unrecogni[sz]ed|unknown|unexpected|extra (inputs|fields)|not (permitted|allowed|available)"
    r"|deprecated|only the default|only [\d.]+ is|can(not|'t) be (used|set|specified)|no such|has no effect"
    r"|does not (accept|take)|不支持|未知",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"range|between|greater|larger|positive|interval|\([\d.]+ ?, ?[\d.]+[)\]]|>\s*0|must be|should be|invalid|大于|范围|区间",
    re.IGNORECASE,
)
_DROPPED = ("temperature", "top_p", "top_k", "seed", "stop", "stream_options")


class Dialect:
    """How the settings of requests are written for one model; learns from refusals."""

    def __init__(self) -> None:
        self.record: dict[str, str] = {}
        """What is not sent as the recipe says it, and the server's words for why."""
        self._left_out: set[str] = set()
        self._limit_name = "max_tokens"
        self._zero = 0.0

    def settings(self, sampling: Sampling) -> dict[str, Any]:
        """Say what the recipe says under the server's names; what the recipe leaves out is the server's own."""
        temperature = sampling.temperature if sampling.temperature != 0 else self._zero
        said = {
            "temperature": temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            self._limit_name: sampling.max_tokens,
            "stop": list(sampling.stop) or None,
            "top_k": sampling.top_k,  # not in OpenAI's API, but vLLM, LMDeploy and SGLang read it
        }
        return {name: value for name, value in said.items() if value is not None and name not in self._left_out}

    def cuts(self, sampling: Sampling) -> tuple[str, ...]:
        """Return the stop strings that the server does not look for, so that they are looked for here."""
        return sampling.stop if "stop" in self._left_out else ()

    def streamed(self) -> dict[str, Any]:
        """Return how a streamed reply is asked for."""
        options = {} if "stream_options" in self._left_out else {"stream_options": {"include_usage": True}}
        return {"stream": True, **options}

    def learn(self, sent: dict[str, Any], words: str, named: Any = None) -> bool:
        """Learn from a refusal (status 400 or 422); return whether the request is worth sending again, in other words.

        ``named`` is the setting that the server says it refuses, where it says one.
        """
        for name in ("max_tokens", *_DROPPED):
            if name in sent and (named == name or (not isinstance(named, str) and _names(words, name))):
                if name not in self.settings(_FULL) | self.streamed() or self._differs(sent, name):
                    return True  # another request has learned it meanwhile
                return self._adapt(name, sent[name], words)
        return False

    def _differs(self, sent: dict[str, Any], name: str) -> bool:
        return name == "temperature" and sent[name] == 0 and self._zero != 0

    def _adapt(self, name: str, value: Any, words: str) -> bool:
        if name == "max_tokens":
            if "max_completion_tokens" not in words and not _UNKNOWN.search(words):
                return False  # too many of them, as a rule
            self._limit_name = "max_completion_tokens"
            how = "sent as max_completion_tokens"
        elif _UNKNOWN.search(words):
            self._left_out.add(name)
            how = "looked for by ocli in the reply" if name == "stop" else "not sent"
        elif name == "temperature" and value in (0, TINY) and _RANGE.search(words):
            how = f"{TINY} sent for 0" if value == 0 else "not sent"
            self._zero = TINY
            self._left_out |= set() if value == 0 else {name}
        elif name == "stop":  # too many of them, or too long
            self._left_out.add(name)
            how = "looked for by ocli in the reply"
        else:
            return False
        self.record[name] = f"{how}: the server says {words[:200]!r}"
        return True


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """End a text before the first of the stop strings; return whether there was one."""
    ends = [end for stop in stops if (end := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def _names(words: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", words, re.IGNORECASE) is not None


_FULL = Sampling(temperature=1.0, top_p=1.0, top_k=1, seed=1, stop=("x",))
