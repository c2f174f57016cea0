"""Likelihoods from OpenAI-compatible servers: a toy model behind a real local server, and the command line on top of it."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Ocli, Write
from server import Answer, Server, Toy, serving

from ocli import engines
from ocli.documents import Document
from ocli.engines._openai.echo import read_echo
from ocli.engines._openai.letters import read_next
from ocli.engines._openai.reply import MalformedError
from ocli.engines._openai.spelling import first_of, places
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.schema import validate
from ocli.task import TaskSpec
from ocli.types import Choice, Context, Reply, Request, Sampling, Scored

LETTERS = "['A', 'B', 'C', 'D']"
SPELLINGS = json.loads((Path(__file__).parent / "cases" / "spelling.json").read_text(encoding="utf-8"))


def task(**values: Any) -> TaskSpec:
    rules = [{"by": "sum", "metric": "accuracy"}]
    keys = {"mode": "loglikelihood", "choices": LETTERS, "prompt": "q", "data": {"local": "x", "fields": {"target": "a"}}}
    spec: TaskSpec = validate(Document(Path("t.yaml"), {**keys, "score": rules, **values}), TaskSpec)
    return spec


PERPLEXITY = {"mode": "perplexity", "choices": None, "score": [{"metric": "token_perplexity"}]}


def request(*texts: str, context: Context = "Q? Answer:", baseline: str | None = None, **values: Any) -> Request:
    choices = tuple(Choice(context, text, baseline) for text in texts)
    return Request("k", "t", "0", None, 0, Sampling(), choices=choices, **values)


def chat(text: str) -> Context:
    return ({"role": "user", "content": text},)


def ask(server: Server, *requests: Request, spec: TaskSpec | None = None, **model: Any) -> list[Reply]:
    """Ask a server as a run does: check, start, then all requests at the same time."""
    keys = {"engine": "openai", "path": "toy", "base_url": server.url, "chat": False, "args": {"max_retries": 0}, **model}
    engine = engines.load(validate(Document(Path("test"), keys), ModelSpec))

    async def run() -> list[Reply]:
        try:
            await engine.start()
            return list(await asyncio.gather(*map(engine.loglikelihood, requests)))
        finally:
            await engine.close()

    engine.check({"t": spec or task()})
    return asyncio.run(run())


def scored(reply: Reply) -> tuple[Scored, ...]:
    assert reply.error is None
    assert reply.choices is not None
    return reply.choices


TEXTS = [
    ("Q? Answer:", " yes and no"),
    ("Q? Answer: ", "yes and no"),  # the space is the choice's
    ("Q? Answer:   ", "yes"),
    ("Q?\nAnswer:", "\nA"),
    ("Q? Answer (", "A) yes"),  # a token on both sides
    ("问题？答案：", "对"),
    ("", "yes and no"),
]


@pytest.mark.parametrize("offsets", [True, False])
@pytest.mark.parametrize(("context", "text"), TEXTS)
def test_echoed_likelihoods_are_the_models(context: str, text: str, offsets: bool) -> None:
    toy = Toy(offsets=offsets)
    with serving(toy) as server:
        [reply] = ask(server, request(text, context=context))
    [choice] = scored(reply)
    assert choice.own.logprob == pytest.approx(toy.value(context, text))
    inner = toy.tokens(context + text)
    assert choice.own.tokens == len(inner) - len(toy.tokens(context.rstrip(" "))) + (text == "A) yes")
    assert choice.greedy is False
    assert (choice.context, choice.baseline) == (None, None)


def test_each_choice_is_one_request_and_the_probe_comes_first() -> None:
    with serving(Toy()) as server:
        ask(server, request(" A", " B", " A", baseline="Answer:"))
    bodies = [body for _, body, _ in server.seen]
    assert [path for path, _, _ in server.seen] == ["/v1/completions"] * 5
    assert "1 + 1" in bodies[0]["prompt"]
    assert sorted(body["prompt"] for body in bodies[1:]) == ["Answer: A", "Answer: B", "Q? Answer: A", "Q? Answer: B"]
    wanted = {"model": "toy", "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    assert all(body == {**wanted, "prompt": body["prompt"]} for body in bodies)


def test_whole_sequence_and_baseline_have_their_own_likelihoods() -> None:
    toy = Toy()
    with serving(toy) as server:
        [reply] = ask(server, request(" yes", " no no", baseline="Answer:", whole=True))
    for choice in scored(reply):
        assert choice.own.logprob == pytest.approx(toy.value("Q? Answer:", choice.text))
        assert choice.context is not None
        assert choice.baseline is not None
        assert choice.context.logprob == pytest.approx(toy.value("", "Q? Answer:"))
        assert choice.context.tokens == 5  # BOS is counted and has no likelihood
        assert choice.baseline.logprob == pytest.approx(toy.value("Answer:", choice.text))


def test_choice_that_greedy_decoding_would_write_is_said_to_be_one() -> None:
    toy = Toy()
    first, second = toy.next("Q? Answer:", 2)
    with serving(toy) as server:
        [reply] = ask(server, request(first, second))
        [letters] = ask(server, request(first, second))
    assert [choice.greedy for choice in scored(reply)] == [choice.greedy for choice in scored(letters)] == [True, False]


def test_without_bos_the_first_token_is_not_scored() -> None:
    toy = Toy(bos="")
    rolling = request("yes and no", context="", rolling=True)
    with serving(toy) as server:
        [reply] = ask(server, rolling, spec=task(**PERPLEXITY))
        [alone, whole] = ask(server, request("yes", context=""), request(" no", context="yes", whole=True))
    [text] = scored(reply)
    assert (text.own.tokens, text.own.logprob) == (2, pytest.approx(toy.value("yes", " and no")))
    assert "has nothing before it" in (alone.error or "")
    assert scored(whole)[0].context == replace(text.own, logprob=0.0, tokens=1)


def test_text_is_scored_whole_and_one_that_is_too_long_fails_alone() -> None:
    toy = Toy(refused="far too")
    texts = [
        request(text, context="", rolling=True, window=4) for text in ("yes and no", "far too long", "one two three four five")
    ]
    with serving(toy) as server:
        replies = ask(server, *texts, spec=task(**PERPLEXITY, window=4))
    assert scored(replies[0])[0].own.logprob == pytest.approx(toy.value("", "yes and no"))
    assert replies[1].error == "the prompt is longer than the model takes: HTTP 400: the prompt is too long"
    assert "the text has 5 tokens, the task's window 4" in (replies[2].error or "")


def spell_in_sentencepiece(token: str) -> str:
    return token.lstrip(" ")


@pytest.mark.parametrize("spell", [spell_in_sentencepiece, lambda token: token.replace(" ", "▁")])
def test_tokens_that_do_not_show_their_space_are_found(spell: Any) -> None:
    toy = Toy(spell=spell)
    with serving(toy) as server:
        [reply] = ask(server, request(" yes sir", context="A b c:"))
    assert scored(reply)[0].own.logprob == pytest.approx(toy.value("A b c:", " yes sir"))


@pytest.mark.parametrize("case", SPELLINGS, ids=[case["why"] for case in SPELLINGS])
def test_spelling(case: dict[str, Any]) -> None:
    found = places(case["tokens"], case["prompt"])
    start = first_of(found, len(case["context"].encode())) if found else "other"
    assert ("ambiguous" if start is None else start) == case["start"]


def echo_answer(tokens: Any, values: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"logprobs": {"tokens": tokens, "token_logprobs": values, **more}}]}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"choices": [{"logprobs": None}]}, "no log-probabilities of a prompt's tokens"),
        ({"choices": [{"text": "a b c"}]}, "no log-probabilities of a prompt's tokens"),
        (echo_answer(None, None), "no log-probabilities of a prompt's tokens"),
        (echo_answer([" c"], [-1]), "tokens that are not the prompt's"),  # llama.cpp: the generated one alone
        (echo_answer(["a", " b", "!"], [None, -1]), "no log-probabilities of a prompt's tokens"),
        (echo_answer(["a", " b", "!"], [None, "-1", -1]), "is no number: '-1'"),
        (echo_answer(["a", " b", "!"], [None, math.nan, -1]), "is no number: nan"),
        (echo_answer(["?", "?", "!"], [None, -1, -1], text_offset=[0, 1, 4]), "tokens that are not the prompt's"),
    ],
)
def test_echo_of_another_shape_is_refused(answer: Any, words: str) -> None:
    with pytest.raises(MalformedError, match=words):
        read_echo(answer, "a b")


def test_offsets_are_taken_where_they_fit_and_the_texts_do_not() -> None:
    echo = read_echo(echo_answer(["?", "?", "!"], [None, -1, -2], text_offset=[0, 1, 3]), "a b")
    assert (echo.begin("a"), echo.sum(1).logprob) == (1, -1)


@pytest.mark.parametrize("value", [-math.inf, -9999.0])
def test_probability_of_zero_is_none(value: float) -> None:
    assert read_echo(echo_answer(["a", " b", "!"], [None, value, -1]), "a b").sum(1).logprob is None


def test_token_without_a_value_is_an_error_not_a_smaller_sum() -> None:
    with pytest.raises(MalformedError, match="no log-probability for a token"):
        read_echo(echo_answer(["a", " b", " c", "!"], [None, None, -1, -1]), "a b c").sum(1)


@pytest.mark.parametrize("most", [20, 5])
@pytest.mark.parametrize("in_turns", [True, False])
def test_letters_from_next_tokens(in_turns: bool, most: int) -> None:
    toy = Toy(echo=False, most=most)
    context = chat("Q? Answer:") if in_turns else "Q? Answer:"
    with serving(toy) as server:
        [reply] = ask(server, request("A", "B", "C", "D", context=context, whole=True), chat=in_turns)
    tops = toy.next("Q? Answer:", most)
    for choice in scored(reply):
        exact = tops.get(choice.text, tops.get(f" {choice.text}"))
        assert choice.own.logprob == exact
        assert choice.own.tokens == 1
        assert choice.greedy is (exact == max(tops.values()))
    [*_, (path, body, _)] = server.seen
    probes = (not in_turns) + 1 + (most == 5)
    assert len(server.seen) == probes + 1
    assert path == ("/v1/chat/completions" if in_turns else "/v1/completions")
    asked = {"logprobs": True, "top_logprobs": most} if in_turns else {"logprobs": most}
    place = {"messages": list(context)} if in_turns else {"prompt": context}
    assert body == {"model": "toy", "max_tokens": 1, "temperature": 0, **asked, **place}


@pytest.mark.parametrize(
    ("context", "text", "prompt", "token"),
    [
        ("Answer: ", "A", "Answer:", " A"),  # the space is the choice's
        ("Answer:", "\nA", "Answer:\n", "A"),  # the line's end is not
        ("Answer:", " A", "Answer:", " A"),
    ],
)
def test_white_space_between_context_and_letter(context: str, text: str, prompt: str, token: str) -> None:
    toy = Toy(echo=False)
    with serving(toy) as server:
        [reply] = ask(server, request(text, context=context))
    assert server.seen[-1][1]["prompt"] == prompt
    assert scored(reply)[0].own.logprob == toy.next(prompt, 99)[token]


def test_letter_that_is_not_among_the_tokens_has_no_value() -> None:
    with serving(Toy(echo=False, hidden=("B", " B"))) as server:
        [reply] = ask(server, request("A", "B"))
    first, second = scored(reply)
    assert first.own.logprob is not None
    assert (second.own.logprob, second.own.tokens, second.greedy) == (None, 1, False)


def test_letters_after_a_baseline_are_asked_beside_those_after_the_context() -> None:
    toy = Toy(echo=False)
    with serving(toy) as server:
        [reply] = ask(server, request(" A", " B", baseline="Reply:"))
    assert [choice.baseline and choice.baseline.logprob for choice in scored(reply)] == [
        toy.next("Reply:", 99)[" A"],
        toy.next("Reply:", 99)[" B"],
    ]
    assert len(server.seen) == 2 + 2


def test_choice_that_turns_out_to_be_no_letter_is_its_items_error() -> None:
    with serving(Toy()) as server:
        spec = task(choices="[a, b]", twin="t_gen")
        [text, letter] = ask(
            server, request("yes", "B", context=chat("Q?")), request("A", context=chat("Q?")), spec=spec, chat=True
        )
    assert text.error == ("the choice 'yes' is no single letter, and this server tells next tokens only; ask -t t_gen instead")
    assert letter.error is None
    assert len(server.seen) == 2


def test_different_contexts_cannot_be_compared_by_next_tokens() -> None:
    choices = tuple(Choice(f"Is it {letter}? Answer:", f" {letter}") for letter in "AB")
    asked = replace(request("A"), choices=choices)
    with serving(Toy(echo=False)) as server:
        apart, whole = ask(server, asked, replace(asked, whole=True))
    assert apart.error is None
    assert "have different contexts" in (whole.error or "")


@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": [{"token": "A", "logprob": -1, "top_logprobs": [{"token": "B", "logprob": -2}]}]},
        {"tokens": ["A"], "token_logprobs": [-1], "top_logprobs": [{"B": -2}]},
        {"tokens": ["A"], "token_logprobs": [-1], "top_logprobs": [[{"token": "B", "logprob": -2}]]},
        {"top_logprobs": [{"A": -1, "B": -2}]},
    ],
)
def test_next_tokens_are_read_in_every_shape(logprobs: Any) -> None:
    assert sorted(read_next({"choices": [{"logprobs": logprobs}]})) == [("A", -1), ("B", -2)]


@pytest.mark.parametrize(
    ("toy", "values", "model", "words", "requests"),
    [
        (
            Toy(echo=False),
            {"choices": "['yes', 'no']"},
            {},
            r"\(echo; HTTP 400: echo is not supported\); task t: ask -t t_gen",
            1,
        ),
        (Toy(echo=False), PERPLEXITY, {}, r"\(echo; HTTP 400: echo is not supported\); task t: ask -t t_gen", 1),
        (Toy(echo=False, most=0), {}, {}, r"next tokens \(HTTP 400: logprobs must be at most 0\); task t: ask -t t_gen", 3),
        (Toy(most=0), {}, {"chat": True}, r"next tokens \(HTTP 400: logprobs must be at most 0\); task t: ask -t t_gen", 2),
        (Toy(), {"choices": "['yes', 'no']"}, {"chat": True}, "of single letters only; task t: ask -t t_gen", 0),
        (Toy(), PERPLEXITY, {"chat": True}, "of single letters only; task t: ask -t t_gen", 0),
        (Toy(), {"baseline": "'Answer:'"}, {"chat": True}, "no text without them to compare with; task t: ask -t t_gen", 0),
    ],
)
def test_server_that_cannot_is_refused_before_any_question(
    toy: Toy, values: dict[str, Any], model: dict[str, Any], words: str, requests: int
) -> None:
    with serving(toy) as server, pytest.raises(EngineError, match=words) as caught:
        ask(server, request("A"), spec=task(twin="t_gen", **values), **model)
    assert "\n" not in str(caught.value)
    assert len(server.seen) == requests
    assert not any("Q?" in json.dumps(body) for _, body, _ in server.seen)


def test_without_a_twin_a_local_engine_is_named() -> None:
    with (
        serving(Toy()) as server,
        pytest.raises(EngineError, match=r"task t: ask a local engine \(vllm or transformers\) instead"),
    ):
        ask(server, request("A"), spec=task(**PERPLEXITY), chat=True)


@pytest.mark.parametrize(
    "logprobs",
    [None, {"tokens": [" x"], "token_logprobs": [-1.0], "top_logprobs": [{" x": -1.0}]}, {"content": []}],
)
def test_server_that_takes_the_question_and_sends_no_values_is_refused(logprobs: Any) -> None:
    answer: Answer = 200, {"choices": [{"index": 0, "text": " x", "logprobs": logprobs}]}
    with serving(lambda path, body: answer) as server, pytest.raises(EngineError, match=r"\(its reply has no log-probabilities"):
        ask(server, request("A"))


@pytest.mark.parametrize(("status", "words"), [(401, "refuses: go away"), (429, "refuses: HTTP 429: go away")])
def test_refusal_of_the_probe_that_says_nothing_of_likelihoods_is_told_as_it_is(status: int, words: str) -> None:
    answer: Answer = status, {"error": {"message": "go away"}}
    with serving(lambda path, body: answer) as server, pytest.raises(EngineError, match=words):
        ask(server, request("A"))
    assert len(server.seen) == 1


def test_unreachable_server_is_one_line() -> None:
    with pytest.raises(EngineError, match=r"cannot be asked: .*Cannot connect to host"):
        ask(Server("http://127.0.0.1:9"), request("A"))


def test_no_more_requests_are_in_flight_than_the_model_says() -> None:
    toy, flying, most = Toy(), [0], [0]

    def slow(path: str, body: dict[str, Any]) -> Answer:
        flying[0] += 1
        most[0] = max(most[0], flying[0])
        answer = toy(path, body)
        flying[0] -= 1
        return answer

    with serving(slow) as server:
        ask(server, *(request(*(f" {word}{number}" for word in "abcd")) for number in range(10)), concurrency=3)
    assert len(server.seen) == 41
    assert most[0] <= 3


ROWS = "question,answer\n" + "".join(f"{number} and one?,{'ABCD'[number % 4]}\n" for number in range(12))
TASK = """
mode: loglikelihood
data: {local: ./rows.csv, fields: {target: answer}}
prompt: q
choices: "['A', 'B', 'C', 'D']"
join: {answer: ""}
twin: t_gen
score: [{by: sum, metric: accuracy}, {name: mean, by: sequence_mean, metric: accuracy}]
"""


@pytest.fixture
def files(write: Write) -> None:
    write("rows.csv", ROWS)
    write(
        "prompts/q.jinja", "{% block user %}{{ question }} Answer: {% endblock %}{% block assistant %}{{ target }}{% endblock %}"
    )
    write("t.yaml", TASK)


def evaluate(ocli: Ocli, write: Write, server: Server, *more: object, chat: bool = False) -> Done:
    model = {"engine": "openai", "path": "toy", "base_url": server.url, "chat": chat, "args": {"max_retries": 0}}
    write("toy.yaml", json.dumps(model))
    return ocli("eval", "-m", "toy.yaml", "-t", "t.yaml", *more)


def lines(run: Path) -> list[dict[str, Any]]:
    [path] = run.glob("predictions/*/*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def results(run: Path) -> list[dict[str, Any]]:
    import polars as pl

    [path] = run.glob("results/*/*.parquet")
    return pl.read_parquet(path).to_dicts()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("toy", "how"), [(Toy(), "echo"), (Toy(echo=False), "top_logprobs 20")])
def test_eval_prefers_what_the_model_prefers_and_resume_asks_nothing_twice(ocli: Ocli, write: Write, toy: Toy, how: str) -> None:
    with serving(toy) as server:
        done = evaluate(ocli, write, server)
        asked = len(server.seen)
        again = evaluate(ocli, write, server, "-r")
        assert len(server.seen) == asked + 1 + (how != "echo")  # the probes
    assert (done.rc, again.rc) == (0, 0), done.err
    assert f"likelihoods: {how}" in (done.run / "configs" / "recipe.yaml").read_text(encoding="utf-8")
    for line, result in zip(lines(done.run), results(done.run), strict=True):
        values = [toy.value(line["prompt"], letter) for letter in "ABCD"]
        assert [choice["logprob"] for choice in line["choices"]] == pytest.approx(values)
        assert "ABCD"[max(range(4), key=values.__getitem__)] == result["answer"]


@pytest.mark.usefixtures("files")
def test_eval_of_a_chat_model_asks_one_request_a_question(ocli: Ocli, write: Write) -> None:
    toy = Toy()
    with serving(toy) as server:
        done = evaluate(ocli, write, server, chat=True)
    assert done.rc == 0, done.err
    assert len(server.seen) == 1 + 12
    assert all(path == "/v1/chat/completions" for path, _, _ in server.seen)


@pytest.mark.usefixtures("files")
def test_question_of_which_no_letter_is_told_is_unanswered(ocli: Ocli, write: Write) -> None:
    hidden = tuple(space + letter for space in ("", " ") for letter in "ABCD")
    with serving(Toy(hidden=hidden)) as server:
        done = evaluate(ocli, write, server, chat=True)
    assert done.rc == 0, done.err
    assert {(result["answer"], result["score"], result["status"]) for result in results(done.run)} == {(None, 0.0, "unanswered")}


@pytest.mark.usefixtures("files")
def test_question_that_the_server_refuses_is_its_own_error(ocli: Ocli, write: Write) -> None:
    with serving(Toy(refused="7 and")) as server:
        done = evaluate(ocli, write, server)
    failed = [line for line in lines(done.run) if line["error"]]
    words = "the prompt is longer than the model takes: HTTP 400: the prompt is too long"
    assert [(line["id"], line["error"]) for line in failed] == [("7", words)]
    assert f"1 failed (7): {words}" in done.err
    assert done.rc == 1


@pytest.mark.usefixtures("files")
def test_key_that_is_refused_on_the_way_stops_the_run(ocli: Ocli, write: Write) -> None:
    toy = Toy()

    def expire(path: str, body: dict[str, Any]) -> Answer:
        return (401, {"error": {"message": "expired"}}) if "5 and" in body["prompt"] else toy(path, body)

    with serving(expire) as server:
        done = evaluate(ocli, write, server)
    assert done.rc == 2
    assert "refuses: expired" in done.err.splitlines()[-1]


@pytest.mark.usefixtures("files")
def test_refused_probe_names_the_task_and_its_twin_in_one_line(ocli: Ocli, write: Write) -> None:
    with serving(Toy(echo=False, most=0)) as server:
        done = evaluate(ocli, write, server)
    assert done.rc == 2
    assert done.err.splitlines()[-1].endswith("task t: ask -t t_gen instead")
    assert not any("and one?" in body["prompt"] for _, body, _ in server.seen)
