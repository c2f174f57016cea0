"""Scores trees of spans with a transformers model: what spans share is computed once, and no logits are made that nobody reads.

A row of a forward is a tree: each of its tokens attends to its ancestors alone, so choices lie side by side after the one context
they share. What all rows of a batch begin with is computed before, as one row, and kept for the next batch. Only the positions
that predict a scored id go through the model's output head, a few at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ocli.engines._head import Head
from ocli.engines._trees import Tree, lines_of, stem_of
from ocli.errors import EngineError
from ocli.likelihood import Ids, Span, SpanScore, common

LOGITS = 64 << 20
"""Bytes of float32 logits made at once."""
LEAST = 32
"""So many tokens must be shared by a batch to be worth a forward of their own."""
TRIAL = 24
"""Tokens of the trial that says what a model can do."""

Value = tuple[float, bool]
"""The natural log-probability of an id after the ids before it, and whether it was the most likely one."""
Want = tuple[int, int, int]
"""A row, a position in it, and the id that may follow there."""


@dataclass(frozen=True)
class Scores:
    """A tree's values; ``prompt`` tokens were asked, each once, of which ``cached`` had been computed before."""

    spans: dict[Span, SpanScore]
    prompt: int
    cached: int
    seconds: float


class Scorer:
    """One model's way of scoring, found out by a trial when the first batch comes.

    ``reach`` is how many tokens a row may have to be scored as a tree: as many as the smallest attention window holds, none where
    the model's cache is more than keys and values or its attention takes no mask of ours. Longer rows go span by span.
    """

    def __init__(self, torch: Any, model: Any, context: int, pad: int) -> None:
        self.closed = False
        self.reach: float = 0
        self._torch, self._model, self._pad = torch, model, pad
        config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
        self._vocabulary = int(config.vocab_size)
        self._head: Head | None = None
        self._trial = tuple((3 + 37 * number) % self._vocabulary for number in range(min(TRIAL, context)))
        self.forget()

    def forget(self) -> None:
        """Give back the memory of what is kept for the next batch."""
        self._ids: Ids = ()
        self._layers: list[tuple[Any, Any]] = []
        self._values: list[Value] = []

    def score(self, trees: Sequence[Tree], tokens: int) -> list[Scores]:
        """Score trees; ``tokens`` bounds a forward where they cannot be its rows."""
        began = time.perf_counter()
        with self._torch.inference_mode():
            if self._trial:
                self._try(self._trial)
                self._trial = ()
            longest = max(len(span.ids) for tree in trees for span in tree.paths)
            shared, known = self._prefix(trees) if longest <= self.reach else (0, 0)
            values = self._score_trees(trees, shared) if longest <= self.reach else self._score_lines(trees, tokens)
        seconds = (time.perf_counter() - began) / len(trees)
        cached = [known, *[shared] * (len(trees) - 1)]
        return [Scores(each, len(tree.ids), count, seconds) for each, tree, count in zip(values, trees, cached, strict=True)]

    def _prefix(self, trees: Sequence[Tree]) -> tuple[int, int]:
        """Keep what these trees begin with; return how many tokens that is, and how many of them were kept already."""
        ids = stem_of(trees)
        alike = common(self._ids, ids)
        if max(LEAST, len(ids) - LEAST) <= alike:  # a few ids more are not worth a forward
            ids = ids[:alike]
        if len(ids) <= LEAST:
            return 0, 0
        if alike < len(ids):
            self._keep(ids, max(0, alike - 1))
        shared = len(ids) - 1  # every row has the last shared id itself: what follows it differs
        return shared, min(alike, shared)

    def _keep(self, ids: Ids, begin: int) -> None:
        """Compute keys, values and likelihoods of ids whose first ``begin`` are those that are kept, and keep them instead."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(self._layers if begin else ()):
            cache.update(keys[:, :, :begin], values[:, :, :begin], index)
        states = self._states(input_ids=self._tensor([ids[begin:]]), past_key_values=cache, use_cache=True)
        fresh = self._read(states, [(0, at - begin - 1, ids[at]) for at in range(begin + 1, len(ids))])
        self._values = [*self._values[: begin + 1], *fresh] if begin else [(0.0, True), *fresh]  # the first id has no value
        self._layers = [(layer.keys, layer.values) for layer in cache.layers]
        self._ids = ids

    def _score_trees(self, trees: Sequence[Tree], shared: int) -> list[dict[Span, SpanScore]]:
        """Score each tree as a row that goes on after the first ``shared`` of its nodes, which are kept."""
        width = max(len(tree.ids) for tree in trees) - shared
        states = self._states(
            input_ids=self._tensor([_filled(tree.ids[shared:], width, self._pad) for tree in trees]),
            position_ids=self._tensor([_filled(tree.depth[shared:], width, 0) for tree in trees]),
            attention_mask=self._mask(trees, shared, width),
            past_key_values=self._branches(len(trees), shared) if shared else None,
            use_cache=shared > 0,
        )
        return self._collect(states, trees, shared)

    def _score_lines(self, trees: Sequence[Tree], tokens: int) -> list[dict[Span, SpanScore]]:
        """Score line by line, each from its first id on, as any causal model can: what pads a row comes after it."""
        lines = [line for tree in trees for line in lines_of(tree)]
        lines.sort(key=lambda line: -len(line.ids))
        if self._head is None:  # logits of every position come back
            tokens = min(tokens, LOGITS // (4 * self._vocabulary))
        found: dict[Span, SpanScore] = {}
        while lines:
            width = len(lines[0].ids)
            size = max(1, tokens // width)
            rows, lines = lines[:size], lines[size:]
            states = self._states(
                input_ids=self._tensor([_filled(line.ids, width, self._pad) for line in rows]),
                attention_mask=self._tensor([_filled([1] * len(line.ids), width, 0) for line in rows]),
                use_cache=False,
            )
            for values in self._collect(states, rows, 0):
                found |= values
        return [{span: found[span] for span in tree.paths} for tree in trees]

    def _collect(self, states: Any, trees: Sequence[Tree], shared: int) -> list[dict[Span, SpanScore]]:
        """Read the value of every scored id; the kept ones have theirs already."""
        wanted = dict.fromkeys(
            want for row, tree in enumerate(trees) for span in tree.paths for want in _wants(row, tree, span, shared)
        )
        found = dict(zip(wanted, self._read(states, list(wanted)), strict=True))
        scores: list[dict[Span, SpanScore]] = []
        for row, tree in enumerate(trees):
            scores.append({})
            for span in tree.paths:
                line = self._values[span.start : shared + 1] if shared else []
                line = [*line, *(found[want] for want in _wants(row, tree, span, shared))]
                scores[-1][span] = SpanScore([value for value, _ in line], [best for _, best in line])
        return scores

    def _read(self, states: Any, wanted: Sequence[Want]) -> list[Value]:
        """Return the value of each wanted id, from as many logits at a time as ``LOGITS`` allows."""
        size = max(1, LOGITS // (4 * self._vocabulary))
        values: list[Value] = []
        for begin in range(0, len(wanted), size):
            rows, places, ids = self._tensor(wanted[begin : begin + size]).to(states.device).unbind(1)
            picked = states[rows, places]
            logits = (picked if self._head is None else self._head(picked)).float()
            ids = ids.to(logits.device)
            logprobs = logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(1)
            values += zip(logprobs.tolist(), (logits.argmax(1) == ids).tolist(), strict=True)
        return values

    def _states(self, **inputs: Any) -> Any:
        """Run the model; return what goes into its head, rows x positions x features, or its logits where there is no way in."""
        if self.closed:
            raise EngineError("interrupted")
        return self._model(**inputs).logits if self._head is None else self._head.states(**inputs)

    def _mask(self, trees: Sequence[Tree], shared: int, width: int) -> Any:
        """Return what is added to attention, rows x 1 x width x (shared + width): all see the shared, and their ancestors."""
        torch, device = self._torch, self._model.device
        # What pads a row sees itself: a softmax needs something.
        ends = [[end - shared for end in tree.end[shared:]] for tree in trees]
        ends = [[*end, *range(len(end) + 1, width + 1)] for end in ends]
        at, end = torch.arange(width, device=device), self._tensor(ends)
        sees = (at[:, None] >= at) & (at[:, None] < end[:, None, :])
        mask = torch.zeros(len(trees), 1, width, shared + width, dtype=self._model.dtype, device=device)
        mask[:, 0, :, shared:].masked_fill_(~sees, torch.finfo(mask.dtype).min)
        return mask

    def _branches(self, rows: int, shared: int) -> Any:
        """Return a cache in which every row goes on from the kept keys and values, without a copy that outlives its layer."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        class Branch(DynamicLayer):  # type: ignore[misc]
            def update(self, keys: Any, values: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
                past = [kept.expand(rows, -1, -1, -1) for kept in (self.keys, self.values)]
                return torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)

        torch, cache = self._torch, DynamicCache()
        for keys, values in self._layers:
            layer = Branch()
            layer.keys, layer.values = keys[:, :, :shared], values[:, :, :shared]
            layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
            cache.layers.append(layer)
        return cache

    def _tensor(self, rows: Any) -> Any:
        return self._torch.tensor(rows, device=self._model.device)

    def _try(self, line: Ids) -> None:
        """Find out on a short line whether the head can run by itself and rows be trees: both must give the plain values."""
        half = len(line) // 2
        spans = [Span(line, 1), Span((*line[:half], *reversed(line[half:])), 1)]
        tree, *lines = map(Tree, (spans[0], *spans))
        tree.add(spans[1])
        truth = self._score_lines(lines, 1)
        self._head = Head(self._torch, self._model)
        if not self._agrees(lambda: self._score_lines(lines, 1), truth):
            self._head = None
            return

        def as_trees() -> list[dict[Span, SpanScore]]:
            self._keep(tree.stem, 0)
            [both, one] = self._score_trees([tree, lines[0]], len(tree.stem) - 1)
            return [one, {spans[1]: both[spans[1]]}]

        window = self._window(line)
        self.reach = window if window and self._agrees(as_trees, truth) else 0
        self.forget()

    def _window(self, line: Ids) -> float:
        """Return how many tokens every layer attends to, by its cache; 0 where the cache holds anything but keys and values."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        cache = getattr(self._model(input_ids=self._tensor([line]), use_cache=True), "past_key_values", None)
        layers: Sequence[Any] = getattr(cache, "layers", ()) if type(cache) is DynamicCache else ()
        if not layers or not {type(layer) for layer in layers} <= {DynamicLayer, DynamicSlidingWindowLayer}:
            return 0
        return min(getattr(layer, "sliding_window", float("inf")) for layer in layers)

    def _agrees(self, score: Callable[[], list[dict[Span, SpanScore]]], truth: list[dict[Span, SpanScore]]) -> bool:
        """Whether a way of scoring works on this model and gives these values, but for rounding."""
        try:
            found = score()
        except (EngineError, self._torch.cuda.OutOfMemoryError):
            raise
        except Exception:  # noqa: BLE001 - a model's own code raises what it likes at what it does not know
            return False
        exact = self._model.dtype in (self._torch.float32, self._torch.float64)
        pairs = [
            pair for one, other in zip(found, truth, strict=True) for span in other for pair in _pairs(one[span], other[span])
        ]
        size = sum(abs(value) for _, value in pairs)
        return sum(abs(value - same) for value, same in pairs) <= (1e-4 if exact else 2e-2) * size


def _pairs(one: SpanScore, other: SpanScore) -> Iterator[tuple[float, float]]:
    return zip(one.logprobs, other.logprobs, strict=True)


def _wants(row: int, tree: Tree, span: Span, shared: int) -> Iterator[Want]:
    """Yield the scored ids of a span that are not among the shared ones, each with the position that predicts it."""
    path = tree.paths[span]
    for at in range(max(span.start, shared + 1), len(span.ids)):
        yield row, path[at - 1] - shared, span.ids[at]


def _filled(values: Sequence[int], width: int, filler: int) -> list[int]:
    return [*values, *[filler] * (width - len(values))]
