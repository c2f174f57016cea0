"""The openai engine against servers that fail: every question answered once, no more asked than the faults force."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Write
from faulty import Faulty, failing
from server import Answer, chat_answer, serving

FAULTS = {
    "429": 0.2, "500": 0.05, "hung": 0.01, "reset": 0.01, "short": 0.01, "malformed": 0.01, "nothing": 0.005, "blank": 0.01,
    "slow": 0.01,
}  # fmt: skip
PROMPT = "{% block user %}{{ question }}{% endblock %}{% block assistant %}{{ answer }}{% endblock %}"
TASK = """
data: {local: ./rows.csv, fields: {target: answer}}
prompt: q
score: [{extract: text, metric: accuracy}]
"""


@pytest.fixture
def questions(write: Write) -> Any:
    """Write a task of so many questions."""

    def make(count: int) -> None:
        write("rows.csv", "question,answer\n" + "".join(f"Q{number},A{number}\n" for number in range(count)))
        write("prompts/q.jinja", PROMPT)
        write("t.yaml", TASK)

    return make


def command(url: Any, *more: str, args: dict[str, Any] | None = None, **model: Any) -> list[str]:
    """Return a command that asks a server, in a process of its own."""
    settings = {"timeout": 0.7, "max_retries": 12, **(args or {})}
    spec = {"engine": "openai", "path": "m", "base_url": url, "args": settings, **model}
    Path("m.yaml").write_text(json.dumps(spec), encoding="utf-8")
    return [sys.executable, "-m", "ocli", "infer", "-m", "m.yaml", "-t", "t.yaml", "-w", "out", *more]


def infer(*arguments: Any, **model: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments, **model), capture_output=True, text=True, check=False, encoding="utf-8")


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for path in Path("out").glob("*/2*/predictions/*/*.jsonl") for line in path.open("rb")]


def assert_all_answered_once(count: int) -> None:
    answers = {line["id"]: line["text"] for line in lines() if line["error"] is None}
    assert len(lines()) == len(answers) == count
    assert all(text == f"A{item}" for item, text in answers.items())


def test_every_question_is_answered_once_and_none_asked_more_than_the_faults_force(questions: Any) -> None:
    questions(5000)
    with failing(Faulty(FAULTS)) as server:
        done = infer(server.url, concurrency=128)
    assert done.returncode == 0, done.stderr
    assert_all_answered_once(5000)
    assert all(count == 1 for count in server.answered.values())
    assert all(count == 1 + len(server.faults[question]) for question, count in server.asked.items())
    assert server.early == 0
    assert {fault for faults in server.faults.values() for fault in faults} == set(FAULTS) - {"slow"}


def test_killed_half_way_and_gone_on_with_asks_nothing_twice(questions: Any) -> None:
    questions(3000)
    with failing(Faulty(FAULTS)) as server:
        with subprocess.Popen(command(server.url, concurrency=64), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as first:
            while sum(server.answered.values()) < 1500:
                time.sleep(0.01)
            os.kill(first.pid, signal.SIGKILL)
        done = infer(server.url, "-r", concurrency=64)
    assert done.returncode == 0, done.stderr
    assert_all_answered_once(3000)
    twice = sum(server.answered.values()) - 3000
    assert 0 <= twice <= 64  # what was on its way when the process died


@pytest.mark.parametrize("concurrency", [64, None])
def test_rate_limited_server_is_asked_little_more_than_it_lets_through(questions: Any, concurrency: int | None) -> None:
    questions(200)
    more = {} if concurrency is None else {"concurrency": concurrency}
    with failing(Faulty(limit=50)) as server:
        done = infer(server.url, **more)
    assert done.returncode == 0, done.stderr
    assert_all_answered_once(200)
    assert server.moments[-1] - server.moments[0] < 2 * 200 / 50
    assert server.early == 0


def test_no_server_of_several_is_asked_again_before_it_wants_to_be(questions: Any) -> None:
    questions(400)
    with failing(Faulty({"429": 0.4})) as one, failing(Faulty({"429": 0.4}, seed=1)) as two:
        done = infer([one.url, two.url])
    assert done.returncode == 0, done.stderr
    assert_all_answered_once(400)
    assert (one.early, two.early) == (0, 0)


def test_concurrency_follows_what_the_server_takes(questions: Any) -> None:
    questions(1500)
    with failing(Faulty(most=8, delay=0.02)) as server:
        done = infer(server.url)
    assert done.returncode == 0, done.stderr
    assert_all_answered_once(1500)
    assert sum(server.asked.values()) < 1.3 * 1500


def test_rates_of_a_recipe_hold(questions: Any) -> None:
    questions(12)
    with failing(Faulty()) as server:
        done = infer(server.url, qps=8)
    assert done.returncode == 0, done.stderr
    gaps = [after - before for before, after in zip(server.moments, server.moments[1:], strict=False)]
    assert min(gaps) > 0.06
    assert 11 / 8 <= sum(gaps) + 0.05 < 3


def test_several_servers_share_the_work_and_stand_in_for_each_other(questions: Any) -> None:
    questions(600)
    with failing(Faulty()) as one, failing(Faulty(delay=0.02)) as two:
        done = infer([one.url, two.url, "http://127.0.0.1:9"], concurrency=8)
    assert done.returncode == 0, done.stderr
    assert_all_answered_once(600)
    fast, slow = sum(one.asked.values()), sum(two.asked.values())
    assert fast + slow == 600
    assert fast > 1.5 * slow > 0


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_what_every_request_would_meet_stops_the_run_at_once(questions: Any, monkeypatch: Any, status: int) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret-value")
    questions(500)
    refuse: Answer = status, {"error": {"message": "no: sk-very-secret-value is not welcome"}}
    with serving(lambda path, body: refuse) as server:
        began = time.monotonic()
        done = infer(server.url, api_key_env="SOME_KEY", concurrency=16)
        seconds = time.monotonic() - began
    assert done.returncode == 2
    assert f"refuses: no: *** is not welcome (HTTP {status})" in done.stderr.splitlines()[-1]
    assert len(server.seen) <= 16
    assert seconds < 5
    assert_key_is_nowhere("sk-very-secret-value", done)


def test_key_is_nowhere_in_a_run_that_fails_in_every_way(questions: Any, monkeypatch: Any) -> None:
    key = "sk-very-secret-value"
    monkeypatch.setenv("SOME_KEY", key)
    questions(40)
    answers: list[Answer] = [
        chat_answer("fine"), (400, {"error": {"message": f"bad {key}"}}), (500, f"<html>{key}</html>"), (200, f"broken {key}"),
        (422, {"detail": key}), (200, {"choices": [{"message": {"content": {"echo": key}}}]}),
    ]  # fmt: skip
    with serving(lambda path, body: answers[int(body["messages"][-1]["content"][1:]) % 6]) as server:
        run = subprocess.Popen(
            command(server.url, "--debug", api_key_env="SOME_KEY", args={"max_retries": 1}),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not server.seen:
            time.sleep(0.01)
        listed = subprocess.run(["ps", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        out, err = run.communicate()
    assert run.returncode == 1, err
    assert server.seen[0][2]["authorization"] == f"Bearer {key}"
    assert key not in listed
    assert_key_is_nowhere(key, subprocess.CompletedProcess([], 1, out, err))
    assert "***" in "".join(line["error"] or "" for line in lines())


def assert_key_is_nowhere(key: str, done: subprocess.CompletedProcess[str]) -> None:
    assert key not in done.stdout + done.stderr
    for path in Path("out").rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path
