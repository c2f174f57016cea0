"""From a request's choices to spans of token ids that an engine scores, and from their values back to the reply's choices.

Context and choice are tokenised together, and the choice begins where the tokens of both part from the tokens of the context
alone: a token that holds the end of the one and the beginning of the other is the choice's. Spaces at the end of a context
belong to the choice, because most tokenizers write a space and the word after it as one token (as lm-eval does,
``lm_eval/api/model.py``, TemplateLM._encode_pair, for any white space).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ocli.tokens import Encoder, UnaskableError
from ocli.types import Context, Likelihood, Request, Scored

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """Token ids of which those from ``start`` (at least 1) on are to be scored, each after all the ids before it."""

    ids: Ids
    start: int


@dataclass(frozen=True)
class SpanScore:
    """The natural log-probability of each scored id; ``greedy``: whether each was the most likely one, ``None``: not known."""

    logprobs: Sequence[float]
    greedy: Sequence[bool] | None = None


@dataclass(frozen=True)
class Asked:
    """One choice: its spans (several where a text rolls on), how many of the first ids are context, and its baseline's span."""

    text: str
    spans: tuple[Span, ...]
    context: int
    baseline: Span | None = None


@dataclass(frozen=True)
class Query:
    """What a request asks of the model; ``whole``: spans begin at the second id, and hold the context's likelihood too."""

    asked: tuple[Asked, ...]
    whole: bool

    def spans(self) -> list[Span]:
        """Every span that has anything to score, once, in the choices' order; baselines come last."""
        found = [span for asked in self.asked for span in asked.spans]
        found += [asked.baseline for asked in self.asked if asked.baseline]
        return [span for span in dict.fromkeys(found) if span.start < len(span.ids)]

    def choices(self, scores: Mapping[Span, SpanScore]) -> tuple[Scored, ...]:
        """Make the reply's choices of the values of ``spans()``."""
        return tuple(self._scored(asked, scores) for asked in self.asked)

    def _scored(self, asked: Asked, scores: Mapping[Span, SpanScore]) -> Scored:
        values = [scores.get(span, NOTHING) for span in asked.spans]
        logprobs = [value for score in values for value in score.logprobs]
        greedy = [flag for score in values for flag in score.greedy or ()]
        split = asked.context - 1 if self.whole else 0
        baseline = scores.get(asked.baseline, NOTHING) if asked.baseline else None
        return Scored(
            asked.text,
            total(logprobs[split:], len(logprobs) - split),
            all(greedy[split:]) if len(greedy) == len(logprobs) else None,
            total(logprobs[:split], asked.context) if self.whole else None,
            total(baseline.logprobs, len(baseline.logprobs)) if baseline else None,
        )


def total(logprobs: Sequence[float], tokens: int) -> Likelihood:
    """Add up; a probability of zero is below every other and is written as none. Raise UnaskableError on what is no number."""
    added = math.fsum(logprobs)
    if math.isnan(added):
        raise UnaskableError("the model's log-probability of a choice is not a number (nan)")
    return Likelihood(None if math.isinf(added) else added, tokens)


NOTHING = SpanScore((), ())


def query(request: Request, encoder: Encoder) -> Query:
    """Tokenise a request's choices; raise UnaskableError when the model cannot be asked them."""
    if request.rolling:
        return _rolling(request, encoder)
    parts = _tokenise([(choice.context, choice.text) for choice in request.choices], encoder, request.whole)
    for choice, (ids, start) in zip(request.choices, parts, strict=True):
        if request.single and len(ids) - start != 1:
            raise UnaskableError(f"by: clp needs choices of one token, but {choice.text!r} is {len(ids) - start}; use 'by: sum'")
        encoder.refuse_overlong(len(ids) - 1)
    # After the same context and with as many tokens each, whole sequences rank as the choices alone do.
    whole = request.whole and len({(len(ids), ids[:start]) for ids, start in parts}) > 1
    spans = [Span(ids, 1 if whole else start) for ids, start in parts]
    baselines: list[Span | None] = [None] * len(parts)
    alone = [(choice.baseline, choice.text) for choice in request.choices if choice.baseline is not None]
    if alone:
        baselines = [Span(ids, start) for ids, start in _tokenise(alone, encoder, whole=False)]
    asked = zip(request.choices, spans, parts, baselines, strict=True)
    return Query(tuple(Asked(choice.text, (span,), start, base) for choice, span, (_, start), base in asked), whole)


def _tokenise(pairs: Sequence[tuple[Context, str]], encoder: Encoder, whole: bool) -> list[tuple[Ids, int]]:
    """Tokenise each context and text together; return the ids and the index at which the text begins."""
    # Choices share one context object as a rule, and turns cannot be hashed.
    rendered = {id(context): encoder.render(context) for context in {id(context): context for context, _ in pairs}.values()}
    ids = encoder.ids([*(text.rstrip(" ") for text in rendered.values()), *(rendered[id(c)] + text for c, text in pairs)])
    before = dict(zip(rendered, ids, strict=False))
    parts = []
    for (context, text), joint in zip(pairs, ids[len(rendered) :], strict=True):
        start = common(before[id(context)], joint)
        if start >= len(joint):
            raise UnaskableError(f"the choice {text!r} has no tokens after its context")
        if start == 0 and not whole:  # the first id needs one before it
            joint, start = [*encoder.start_ids, *joint], len(encoder.start_ids)
        parts.append((tuple(joint), max(1, start)))
    return parts


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many ids two sequences begin with alike."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:  # as a rule a context is the beginning of the whole
        return high
    while low < high - 1:  # alike up to low, not alike up to high
        middle = (low + high) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle)
    return low


def _rolling(request: Request, encoder: Encoder) -> Query:
    """Cut a text into windows that each score what the one before did not, with as much before it as there is room for.

    As lm-eval does it (``lm_eval/utils.py``, get_rolling_token_windows with context_len=1, and make_disjoint_window): the first
    window begins after BOS (EOS where there is none), the last one reaches back so that it is as long as the others.
    """
    [choice] = request.choices
    ids = encoder.ids([choice.text])[0][len(encoder.prefix) :]
    if not ids:
        raise UnaskableError("the text has no tokens")
    room = request.window or encoder.room
    encoder.refuse_overlong(min(room, len(ids)))
    line = [*encoder.start_ids[-1:], *ids]  # what is predicted at index i of the ids stands at i + 1 here
    spans = []
    for begin in range(0, len(ids), room):
        end = min(begin + room, len(ids))
        first = max(0, end - room)
        spans.append(Span(tuple(line[first : end + 1]), begin - first + 1))
    return Query((Asked(choice.text, tuple(spans), 1),), whole=False)
