"""Engines without a model: echo, replay, and the openai engine against a real local server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from server import Answer, chat_answer, serving, text_answer

from ocli import engines
from ocli.documents import Document
from ocli.errors import EngineError
from ocli.recipe import ModelSpec, validate
from ocli.types import Message, Reply, Request, Sampling

TURNS: tuple[Message, ...] = ({"role": "user", "content": "1 + 1 = ?"},)


def request(item: str = "0", messages: tuple[Message, ...] | None = TURNS, prompt: str | None = None, **sampling: Any) -> Request:
    return Request(f"key-{item}", "task", item, None, 0, Sampling(**sampling), messages, prompt, oracle="2")


def spec(**values: Any) -> ModelSpec:
    model: ModelSpec = validate(Document(Path("test"), values), ModelSpec)
    return model


def ask(model: ModelSpec, *requests: Request) -> list[Reply]:
    async def run() -> list[Reply]:
        engine = engines.load(model)
        await engine.start()
        try:
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
        {"key": "key-1", "text": "B"},
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


@pytest.mark.parametrize(("line", "message"), [('{"id": "0"}', "needs 'text'"), ('{"text": "A"}', "needs the 'id' or 'key'")])
def test_replay_line_without_reply_or_item_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "r.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(EngineError, match=f"r.jsonl:1: a reply {message}"):
        ask(spec(engine="replay", path=str(tmp_path / "r.jsonl")), request())


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
        [reply] = ask(spec(engine="openai", path="m", base_url=server.url), request())
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


def test_openai_unreachable_server_is_an_error_line_that_says_so() -> None:
    [reply] = ask(spec(engine="openai", path="m", base_url="http://127.0.0.1:9", args={"max_retries": 0}), request())
    assert "Cannot connect to host 127.0.0.1:9" in (reply.error or "")
