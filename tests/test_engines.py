"""Engines without a model: echo, replay, and the openai engine against a real local server."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from server import Answer, chat_answer, serving, text_answer

from ocli import engines
from ocli.documents import Document
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.schema import validate
from ocli.types import Message, Reply, Request, Sampling

TURNS: tuple[Message, ...] = ({"role": "user", "content": "1 + 1 = ?"},)


def key(item: str, model: str = "a" * 8) -> str:
    return model + hashlib.sha256(item.encode()).hexdigest()[:24]


def request(item: str = "0", messages: tuple[Message, ...] | None = TURNS, prompt: str | None = None, **sampling: Any) -> Request:
    return Request(key(item), "task", item, None, 0, Sampling(**sampling), messages, prompt, oracle="2")


def spec(**values: Any) -> ModelSpec:
    model: ModelSpec = validate(Document(Path("test"), values), ModelSpec)
    return model


def once(base_url: str, **values: Any) -> ModelSpec:
    """A model on a server that is asked everything once."""
    return spec(engine="openai", path="m", base_url=base_url, args={"max_retries": 0}, **values)


def ask(model: ModelSpec, *requests: Request) -> list[Reply]:
    async def run() -> list[Reply]:
        engine = engines.load(model)
        try:
            await engine.start()
            return [await engine.generate(item) for item in requests]
        finally:
            await engine.close()

    return asyncio.run(run())


@pytest.mark.parametrize(("says", "text"), [(None, "1 + 1 = ?"), ("oracle", "2"), ("silent", ""), ("C", "C")])
def test_echo_says_what_it_is_told_to(says: str | None, text: str) -> None:
    [reply] = ask(spec(engine="echo", path=says), request())
    assert (reply.text, reply.error) == (text, None)


def test_unknown_engine_argument_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(EngineError, match="no such argument; did you mean 'delay'"):
        engines.load(spec(engine="echo", args={"dely": 1}))


def test_replay_finds_replies_by_key_by_id_and_by_sample(tmp_path: Path) -> None:
    lines = [
        {"id": "0", "text": "A"},
        {"key": key("1", model="b" * 8), "text": "B"},
        {"id": "2", "texts": ["C"]},
        {"id": "3", "text": "", "error": "boom"},
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    replies = ask(spec(engine="replay", path=str(tmp_path / "r.jsonl")), *(request(str(i)) for i in range(5)))
    assert [reply.text for reply in replies[:3]] == ["A", "B", "C"]
    assert [reply.error for reply in replies] == [None, None, None, "boom", "the replay file has no reply for item 4"]


def test_replay_of_a_folder_takes_the_tasks_own_file(tmp_path: Path) -> None:
    (tmp_path / "task.jsonl").write_text('{"id": "0", "text": "yes"}\n', encoding="utf-8")
    [reply] = ask(spec(engine="replay", path=str(tmp_path)), request())
    assert reply.text == "yes"


def test_replay_of_one_file_is_for_one_task(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"id": "0", "text": "A"}\n', encoding="utf-8")
    engine = engines.load(spec(engine="replay", path=str(tmp_path / "r.jsonl")))
    engine.check(["one"])
    with pytest.raises(EngineError, match=r"has one file for 2 tasks; give a folder with <task>.jsonl each"):
        engine.check(["one", "two"])
    with pytest.raises(EngineError, match=r"has no file one.jsonl"):
        engines.load(spec(engine="replay", path=str(tmp_path))).check(["one"])


def test_replay_samples_never_stand_in_for_each_other(tmp_path: Path) -> None:
    lines = [{"id": "0", "sample": 0, "text": "A"}, {"id": "0", "sample": 1, "text": "B"}, {"id": 1, "texts": ["C", "D"]}]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    asked = [replace(request(item), sample=sample) for item in "01" for sample in range(3)]
    replies = ask(spec(engine="replay", path=str(tmp_path / "r.jsonl")), *asked)
    assert [reply.text for reply in replies] == ["A", "B", "", "C", "D", ""]
    assert replies[2].error == "the replay file has no reply for item 0, sample 2"


def test_replay_of_the_same_question_twice_gives_each_item_its_own_reply(tmp_path: Path) -> None:
    lines = [{"key": key("same"), "id": item, "text": text} for item, text in (("0", "A"), ("1", "B"))]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    asked = [replace(request(item), key=key("same", model="c" * 8)) for item in "01"]
    assert [reply.text for reply in ask(spec(engine="replay", path=str(tmp_path / "r.jsonl")), *asked)] == ["A", "B"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "0"}', "a reply needs 'text'"),
        ('{"text": "A"}', "a reply needs the 'id' or 'key'"),
        ('{"id": "0", "text": 5}', "'text' must be a string"),
        ('{"id": "0", "texts": "AB"}', "'texts' must be a list of strings"),
        ('{"id": "0", "texts": ["A", null]}', "'texts' must be a list of strings"),
        ('{"id": "0", "text": "A", "usage": {"prompt": "7"}}', "'usage' must hold whole numbers"),
        ('{"id": "0", "text": "A", "usage": 7}', "'usage' must hold whole numbers"),
        ('{"key": "1", "text": "A"}', "'key' must be 32 hex digits"),
        ('{"id": ["0"], "text": "A"}', "'id' must be a string"),
        ('{"id": "9", "text": "B"}', r"a second reply for item 9, sample 0; the first is at .*r.jsonl:1"),
    ],
)
def test_replay_line_that_is_no_reply_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "r.jsonl").write_text('{"id": 9, "text": "A"}\n\n' + line, encoding="utf-8")
    with pytest.raises(EngineError, match=f"r.jsonl:3: {message}"):
        ask(spec(engine="replay", path=str(tmp_path / "r.jsonl")), request())


def identity(model: ModelSpec) -> Any:
    async def run() -> Any:
        engine = engines.load(model)
        await engine.start()
        await engine.close()
        return engine.identity

    return json.loads(json.dumps(asyncio.run(run())))


def test_identity_is_what_decides_a_reply(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text('{"id": "0", "text": "A"}\n', encoding="utf-8")
    before = identity(spec(engine="replay", path=str(file)))
    file.write_text('{"id": "0", "text": "B"}\n', encoding="utf-8")
    assert identity(spec(engine="replay", path=str(file))) != before
    assert identity(spec(engine="echo", path="A", args={"delay": 0.1})) == ["echo", "A", True]
    with serving(lambda path, body: chat_answer("ok"), models=("internlm2",)) as server:
        args = {"timeout": 5, "extra_body": {"a": 1}}
        auto = identity(spec(engine="openai", path="auto", base_url=server.url, args=args))
    assert auto == ["openai", "internlm2", True, {"extra_body": {"a": 1}}]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"delay": "1"}, "args.delay must be a number of at least 0, not '1'"),
        ({"delay": -1}, "args.delay must be a number"),
        ({"fail_every": 1.5}, "args.fail_every must be a whole number"),
        ({"fail_every": True}, "args.fail_every must be a whole number"),
    ],
)
def test_echo_argument_of_the_wrong_type_is_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        engines.load(spec(engine="echo", args=args))


def test_openai_asks_chat_models_with_turns_and_keeps_usage() -> None:
    with serving(lambda path, body: chat_answer("two", reasoning_content="hm")) as server:
        [reply] = ask(spec(engine="openai", path="m", base_url=server.url), request(max_tokens=5, stop=("\n",)))
    path, body, _ = server.seen[0]
    assert path == "/v1/chat/completions"
    assert body == {"model": "m", "messages": list(TURNS), "temperature": 0.0, "max_tokens": 5, "stop": ["\n"]}
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("two", "hm", "stop")
    assert (reply.usage.prompt, reply.usage.cached, reply.usage.completion) == (7, 3, 2)


def test_openai_asks_base_models_with_text() -> None:
    with serving(lambda path, body: text_answer(" 2")) as server:
        [reply] = ask(spec(engine="openai", path="m", base_url=server.url, chat=False), request(messages=None, prompt="1 + 1 ="))
    assert server.seen[0][0] == "/v1/completions"
    assert server.seen[0][1]["prompt"] == "1 + 1 ="
    assert (reply.text, reply.finish_reason) == (" 2", "length")


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_openai_accepts_the_address_as_people_write_it(suffix: str) -> None:
    with serving(lambda path, body: chat_answer("ok")) as server:
        ask(spec(engine="openai", path="m", base_url=server.url + suffix), request())
    assert server.seen[0][0] == "/v1/chat/completions"


def test_openai_auto_asks_which_model_is_served() -> None:
    with serving(lambda path, body: chat_answer("ok"), models=("internlm2",)) as server:
        ask(spec(engine="openai", path="auto", base_url=server.url), request())
    assert server.seen[0][1]["model"] == "internlm2"


def test_openai_auto_with_several_models_names_them() -> None:
    with (
        serving(lambda path, body: chat_answer("ok"), models=("a", "b")) as server,
        pytest.raises(EngineError, match=r"serves 2 models \(a, b\)"),
    ):
        ask(spec(engine="openai", path="auto", base_url=server.url), request())


def test_openai_null_content_is_an_empty_reply_not_a_crash() -> None:
    with serving(lambda path, body: chat_answer(None, reasoning="thinking")) as server:
        [reply] = ask(spec(engine="openai", path="m", base_url=server.url), request())
    assert (reply.text, reply.reasoning, reply.error) == ("", "thinking", None)


def test_openai_request_that_the_server_refuses_is_an_error_line() -> None:
    refuse: Answer = 400, {"error": {"message": "too long"}}
    with serving(lambda path, body: refuse) as server:
        [reply] = ask(spec(engine="openai", path="m", base_url=server.url), request())
    assert reply.error == "HTTP 400: too long"


def test_openai_reply_without_choices_is_an_error_line() -> None:
    with serving(lambda path, body: (200, {"id": "x", "object": "chat.completion", "choices": []})) as server:
        [reply] = ask(once(server.url), request())
    assert "no choices" in (reply.error or "")


def test_openai_wrong_key_stops_the_run_with_the_servers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "very-secret-value")
    refuse: Answer = 401, {"error": {"message": "invalid key"}}
    with serving(lambda path, body: refuse) as server, pytest.raises(EngineError, match="invalid key") as caught:
        ask(spec(engine="openai", path="m", base_url=server.url, api_key_env="SOME_KEY"), request())
    assert server.seen[0][2]["authorization"] == "Bearer very-secret-value"
    assert "very-secret-value" not in str(caught.value)


def test_openai_missing_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(EngineError, match="export SOME_KEY="):
        ask(spec(engine="openai", path="m", base_url="http://127.0.0.1:1", api_key_env="SOME_KEY"), request())


def test_openai_unreachable_server_stops_the_run_in_seconds() -> None:
    with pytest.raises(EngineError, match=r"Cannot connect to host 127.0.0.1:9.*is it running, and is base_url right"):
        ask(spec(engine="openai", path="m", base_url="http://127.0.0.1:9"), request())


ODD: list[tuple[dict[str, Any], str, str | None]] = [
    ({"content": ["a", {"type": "text", "text": "b"}, {"type": "thinking", "thinking": "x"}]}, "ab", None),
    ({"content": 5}, "", "has a text that is no string: 5"),
    ({"content": {"text": "A"}}, "", "has a text that is no string"),
    ({"content": "A", "reasoning_content": 7}, "A", None),
]


@pytest.mark.parametrize(("message", "text", "error"), ODD)
def test_openai_text_of_another_shape_is_mended_or_an_error(message: dict[str, Any], text: str, error: str | None) -> None:
    with serving(lambda path, body: chat_answer(**{"text": None, **message})) as server:
        [reply] = ask(once(server.url), request())
    assert reply.text == text
    assert reply.reasoning is None
    assert (error or "") in (reply.error or "")
    assert (reply.error is None) is (error is None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"choices": [{"message": None}]}, "has no message"),
        ({"choices": [{}]}, "has no message"),
        ({"choices": "none"}, "has no choices"),
        ({"choices": [None]}, "has no choices"),
        ({"choices": [{"message": {"content": "A"}, "finish_reason": 3}], "usage": {"prompt_tokens": "many"}}, None),
        ({"choices": [{"message": {"content": "A"}}], "usage": "many"}, None),
        ("<html>Welcome</html>", "is no JSON, but '<html>Welcome</html>'"),
        ([], "has no choices"),
        (None, "has no choices"),
    ],
)
def test_openai_reply_of_another_shape_is_never_a_crash(body: Any, error: str | None) -> None:
    with serving(lambda path, _: (200, body)) as server:
        [reply] = ask(once(server.url), request())
    assert (reply.text, reply.finish_reason, reply.usage.prompt) == ("" if error else "A", None, None)
    assert (error or "") in (reply.error or "")
    assert (reply.error is None) is (error is None)


@pytest.mark.parametrize("listing", ["<html>Welcome</html>", {"data": None}, {"data": [{}]}, [], {"data": ["m"]}])
def test_openai_auto_at_something_that_lists_no_models_is_one_line(listing: Any) -> None:
    with (
        serving(lambda path, body: chat_answer("ok"), listing=listing) as server,
        pytest.raises(EngineError, match="does not say which models it serves") as caught,
    ):
        ask(spec(engine="openai", path="auto", base_url=server.url), request())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_url": "http://h:abc"}, "is not an address"),
        ({"base_url": "http://"}, "is not an address"),
        ({"base_url": "localhost:8000"}, "must begin with http"),
        ({"base_url": "http://h/v1?api-version=1"}, "has no place"),
        ({"base_url": "http://me:hidden@h"}, "api_key_env: NAME"),
        ({"base_url": "me:hidden@h"}, "api_key_env: NAME"),
        ({"args": {"timeout": "60"}}, "args.timeout must be a number"),
        ({"args": {"max_retries": 1.5}}, "args.max_retries must be a whole number"),
        ({"args": {"headers": ["a"]}}, "args.headers must be a mapping"),
        ({"args": {"headers": {"X-Team": 3}}}, "args.headers.X-Team"),
        ({"args": {"headers": {"Authorization": "Bearer hidden"}}}, "api_key_env: NAME"),
        ({"args": {"headers": {"api-key": "hidden"}}}, "api_key_env: NAME"),
        ({"args": {"headers": {"X-Api-Key": "hidden"}}}, "api_key_env: NAME"),
        ({"args": {"extra_body": "a=1"}}, "args.extra_body must be a mapping"),
    ],
)
def test_openai_wrong_settings_are_refused_before_anything_is_asked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        engines.load(spec(**{"engine": "openai", "path": "m", "base_url": "http://h", **values}))
    assert "hidden" not in str(caught.value)


def test_openai_address_is_the_recipes_or_the_default_never_the_shells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    engine = engines.load(spec(engine="openai", path="m"))
    asyncio.run(engine.start())
    assert engine.record["base_url"] == "https://api.openai.com/v1"
    [server] = vars(engine)["_exchange"].endpoints.servers
    assert str(server.client.sdk.base_url) == "https://api.openai.com/v1/"
    asyncio.run(engine.close())


def test_openai_temperature_that_nobody_says_is_not_sent() -> None:
    with serving(lambda path, body: chat_answer("ok")) as server:
        ask(spec(engine="openai", path="m", base_url=server.url), request(temperature=None))
    assert "temperature" not in server.seen[0][1]
