"""The values that pass between rooms: a request goes into an engine, a reply comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

Role = Literal["system", "user", "assistant"]


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


@dataclass(frozen=True)
class Request:
    """One rendered prompt with its settings: ``messages`` for a chat model, ``prompt`` for a base model."""

    key: str
    task: str
    id: str
    subset: str | None
    sample: int
    sampling: Sampling
    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    oracle: str = ""
    """The right answer as the prompt file writes it. Only ``echo`` reads it; it is not part of the key."""


@dataclass(frozen=True)
class Usage:
    """Token counts of one request; ``None`` where the engine does not say."""

    prompt: int | None = None
    cached: int | None = None
    completion: int | None = None


@dataclass(frozen=True)
class Reply:
    """What came back. ``error`` is set when nothing did, and then ``text`` means nothing."""

    text: str = ""
    reasoning: str | None = None
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    error: str | None = None


Row = dict[str, Any]
"""One raw row of a data file: column name to value."""
