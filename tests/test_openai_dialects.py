"""What servers refuse, wrap, stream and hide: the openai engine speaks to each as it wants, and records what it changed."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Ocli, Write
from faulty import Faulty, failing
from server import Answer, Server, chat_answer, serving, text_answer

from ocli import engines
from ocli.catalog import load_recipe
from ocli.documents import Document
from ocli.engines._openai.dialects import Dialect
from ocli.engines._openai.limits import Concurrency, Rate, TokenRate
from ocli.engines._openai.reply import MalformedError
from ocli.engines._openai.retries import LONGEST, Failure, Patience, failure, retry_after
from ocli.engines._openai.streams import Whole
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.schema import validate
from ocli.types import Message, Reply, Request, Sampling

CASES = json.loads((Path(__file__).parent / "cases" / "api.json").read_text(encoding="utf-8"))


def request(question: str = "1 + 1 = ?", prompt: str | None = None, **sampling: Any) -> Request:
    turns: tuple[Message, ...] = ({"role": "user", "content": question},)
    return Request("k", "t", "0", None, 0, Sampling(**sampling), None if prompt else turns, prompt)


def ask(url: Any, *requests: Request, args: dict[str, Any] | None = None, **model: Any) -> tuple[list[Reply], dict[str, Any]]:
    """Ask all requests one after the other; return the replies and what the engine has put on record."""
    keys = {"engine": "openai", "path": "m", "base_url": url, "args": {"max_retries": 0, **(args or {})}, **model}
    engine = engines.load(validate(Document(Path("test"), keys), ModelSpec))

    async def run() -> list[Reply]:
        try:
            await engine.start()
            return [await engine.generate(item) for item in requests]
        finally:
            await engine.close()

    return asyncio.run(run()), engine.record


def refusing(case: dict[str, Any]) -> Any:
    """Return a server's function that refuses a setting, and all that is asked after."""

    def decide(path: str, body: dict[str, Any]) -> Answer:
        if case["setting"] in body and ("value" not in case or body[case["setting"]] == case["value"]):
            return case.get("status", 400), {"error": {"message": case["message"], "param": case.get("param")}}
        return chat_answer("two STOP three")

    return decide


@pytest.mark.parametrize("case", CASES["dialects"], ids=[case["why"] for case in CASES["dialects"]])
def test_setting_that_the_server_refuses_is_said_otherwise_once(case: dict[str, Any]) -> None:
    asked = request(max_tokens=5, seed=1, stop=("STOP",), top_p=0.5, top_k=3)
    with serving(refusing(case)) as server:
        replies, record = ask(server.url, asked, asked)
    bodies = [body for _, body, _ in server.seen]
    if "sent" not in case:
        assert record["adapted"] == {}
        assert all(case["message"] in (reply.error or "") for reply in replies)
        assert len(bodies) == 2
        return
    assert [reply.error for reply in replies] == [None, None]
    assert len(bodies) == 3  # the refusal is met once
    said = {"temperature": 0.0, "max_tokens": 5, "seed": 1, "stop": ["STOP"], "top_p": 0.5, "top_k": 3}
    del said[case["setting"]]
    for body in bodies[1:]:
        assert body == {"model": "m", "messages": [{"role": "user", "content": "1 + 1 = ?"}], **said, **case["sent"]}
    assert list(record["adapted"]) == [case["setting"]]
    assert case["message"][:40] in record["adapted"][case["setting"]]
    cut = case["setting"] == "stop"
    assert [reply.text for reply in replies] == ["two " if cut else "two STOP three"] * 2


def test_what_was_adapted_is_in_the_runs_configs_and_said(ocli: Ocli, write: Write) -> None:
    case = next(case for case in CASES["dialects"] if case["setting"] == "temperature")
    write("rows.csv", "question,answer\n" + "".join(f"Q{number},two\n" for number in range(20)))
    with serving(refusing(case)) as server:
        write("m.yaml", json.dumps({"engine": "openai", "path": "m", "base_url": server.url}))
        done = ocli("infer", "-m", "m.yaml", "-t", "rows.csv")
    assert done.rc == 0, done.err
    recipe = yaml.safe_load((done.run / "configs" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["record"]["models"]["m"]["adapted"]["temperature"].startswith("not sent: the server says")
    assert "m: temperature not sent: the server says" in done.err
    assert 20 < len(server.seen) <= 36  # no more than were on their way when the first refusal came


def test_two_refusals_are_learned_one_after_the_other() -> None:
    dialect = Dialect()
    sampling = Sampling(max_tokens=3)
    assert dialect.learn(dialect.settings(sampling), "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    assert dialect.learn(dialect.settings(sampling), "temperature must be in the range (0, 1]")
    assert dialect.settings(sampling) == {"temperature": 0.01, "max_completion_tokens": 3}
    assert dialect.learn({"temperature": 0.0}, "temperature must be in the range (0, 1]")  # sent before the lesson
    assert dialect.learn(dialect.settings(sampling), "temperature must be in the range (0.1, 1]")
    assert dialect.settings(sampling) == {"max_completion_tokens": 3}
    assert not dialect.learn(dialect.settings(sampling), "max_completion_tokens is too large")


@pytest.mark.parametrize("case", CASES["failures"], ids=[case["why"] for case in CASES["failures"]])
def test_what_a_failure_means(case: dict[str, Any]) -> None:
    with serving(lambda path, body: (case["status"], case["body"])) as server:
        if case["then"] == "stop":
            with pytest.raises(EngineError, match=re.escape(case["words"])):
                ask(server.url, request())
            return
        [reply], _ = ask(server.url, request(), args={"max_retries": 1, "deadline": 1})
    assert case["words"] in (reply.error or "")
    assert (len(server.seen) == 1) is (case["then"] == "alone")


@pytest.mark.parametrize("case", CASES["retry_after"], ids=[str(case["headers"]) for case in CASES["retry_after"]])
def test_when_the_server_wants_to_be_asked_again(case: dict[str, Any]) -> None:
    found = retry_after(case["headers"], case.get("words", ""))
    assert found == (None if case["seconds"] is None else pytest.approx(case["seconds"], abs=0.1))


def test_date_to_be_asked_again_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 784111777.0)  # the example of RFC 9110
    assert retry_after({"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT"}) == 30
    assert retry_after({"retry-after": "Sun, 06 Nov 1994 08:40:07 GMT"}) == 0


def test_patience_ends_with_the_faults_or_the_deadline_and_never_waits_too_long() -> None:
    patience = Patience(3, 1000)
    patience.begin(0)
    waits = [patience.wait(Failure("again", "oops"), 0) for _ in range(4)]
    assert [wait is None for wait in waits] == [False, False, False, True]
    assert all(low / 2 <= (wait or 0) <= low for low, wait in zip((0.5, 1, 2), waits[:3], strict=True))
    patience = Patience(1, 1000)
    patience.begin(0)
    busy = [patience.wait(Failure("busy", "slow down", after=7200), 0) for _ in range(50)]
    assert busy == [LONGEST] * 50
    assert patience.wait(Failure("busy", "slow down", after=30), 980) is None
    assert all(2 <= (patience.wait(Failure("busy", "slow down", after=2), 0) or 0) < 2.5 for _ in range(50))


def test_concurrency_grows_while_latency_holds_and_is_halved_when_all_are_refused() -> None:
    found = Concurrency(256, 16)
    now = 0.0

    def round_of(seconds: float, refused: float = 0.0) -> int:
        nonlocal now
        size = found.size
        for number in range(max(size, 16)):
            now += 0.01
            found.entered(size, now)
            (found.refused if number < refused * max(size, 16) else lambda at: found.replied(seconds, at))(now)
        return found.size

    assert [round_of(1.0) for _ in range(3)] == [32, 64, 128]
    assert round_of(3.0) == 128  # three times as slow: requests wait at the server
    assert round_of(1.0) == 136
    assert round_of(1.0, refused=0.2) == 136  # the odd refusal is borne
    assert round_of(1.0, refused=1.0) == 68
    assert found.distance > 0
    for _ in range(80):
        round_of(1.0)
    assert found.distance == 0
    assert found.size > 68


def test_refusals_that_asking_less_does_not_lessen_are_borne() -> None:
    found = Concurrency(256, 16)
    now, seconds = 0.0, []
    for _ in range(40):  # a server that refuses two of five whatever is asked of it
        began = now
        for number in range(max(found.size, 16)):
            now += max(found.distance, 0.001)
            found.entered(found.size, now)
            (found.refused if number % 5 < 2 else lambda at: found.replied(0.02, at))(now)
        seconds.append(now - began)
    assert (found.size, found.distance) == (16, 0.0)
    assert sum(seconds) < 5
    for _ in range(4):  # and one that refuses all is asked less all the same
        for _ in range(max(found.size, 16)):
            now += 0.001
            found.refused(now)
    assert found.size < 16


def test_concurrency_that_is_not_used_is_not_raised() -> None:
    found = Concurrency(256, 16)
    for number in range(100):
        found.entered(3, float(number))
        found.replied(1.0, float(number))
    assert found.size == 16


def test_rates_are_evenly_spaced() -> None:
    rate = Rate(0.16)
    assert [round(rate.book(100.0), 2) for _ in range(3)] == [0.0, 6.23, 12.48]
    assert rate.book(1000.0) == 0.0
    tokens = TokenRate(100.0)
    assert tokens.book(0.0, 200) == 0.0
    tokens.took(200, 50)  # a quarter of a token a byte, not a half
    assert tokens.book(0.0, 400) == pytest.approx(0.5, abs=0.03)
    assert tokens.book(0.0, 4) == pytest.approx(1.5, abs=0.03)


def test_tokens_a_minute_hold() -> None:
    with failing(Faulty()) as server:
        replies, _ = ask(server.url, *(request(f"Q{number}") for number in range(4)), tpm=9 * 60 / 0.2)
    assert [reply.text for reply in replies] == ["A0", "A1", "A2", "A3"]
    assert 0.3 < server.moments[-1] - server.moments[0] < 2  # nine tokens each


@pytest.mark.parametrize(
    ("answer", "text", "reason"),
    [
        (chat_answer(None, refusal="I can not help with that."), "I can not help with that.", "refusal"),
        (chat_answer(None, reasoning="hm"), "", "stop"),
        (chat_answer("", reasoning_content="hm"), "", "stop"),
    ],
)
def test_refusals_and_thoughts_without_a_text(answer: Answer, text: str, reason: str) -> None:
    with serving(lambda path, body: answer) as server:
        [reply], _ = ask(server.url, request(), args={"max_retries": 3})
    assert (reply.text, reply.finish_reason, reply.error) == (text, reason, None)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("answer", "prompt", "times"), [(chat_answer(""), None, 3), (text_answer(""), "1 + 1 =", 1)], ids=["chat", "base"]
)
def test_blank_reply_is_asked_for_twice_more_and_then_believed(answer: Answer, prompt: str | None, times: int) -> None:
    with serving(lambda path, body: answer) as server:
        [reply], _ = ask(server.url, request(prompt=prompt), chat=prompt is None, args={"max_retries": 4})
    assert (reply.text, reply.error) == ("", None)
    assert len(server.seen) == times


def test_headers_query_and_body_of_the_recipe_are_sent() -> None:
    args = {"headers": {"X-Team": "eval"}, "query": {"tag": "a b"}, "extra_body": {"enable_thinking": False, "max_tokens": 9}}
    with serving(lambda path, body: chat_answer("ok")) as server:
        ask(server.url, request(), request(), args=args)
    for path, body, headers in server.seen:
        assert path.replace("+", "%20") == "/v1/chat/completions?tag=a%20b"
        assert (body["enable_thinking"], body["max_tokens"]) == (False, 9)
        assert headers["x-team"] == "eval"


def test_azure_is_asked_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_KEY", "azure-secret")
    with serving(lambda path, body: chat_answer("ok")) as server:
        args = {"api_version": "2024-10-21"}
        ask(server.url, request(), request(), path="gpt-4o", api_key_env="AZURE_KEY", args=args)
    for path, _, headers in server.seen:
        assert path == "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
        assert headers["api-key"] == "azure-secret"
        assert "authorization" not in headers


@pytest.mark.parametrize("how", ["args", "HTTP_PROXY", "NO_PROXY"])
def test_proxy_of_the_recipe_or_the_environment(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with (
        serving(lambda path, body: chat_answer("by proxy")) as proxy,
        serving(lambda path, body: chat_answer("direct")) as server,
    ):
        if how != "args":
            monkeypatch.setenv("http_proxy", proxy.url)
        if how == "NO_PROXY":
            monkeypatch.setenv("no_proxy", "127.0.0.1")
        url = server.url if how == "NO_PROXY" else "http://model.invalid"
        [reply], _ = ask(url, request(), args={"proxy": proxy.url} if how == "args" else {})
    assert reply.text == ("direct" if how == "NO_PROXY" else "by proxy")
    assert (proxy.seen[0][0] if proxy.seen else "") == ("" if how == "NO_PROXY" else "http://model.invalid/v1/chat/completions")


def test_several_servers_with_auto_must_serve_the_same() -> None:
    decide = lambda path, body: chat_answer("ok")  # noqa: E731
    with serving(decide, models=("a",)) as one, serving(decide, models=("a",)) as two, serving(decide, models=("b",)) as three:
        _, record = ask([one.url, two.url], request(), path="auto")
        assert record["served_model"] == "a"
        assert record["base_url"] == f"{one.url}/v1, {two.url}/v1"
        with pytest.raises(EngineError, match=r"serves 2 models \(a, b\)"):
            ask([one.url, three.url], request(), path="auto")


def test_server_that_never_comes_is_given_up() -> None:
    with failing(Faulty({"hung": 1.0})) as server:
        [reply], _ = ask(server.url, request("Q1"), args={"timeout": 0.2})
    assert reply.error == "no reply in time"
    assert reply.seconds < 2


def test_deadline_holds_over_all_attempts() -> None:
    with serving(lambda path, body: (503, {"error": {"message": "loading"}})) as server:
        [reply], _ = ask(server.url, request(), args={"max_retries": 50, "deadline": 1.5})
    assert reply.seconds < 2.5
    assert re.fullmatch(r"HTTP 503: loading \(asked \d times\)", reply.error or "")


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@contextmanager
def streaming(pieces: list[Any], end: bytes = b"data: [DONE]\n\n") -> Iterator[Server]:
    """Serve pieces as server-sent events."""
    text = b"".join(b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in pieces) + end
    with serving(lambda path, body: (200, text)) as server:
        yield server


def test_streamed_reply_is_put_together() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 4}}
    pieces = [chunk(role="assistant", content=""), chunk(reasoning_content="h"), chunk(reasoning_content="m")]
    pieces += [chunk(content="tw"), chunk(content="o"), chunk("stop"), usage]
    with streaming(pieces) as server:
        [reply], _ = ask(server.url, request(), args={"stream": True})
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("two", "hm", "stop")
    assert (reply.usage.prompt, reply.usage.completion) == (5, 4)
    [(_, body, _)] = server.seen
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_streamed_text_of_a_base_model() -> None:
    pieces = [{"choices": [{"text": " tw", "finish_reason": None}]}, {"choices": [{"text": "o", "finish_reason": "length"}]}]
    with streaming(pieces) as server:
        [reply], _ = ask(server.url, request(prompt="1 + 1 ="), chat=False, args={"stream": True})
    assert (reply.text, reply.finish_reason) == (" two", "length")


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"", b'data: {"choices": [{"del'])
def test_stream_that_breaks_off_is_no_reply(end: bytes) -> None:
    with streaming([chunk(content="tw")], end) as server:
        [reply], _ = ask(server.url, request(), args={"stream": True, "max_retries": 1})
    assert "the server's reply" in (reply.error or "")
    assert len(server.seen) == 2


def test_error_in_the_middle_of_a_stream_is_no_reply() -> None:
    with streaming([chunk(content="tw"), {"error": {"message": "out of memory"}}]) as server:
        [reply], _ = ask(server.url, request(), args={"stream": True})
    assert "out of memory" in (reply.error or "")


def test_stream_without_a_reason_to_end_is_malformed() -> None:
    whole = Whole()
    whole.add(chunk(content="two"))
    with pytest.raises(MalformedError, match="broke off"):
        whole.answer()


def test_bug_is_no_failure_of_the_exchange() -> None:
    assert failure(KeyError("x")) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_url": []}, "base_url"),
        ({"rpm": 0}, "rpm"),
        ({"args": {"query": {"api-key": "hidden"}}}, "api_key_env: NAME"),
        ({"args": {"api_version": 3}}, "args.api_version must be a text"),
        ({"args": {"proxy": "http://me:hidden@h:1"}}, "HTTPS_PROXY"),
        ({"args": {"ca": "nowhere.pem"}}, "args.ca: 'nowhere.pem' holds no certificates"),
        ({"args": {"deadline": 0}}, "args.deadline must be a number"),
        ({"args": {"stream": "yes"}}, "args.stream must be true or false"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_asked(values: dict[str, Any], message: str) -> None:
    from ocli.errors import OcliError

    with pytest.raises(OcliError, match=message) as caught:
        ask(**{"url": "http://h", **values, **({"url": values.pop("base_url")} if "base_url" in values else {})})
    assert "hidden" not in str(caught.value)


def test_key_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-密\nx")
    with pytest.raises(EngineError, match="SOME_KEY holds something that is no key") as caught:
        ask("http://h", request(), api_key_env="SOME_KEY")
    assert "密" not in str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_certificates_of_ones_own(tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.pem -days 2 -subj /CN=ocli"
    subprocess.run([*make.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("ca.pem", "key.pem")
    with failing(Faulty(), context) as server:
        [reply], _ = ask(server.url, request("Q7"), args={"ca": "ca.pem"})
        assert reply.text == "A7"
        with pytest.raises(EngineError, match=r"cannot connect: .*[Cc]ertificate"):
            ask(server.url, request("Q7"))


def test_every_preset_is_an_engine_that_can_start(ocli: Ocli, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [line.split()[0] for line in ocli("list", "--kind", "models").out.splitlines()[1:]]
    specs = {name: load_recipe(None, [name], ["ceval_gen"], {}).models[name] for name in names}
    presets = {name: spec for name, spec in specs.items() if spec.engine == "openai"}
    assert len(presets) >= 20
    for name, spec in presets.items():
        local = "127.0.0.1" in str(spec.base_url)
        assert local is (spec.api_key_env is None), name
        assert str(spec.base_url).startswith("http://127" if local else "https://"), name
        if spec.api_key_env:
            monkeypatch.setenv(spec.api_key_env, "sk-test")
        engine = engines.load(spec)
        asyncio.run(engine.start() if spec.path != "auto" else engine.close())
        assert engine.record["base_url"] == spec.base_url, name  # as it is: no /v1 too many


def test_progress_line_says_what_is_waited_for() -> None:
    async def waits(model: ModelSpec) -> str:
        engine = engines.load(model)
        await engine.start()
        asking = [asyncio.create_task(engine.generate(request())) for _ in range(2)]
        await asyncio.sleep(0.4)
        said = engines.waiting(engine)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await engine.close()
        return said

    with serving(lambda path, body: (429, {"error": {"message": "please try again after 3 seconds"}})) as server:
        keys = {"engine": "openai", "path": "m", "base_url": server.url}
        assert re.fullmatch(r"2 waiting 3 s \(HTTP 429\)", asyncio.run(waits(validate(Document(Path("test"), keys), ModelSpec))))
        keys = {**keys, "qps": 0.1}
        said = asyncio.run(waits(validate(Document(Path("test"), keys), ModelSpec)))
        assert re.fullmatch(r"1 waiting (9|10) s \(rate limit\)", said)
    assert engines.waiting(engines.load(validate(Document(Path("test"), {"engine": "echo"}), ModelSpec))) == ""
