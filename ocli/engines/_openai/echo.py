"""Likelihoods from ``/completions`` with ``echo``: the server scores every token of a prompt and sends it back.

Each choice is one request, its context and text together; the choice begins at the first token that reaches past the end of the
context (spaces at the end of the context are the choice's, as in ``ocli/likelihood.py``). The one token that the server must
generate is left out. What comes before all others has no likelihood: BOS, or without a BOS the first token of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ocli.engines._openai.likelihood import Post, number, together
from ocli.engines._openai.reply import MalformedError, first_choice, get, usage_of
from ocli.engines._openai.spelling import Places, first_of, places
from ocli.likelihood import total
from ocli.tokens import UnaskableError
from ocli.types import Choice, Likelihood, Request, Scored, Usage

PROBE = "Question: 1 + 1 =\nAnswer: 2"


@dataclass(frozen=True)
class Echo:
    """A prompt as the server scored it, token by token; ``None`` is a value that the server does not tell."""

    tokens: Sequence[str]
    logprobs: Sequence[float | None]
    likely: Sequence[bool | None]
    """Whether each token was the most likely one."""
    places: Places

    def begin(self, context: str) -> int:
        """Return the first token of what comes after a context."""
        start = first_of(self.places, len(context.rstrip(" ").encode("utf-8", "replace")))
        if start is None:
            raise MalformedError("does not tell where the choice begins: its tokens there are parts of a character")
        # BOS is not in the prompt's text and belongs to no choice. An empty text is no BOS: it is a part of a character.
        return max(start, 1) if self.places[0] == {(0, 0)} and self.tokens[0] else start

    def sum(self, begin: int, end: int | None = None, counted: int | None = None) -> Likelihood:
        """Return the likelihood of some tokens; ``counted`` of them where not all that are counted are scored."""
        values = self.logprobs[begin:end]
        told = [value for value in values if value is not None]
        if len(told) < len(values):
            raise MalformedError("has no log-probability for a token of the prompt")
        return total(told, len(told) if counted is None else counted)

    def greedy(self, begin: int) -> bool | None:
        """Whether greedy decoding would have written all from a token on; ``None`` where that is not known of each."""
        flags = [flag for flag in self.likely[begin:] if flag is not None]
        return all(flags) if len(flags) == len(self.tokens) - begin else None


class EchoWay:
    """Asks each choice as one echoed prompt."""

    name = "echo"

    def __init__(self, post: Post) -> None:
        self._post = post

    async def probe(self) -> None:
        """Ask for a made-up prompt's likelihood."""
        read_echo(await self._post(_body(PROBE)), PROBE).sum(1)

    async def score(self, request: Request) -> tuple[tuple[Scored, ...], Usage]:
        """Ask all choices, and those with a baseline a second time after it, at the same time and no prompt twice."""
        prompts = [prompt for choice in request.choices for prompt in _prompts(choice)]
        bodies = {prompt: _body(prompt) for prompt in prompts}
        answers, usage = await together(self._post, list(bodies.values()))
        echoes = {prompt: read_echo(answer, prompt) for prompt, answer in zip(bodies, answers, strict=True)}
        if request.rolling:
            return (_text(request, echoes),), usage
        return tuple(_scored(choice, echoes, request.whole) for choice in request.choices), usage


def read_echo(answer: Any, prompt: str) -> Echo:
    """Read an echoed prompt's log-probabilities; raise MalformedError where the server sends none, or other tokens."""
    logprobs = get(first_choice(answer), "logprobs")
    tokens, values, tops = (get(logprobs, name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not _is_list_of(tokens, str) or not isinstance(values, list) or len(values) != len(tokens):
        raise MalformedError("has no log-probabilities of a prompt's tokens")
    told = usage_of(answer).prompt
    # One token is generated, as a rule; whether it is among the tokens is seen from whether the others are the prompt.
    for size in sorted((len(tokens) - 1, len(tokens)), key=lambda size: size != told):
        found = places(tokens[:size], prompt) or _offsets(logprobs, size, prompt)
        if found:
            numbers = [None if value is None else number(value) for value in values[:size]]
            rows = tops if isinstance(tops, list) else []
            likely = [_is_likely(value, row) for value, row in zip(numbers, [*rows, *[None] * size], strict=False)]
            return Echo(tokens[:size], numbers, likely, found)
    raise MalformedError("has log-probabilities of tokens that are not the prompt's")


def _offsets(logprobs: Any, size: int, prompt: str) -> Places | None:
    """Take the server's own offsets (in characters) where they go from the prompt's beginning up to its end."""
    offsets = get(logprobs, "text_offset")
    if not _is_list_of(offsets, int) or len(offsets) != size + 1 or offsets != sorted(offsets):
        return None
    if offsets[0] != 0 or offsets[-1] != len(prompt):
        return None
    borders = [len(prompt[:offset].encode("utf-8", "replace")) for offset in offsets]
    return [{pair} for pair in pairwise(borders)]


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


def _is_likely(value: float | None, top: Any) -> bool | None:
    if value is None or not isinstance(top, dict) or not top:
        return None
    return value >= max(number(other) for other in top.values())


def _body(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}


def _prompts(choice: Choice) -> list[str]:
    baseline = [] if choice.baseline is None else [choice.baseline]
    return [f"{context}{choice.text}" for context in (choice.context, *baseline)]


def _scored(choice: Choice, echoes: dict[str, Echo], whole: bool) -> Scored:
    own, *rest = (echoes[prompt] for prompt in _prompts(choice))
    start = _start(own, str(choice.context), choice.text, whole)
    context = None
    if whole:  # its first token is counted and has no likelihood, unless a server with a BOS of its own tells one
        context = own.sum(1 if own.logprobs[0] is None else 0, start, counted=start)
    base = None
    if rest and choice.baseline is not None:
        base = rest[0].sum(_start(rest[0], choice.baseline, choice.text, whole=False))
    return Scored(choice.text, own.sum(start), own.greedy(start), context, base)


def _start(echo: Echo, context: str, text: str, whole: bool) -> int:
    start = echo.begin(context)
    if start >= len(echo.tokens) and not whole:
        raise UnaskableError(f"the choice {text!r} has no tokens after its context")
    if start == 0 and echo.logprobs[0] is None:
        if not whole:
            raise UnaskableError(f"the choice {text!r} has nothing before it: this server puts no token in front of a prompt")
        start = 1
    return start


def _text(request: Request, echoes: dict[str, Echo]) -> Scored:
    """Score a text for perplexity: as long as the server takes it, since its windows cannot be cut from here."""
    [choice] = request.choices
    [echo] = echoes.values()
    begin = 1 if echo.logprobs[0] is None else 0
    own = echo.sum(begin)
    if not own.tokens:
        raise UnaskableError("the text has no tokens that can be scored")
    if request.window is not None and own.tokens > request.window:
        raise UnaskableError(
            f"the text has {own.tokens} tokens, the task's window {request.window}: a server is asked for whole texts only"
        )
    return Scored(choice.text, own, echo.greedy(begin))
