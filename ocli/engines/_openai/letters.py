"""Likelihoods of one-letter choices from the most likely next tokens (``top_logprobs``): one request for all of a question.

For servers that score no prompts, and for chat models. A letter's value is that of the token whose text is the choice, or is the
choice without white space. A letter that is not among the tokens told has no value: it is less likely than all of them.
"""

from __future__ import annotations

import json
import math
from typing import Any

from ocli.engines._openai.likelihood import Post, number, together
from ocli.engines._openai.reply import MalformedError, first_choice, get
from ocli.engines._openai.spelling import MARKS
from ocli.likelihood import total
from ocli.tokens import UnaskableError
from ocli.types import Context, Likelihood, Message, Request, Scored, Usage

PROBE = "Question: 1 + 1 =\nA. 2\nB. 3\nAnswer:"
MOST = (20, 5)
"""How many tokens are asked for: OpenAI's limit for chat and vLLM's default, then OpenAI's for completions."""

Tops = list[tuple[str, float]]
"""The most likely next tokens with their log-probabilities."""


class LetterWay:
    """Asks for the next token after each context and looks the letters up among the most likely ones."""

    def __init__(self, post: Post, chat: bool, most: int) -> None:
        self.name = f"top_logprobs {most}"
        self._post, self._chat, self._most = post, chat, most

    async def probe(self) -> None:
        """Ask for the next token after a made-up prompt."""
        turn: Message = {"role": "user", "content": PROBE}
        tops = read_next(await self._post(self._body((turn,) if self._chat else PROBE)))
        if len({token for token, _ in tops}) < 2:  # one alone is the token that was generated
            raise MalformedError("has no log-probabilities of other next tokens than its own")

    async def score(self, request: Request) -> tuple[tuple[Scored, ...], Usage]:
        """Ask each context and each baseline of a request once, at the same time."""
        refuse(request)
        asked = [self._ask(choice.context, choice.text) for choice in request.choices]
        alone = [None if choice.baseline is None else self._ask(choice.baseline, choice.text) for choice in request.choices]
        bodies = {_key(context): self._body(context) for context, _ in (*asked, *filter(None, alone))}
        if request.whole and len({_key(context) for context, _ in asked}) > 1:
            raise UnaskableError(f"the choices have different contexts, which {self.name} cannot compare")
        answers, usage = await together(self._post, list(bodies.values()))
        tops = {key: read_next(answer) for key, answer in zip(bodies, answers, strict=True)}
        made = []
        for choice, (context, text), base in zip(request.choices, asked, alone, strict=True):
            own, greedy = _look_up(tops[_key(context)], text)
            baseline = _look_up(tops[_key(base[0])], base[1])[0] if base else None
            made.append(Scored(choice.text, own, greedy, None, baseline))
        return tuple(made), usage

    def _ask(self, context: Context, text: str) -> tuple[Context, str]:
        """Return what comes before the token that is asked for, and the token's text.

        Lines that end before the letter are not a part of its token; spaces are, also those that the context ends with.
        """
        if not isinstance(context, str):
            return context, text
        lines = text.rfind("\n", 0, len(text) - len(text.lstrip())) + 1
        before = context + text[:lines]
        bare = before.rstrip(" ")
        return bare, before[len(bare) :] + text[lines:]

    def _body(self, context: Context) -> dict[str, Any]:
        once = {"max_tokens": 1, "temperature": 0}
        if self._chat:
            return {"messages": list(context), "logprobs": True, "top_logprobs": self._most, **once}
        return {"prompt": context, "logprobs": self._most, **once}


def is_letter(text: str) -> bool:
    """Whether a choice can be looked up among next tokens."""
    return len(text.strip()) == 1


def refuse(request: Request) -> None:
    """Raise UnaskableError for what next tokens say nothing of."""
    if request.rolling:
        raise UnaskableError("a text's likelihood cannot be told from next tokens")
    for choice in request.choices:
        if not is_letter(choice.text):
            raise UnaskableError(f"the choice {choice.text!r} is no single letter, and this server tells next tokens only")


def read_next(answer: Any) -> Tops:
    """Read the most likely next tokens in the shape of ``/completions`` or in that of chat, which llama.cpp sends for both."""
    logprobs = get(first_choice(answer), "logprobs")
    content = get(logprobs, "content")
    if isinstance(content, list) and content:
        tops = _pairs(get(content[0], "top_logprobs")) + _pairs([content[0]])
    else:
        tops = _pairs(_first(logprobs, "top_logprobs"))
        token, value = _first(logprobs, "tokens"), _first(logprobs, "token_logprobs")
        tops += _pairs({token: value} if isinstance(token, str) and value is not None else None)
    if not tops:
        raise MalformedError("has no log-probabilities of next tokens")
    return tops


def _first(logprobs: Any, name: str) -> Any:
    rows = get(logprobs, name)
    return rows[0] if isinstance(rows, list) and rows else None


def _pairs(row: Any) -> Tops:
    """Read tokens with their values: a mapping, or a list of objects."""
    if isinstance(row, dict):
        return [(str(token), number(value)) for token, value in row.items()]
    items = row if isinstance(row, list) else []
    pairs = ((get(item, "token"), get(item, "logprob")) for item in items)
    return [(token, number(value)) for token, value in pairs if isinstance(token, str)]


def _look_up(tops: Tops, text: str) -> tuple[Likelihood, bool]:
    """Return a letter's likelihood and whether no token is more likely."""
    plain = [(token.translate(MARKS), value) for token, value in tops]
    same = [value for token, value in plain if token == text]
    same = same or [value for token, value in plain if token.strip() == text.strip()]
    value = max(same, default=-math.inf)
    return total([value], 1), math.isfinite(value) and value >= max(value for _, value in plain)


def _key(context: Context) -> str:
    return context if isinstance(context, str) else json.dumps(context)
