"""From choices to spans and calls, and from their values back: with a small tokenizer whose merges are known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ocli.engines._calls import Answer, calls_of, values_of
from ocli.likelihood import Span, SpanScore, query
from ocli.tokens import Encoder, OverlongError, UnaskableError
from ocli.types import Choice, Request, Sampling

pytest.importorskip("transformers", reason="needs transformers: pip install 'ocli[hf]'")
pytestmark = pytest.mark.hf

MERGES = [(":", " "), (": ", "C"), (" ", "A"), (" ", "B"), ("A", "B")]


def encoder(bos: bool = True, context: int | None = None) -> Encoder:
    """Characters are tokens, but for ``": "``, ``": C"``, ``" A"``, ``" B"`` and ``"AB"``."""
    from tokenizers import Tokenizer, models, processors
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(32, 127)] + ["\n"]
    words = ["<s>", "</s>", *letters, *("".join(pair) for pair in MERGES)]
    inner = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, MERGES))
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>" if bos else None, eos_token="</s>")
    return Encoder(tokenizer, chat=False, path="toy", context=context)


def request(*choices: tuple[str, str] | Choice, **settings: Any) -> Request:
    made = tuple(choice if isinstance(choice, Choice) else Choice(*choice) for choice in choices)
    return Request("k", "t", "0", None, 0, Sampling(), choices=made, **settings)


def spelled(enc: Encoder, span: Span) -> tuple[list[str], list[str]]:
    """Return the tokens of a span: those before its start, those from it on."""
    words = enc.tokenizer.convert_ids_to_tokens(list(span.ids))
    return words[: span.start], words[span.start :]


@pytest.mark.parametrize(
    ("context", "text", "before", "scored"),
    [
        ("x", " A", ["<s>", "x"], [" A"]),
        ("x ", "A", ["<s>", "x"], [" A"]),  # a space at the context's end is the choice's
        ("x:", " C", ["<s>", "x"], [": C"]),  # the token that holds both is the choice's
        ("x: ", "C", ["<s>", "x"], [": C"]),
        ("x:", " B", ["<s>", "x"], [": ", "B"]),
        ("x:\n", "B", ["<s>", "x", ":", "\n"], ["B"]),  # a line break stays the context's
        ("", "AB", ["<s>"], ["AB"]),
        ("<s>x", "A", ["<s>", "x"], ["A"]),  # never two BOS
    ],
)
def test_context_and_choice_part_where_their_tokens_do(context: str, text: str, before: list[str], scored: list[str]) -> None:
    enc = encoder()
    [span] = query(request((context, text)), enc).spans()
    assert spelled(enc, span) == (before, scored)


def test_without_bos_nothing_stands_before_a_context_and_eos_before_a_bare_choice() -> None:
    enc = encoder(bos=False)
    [after] = query(request(("x", "A")), enc).spans()
    [alone] = query(request(("", "A")), enc).spans()
    assert spelled(enc, after) == (["x"], ["A"])
    assert spelled(enc, alone) == (["</s>"], ["A"])


def test_whole_sequences_are_asked_only_where_they_can_change_the_order() -> None:
    enc = encoder()
    same = query(request(("x", "A"), ("x", "C"), whole=True), enc)
    longer = query(request(("x", "A"), ("x", "CC"), whole=True), enc)
    apart = query(request(("x", "A"), ("y", "A"), whole=True), enc)
    assert [asked.whole for asked in (same, longer, apart)] == [False, True, True]
    assert [span.start for span in longer.spans()] == [1, 1]
    first, second = longer.choices({span: SpanScore([-1.0, *[-2.0] * (len(span.ids) - 2)], None) for span in longer.spans()})
    assert (first.own.logprob, first.own.tokens, first.context and first.context.logprob) == (-2.0, 1, -1.0)
    assert (second.own.logprob, second.own.tokens, second.context and second.context.tokens) == (-4.0, 2, 2)


def test_baseline_is_a_span_of_its_own() -> None:
    enc = encoder()
    asked = query(request(Choice("x", "A", ""), Choice("x", "A", "y")), enc)
    assert [spelled(enc, span) for span in asked.spans()] == [(["<s>", "x"], ["A"]), (["<s>"], ["A"]), (["<s>", "y"], ["A"])]
    scored = asked.choices({span: SpanScore([-float(len(span.ids))], [True]) for span in asked.spans()})
    assert [choice.baseline and choice.baseline.logprob for choice in scored] == [-2.0, -3.0]
    assert [choice.greedy for choice in scored] == [True, True]


@pytest.mark.parametrize(
    ("window", "spans"),
    [
        (None, [("<s>", "abcdefg")]),
        (10, [("<s>", "abcdefg")]),
        (3, [("<s>", "abc"), ("c", "def"), ("def", "g")]),
        (4, [("<s>", "abcd"), ("cd", "efg")]),
        (1, [("<s>", "a"), ("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "f"), ("f", "g")]),
    ],
)
def test_text_rolls_on_in_windows_that_reach_back(window: int | None, spans: list[tuple[str, str]]) -> None:
    enc = encoder()
    asked = query(request(("", "abcdefg"), rolling=True, window=window), enc)
    told = [("".join(before), "".join(scored)) for before, scored in (spelled(enc, span) for span in asked.spans())]
    assert told == spans


def test_nothing_is_cut_and_nothing_is_empty() -> None:
    with pytest.raises(OverlongError, match="6 tokens, the model's context 6"):
        query(request(("xxxx", "xx")), encoder(context=6))
    with pytest.raises(UnaskableError, match="the choice '' has no tokens"):
        query(request(("x", "A"), ("x", "")), encoder())
    asked = query(request(("x", "A")), encoder())
    with pytest.raises(UnaskableError, match="not a number"):
        asked.choices({asked.spans()[0]: SpanScore([math.nan], None)})
    [scored] = asked.choices({asked.spans()[0]: SpanScore([-math.inf], None)})
    assert scored.own.logprob is None


CASES: list[tuple[str, list[tuple[str, int]], int, int]] = [
    # what, spans as (ids, start), calls, ids computed as tails
    ("letters", [("ctxA", 3), ("ctxB", 3), ("ctxC", 3)], 1, 0),
    ("texts", [("ctxab", 3), ("ctxcd", 3)], 2, 2),
    ("same but for the last", [("ctxab", 3), ("ctxac", 3)], 1, 1),
    ("prefixes of each other", [("ctxa", 3), ("ctxab", 3), ("ctxabc", 3)], 3, 0),
    ("longest first", [("ctxabc", 3), ("ctxab", 3), ("ctxa", 3)], 1, 2),
    ("repeated", [("ctxab", 3), ("ctxab", 3)], 1, 1),
    ("contexts differ early", [("ctxab", 3), ("atxab", 3)], 2, 2),
    ("whole sequences", [("ctxab", 1), ("ctxcd", 1)], 2, 4),
    ("whole after part", [("ctxab", 3), ("ctxab", 1)], 1, 3),
]


@pytest.mark.parametrize(("spans", "count", "tails"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_calls_give_every_value_once(spans: list[tuple[str, int]], count: int, tails: int) -> None:
    """The value of an id here depends on all ids before it, so that a value from a wrong place shows."""
    asked = list(dict.fromkeys(Span(tuple(map(ord, ids)), start) for ids, start in spans))

    def value(ids: tuple[int, ...]) -> tuple[float, bool]:
        return -float(hash(ids) % 1000), hash(ids) % 2 == 0

    calls = calls_of(asked)
    assert len(calls) == count
    assert sum(len(call.prompt) - call.tail for call in calls) == tails
    answers = {
        call.prompt: Answer(
            [value(call.prompt[: at + 1]) for at in range(call.tail, len(call.prompt))],
            {token: value((*call.prompt, token)) for token in call.nexts},
        )
        for call in calls
    }
    for span, score in values_of(asked, answers).items():
        expected = [value(span.ids[: at + 1]) for at in range(span.start, len(span.ids))]
        assert list(score.logprobs) == [logprob for logprob, _ in expected]
        assert list(score.greedy or []) == [greedy for _, greedy in expected]
