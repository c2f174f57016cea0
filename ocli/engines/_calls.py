"""From spans to as few calls of an engine as give their values: what choices share is computed once.

A call is a prompt whose last ids are scored (its tail) and a set of ids that may come next. Choices that differ in their last
token only are one call; a choice that begins as another one takes the shared tokens' values from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ocli.likelihood import Ids, Span, SpanScore, common

Value = tuple[float, bool | None]
"""The log-probability of an id after the ids before it, and whether it was the most likely one."""


@dataclass
class Call:
    """Score the ids of ``prompt`` from ``tail`` on, and each of ``nexts`` as the one that follows it."""

    prompt: Ids
    tail: int
    nexts: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """A call's values: of the tail's ids in their order, and of each next id."""

    tail: Sequence[Value]
    nexts: dict[int, Value]


def calls_of(spans: Sequence[Span]) -> list[Call]:
    """Return the calls whose answers ``values_of`` needs to give every span's values."""
    calls: dict[Ids, Call] = {}
    for number, span in enumerate(spans):
        known = _shared(spans, number)[0]
        if known < len(span.ids):
            prompt = span.ids[:-1]
            call = calls.setdefault(prompt, Call(prompt, len(prompt)))
            call.tail = min(call.tail, known)
            if span.ids[-1] not in call.nexts:
                call.nexts.append(span.ids[-1])
    return list(calls.values())


def values_of(spans: Sequence[Span], answers: dict[Ids, Answer]) -> dict[Span, SpanScore]:
    """Put the calls' answers together again, span by span."""
    found: list[dict[int, Value]] = []
    scores = {}
    for number, span in enumerate(spans):
        known, source = _shared(spans, number)
        values = {at: found[source][at] for at in range(span.start, known)}
        if known < len(span.ids):
            answer = answers[span.ids[:-1]]
            first = len(span.ids) - 1 - len(answer.tail)
            values |= {at: answer.tail[at - first] for at in range(known, len(span.ids) - 1)}
            values[len(span.ids) - 1] = answer.nexts[span.ids[-1]]
        found.append(values)
        line = [values[at] for at in range(span.start, len(span.ids))]
        flags = [flag for _, flag in line if flag is not None]
        scores[span] = SpanScore([value for value, _ in line], flags if len(flags) == len(line) else None)
    return scores


def _shared(spans: Sequence[Span], number: int) -> tuple[int, int]:
    """Return up to which index an earlier span has this one's values, and which span that is."""
    span = spans[number]
    best, source = span.start, number
    for earlier in range(number):
        other = spans[earlier]
        if other.start <= span.start:
            alike = common(span.ids, other.ids)
            if alike > best:
                best, source = alike, earlier
    return best, source
