"""``ocli ping``: what a server can do, how fast, and what it costs, against real servers that can do more or less."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import Ocli
from server import Answer, chat_answer, serving, text_answer


def lines(out: str) -> dict[str, str]:
    """Return what stands behind each thing that was tried."""
    return {name.strip(): can for name, can in re.findall(r"^  (.{34}) (yes|no)\b", out, re.MULTILINE)}


def only_chat(path: str, body: dict[str, Any]) -> Answer:
    """A server like most paid ones: chat alone, one reply at a time, no likelihoods, a limit under its newer name."""
    if not path.endswith("/chat/completions"):
        return 404, {"error": {"message": "no such endpoint"}}
    if "max_tokens" in body:
        return 400, {"error": {"message": "Unsupported parameter: use 'max_completion_tokens' instead", "param": "max_tokens"}}
    if "logprobs" in body:
        return 400, {"error": {"message": "logprobs are not available for this model"}}
    return chat_answer("ok")


def test_ping_says_what_a_server_can_do(ocli: Ocli) -> None:
    with serving(only_chat) as server:
        price = "model.price={input: 1000, output: 1000, currency: CNY}"
        done = ocli("ping", "openai:auto", "--set", f"model.base_url={server.url}", "--set", price)
    assert (done.rc, done.err) == (0, "")
    found = lines(done.out)
    assert {name for name, can in found.items() if can == "yes"} == {"models", "chat", "system role", "seed", "stop"}
    assert {name for name, can in found.items() if can == "no"} == {
        "completions", "n = 2", "next tokens' log-probabilities", "prompts' log-probabilities (echo)",
    }  # fmt: skip
    assert "no such endpoint" in done.out
    assert "the server's reply has 1 choices" in done.out
    assert "used: 5 requests, 35 prompt and 10 completion tokens, " in done.out
    assert "CNY" in done.out
    sent = [body for path, body, _ in server.seen if path.endswith("/chat/completions")]
    assert all(body.get("max_completion_tokens", body.get("max_tokens")) == 16 for body in sent if "logprobs" not in body)


def test_a_base_models_server_is_enough(ocli: Ocli) -> None:
    def only_text(path: str, body: dict[str, Any]) -> Answer:
        return text_answer(" three") if path.endswith("/v1/completions") else (404, {"error": {"message": "no chat"}})

    with serving(only_text) as server:
        done = ocli("ping", "openai:served", "--set", f"model.base_url={server.url}")
    assert (done.rc, lines(done.out)["completions"], lines(done.out)["chat"]) == (0, "yes", "no")


def test_a_server_that_answers_nothing_is_incomplete(ocli: Ocli) -> None:
    with serving(lambda path, body: (500, {"error": {"message": "out of order"}})) as server:
        done = ocli("ping", "openai:served", "--set", f"model.base_url={server.url}")
    assert (done.rc, {name for name, can in lines(done.out).items() if can == "yes"}) == (1, {"models"})
    assert "out of order" in done.out


def test_a_refused_key_ends_it_and_is_not_shown(ocli: Ocli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-0123456789")
    refuse = 401, {"error": {"message": "Incorrect API key provided: sk-secret-0123456789"}}
    with serving(lambda path, body: refuse) as server:
        sets = ["--set", f"model.base_url={server.url}", "--set", "model.api_key_env=MY_KEY"]
        done = ocli("ping", "openai:served", *sets)
    assert done.rc == 2
    assert "Incorrect API key" in done.err
    assert "sk-secret" not in done.out + done.err


def test_nobody_there_is_one_line(ocli: Ocli) -> None:
    done = ocli("ping", "openai:served", "--set", "model.base_url=http://127.0.0.1:9")
    assert done.rc == 2
    assert len(done.err.splitlines()) == 1
    assert "is it running" in done.err


def test_an_engine_that_is_no_server_is_refused(ocli: Ocli) -> None:
    done = ocli("ping", "nano")
    assert (done.rc, "ping asks servers" in done.err) == (2, True)
