"""The values that pass between rooms: a request goes into an engine, a reply comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

Role = Literal["system", "user", "assistant"]
Mode = Literal["generate", "loglikelihood", "perplexity"]


class Message(TypedDict):
    """One chat turn."""

    role: Role
    content: str


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. ``max_tokens`` counts new tokens; ``None`` leaves a value to the engine.

    ``temperature`` is ``None`` only where the model's own ``generation_config`` is to decide.
    """

    temperature: float | None = 0.0
    max_tokens: int = 1024
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


Context = str | tuple[Message, ...]
"""What stands before a text: plain text for a base model, turns for a chat model."""


@dataclass(frozen=True)
class Choice:
    """A text whose likelihood is asked, after ``context`` and, where there is one, after ``baseline`` as well."""

    context: Context
    text: str
    baseline: str | None = None


MODEL_PART = 8
"""So many digits of a request's key are the model's; the others are the question's, the same for every model."""


@dataclass(frozen=True)
class Request:
    """One rendered prompt with its settings: ``messages`` for a chat model, ``prompt`` for a base model.

    A log-likelihood request has ``choices`` instead, and a perplexity request the one text as its only choice.
    """

    key: str
    task: str
    id: str
    subset: str | None
    sample: int
    sampling: Sampling
    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    choices: tuple[Choice, ...] = ()
    whole: bool = False
    """Whether the context's own likelihood is asked too, where choices cannot be compared without it."""
    single: bool = False
    """Whether each choice must be one token."""
    greedy: bool = False
    """Whether the reply must say of each choice if greedy decoding would have written it."""
    rolling: bool = False
    """Whether a text longer than ``window`` is scored window by window."""
    window: int | None = None
    """Tokens scored at once when ``rolling``; ``None``: as many as the model's context holds."""
    shots_dropped: int = 0
    oracle: str = ""
    """The right answer as the prompt file writes it. Only ``echo`` reads it; it is not part of the key."""
    right: int | None = None
    """The index of the right choice. Only ``echo`` reads it; it is not part of the key."""


@dataclass(frozen=True)
class Usage:
    """Token counts of one request; ``None`` where the engine does not say."""

    prompt: int | None = None
    cached: int | None = None
    completion: int | None = None


@dataclass(frozen=True)
class Likelihood:
    """The natural log-probability of ``tokens`` tokens, summed; ``None`` where a server does not tell it."""

    logprob: float | None
    tokens: int

    def line(self) -> dict[str, Any]:
        """Return it as a prediction line has it."""
        return {"logprob": self.logprob, "tokens": self.tokens}


@dataclass(frozen=True)
class Scored:
    """What came back for a choice.

    ``own`` is the text's likelihood after its context, ``context`` the context's own (``None`` where nobody needs it; its first
    token is counted and has no likelihood), ``baseline`` the text's after the baseline. ``greedy`` says whether greedy decoding
    would have written the text; ``None`` where that is not known.
    """

    text: str
    own: Likelihood
    greedy: bool | None = None
    context: Likelihood | None = None
    baseline: Likelihood | None = None

    def line(self) -> dict[str, Any]:
        """Return the choice as a prediction line has it; what was not asked is left out."""
        size = len(self.text.encode("utf-8", "replace"))
        line = {"text": self.text, **self.own.line(), "bytes": size, "greedy": self.greedy}
        further = {"context": self.context, "baseline": self.baseline}
        return line | {name: value.line() for name, value in further.items() if value is not None}


@dataclass(frozen=True)
class Reply:
    """What came back. ``error`` is set when nothing did, and then ``text`` means nothing."""

    text: str = ""
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    error: str | None = None
    choices: tuple[Scored, ...] | None = None
    """The likelihoods of the request's choices, where it has any."""


Row = dict[str, Any]
"""One raw row of a data file: column name to value."""
