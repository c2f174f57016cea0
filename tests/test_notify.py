"""Notifications, sent to a real server: what each service gets, signatures, what goes wrong, and that no URL is ever written."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import Done, Ocli, Write
from server import Answer, Server, serving

from ocli.recipe import NotifySpec
from ocli.stages.notify import Notifier, delivery
from ocli.stages.notify.services import LONGEST, Notice, duration, one_line, wecom

KEY = "k3y-of-the-webhook-0123456789"
SECRET = "SECsigned-with-this-one"
KINDS = ("feishu", "lark", "dingtalk", "wecom", "slack", "webhook")
GOOD = {"feishu": {"code": 0}, "lark": {"code": 0}, "dingtalk": {"errcode": 0}, "wecom": {"errcode": 0}}
QUESTIONS = "question,A,B,answer\n" + "".join(f"What is {n}?,{n},no,A\n" for n in range(4))
NASTY = "<at id=all></at> [click](http://evil.example) **x** `y` <!channel> & # z"


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)


def of_kind(_: str, body: dict[str, Any]) -> Answer:
    """Answer as the service does whose message it is."""
    if "msg_type" in body:
        return 200, GOOD["feishu"]
    return (200, GOOD["dingtalk"]) if "msgtype" in body else (200, "ok")


Told = Callable[..., tuple[Done, Server]]


@pytest.fixture
def told(ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Run a small recipe that notifies a server; the key is in the URL's path and in its query."""
    write("quiz.csv", QUESTIONS)

    def run(kind: str, *arguments: str, decide: Callable[..., Answer] = of_kind, more: str = "") -> tuple[Done, Server]:
        with serving(decide) as server:
            monkeypatch.setenv("HOOK_URL", f"{server.url}/hook/{KEY}?access_token={KEY}")
            notify = f"notify=[{{to: {kind}, url_env: HOOK_URL{more}}}]"
            done = ocli(*(arguments or ("eval", "-m", "echo:oracle", "-t", "quiz.csv")), "--set", notify)
        return done, server

    return run


def bodies(server: Server) -> list[dict[str, Any]]:
    return [body for _, body, _ in server.seen]


def nowhere(done: Done, folder: Path) -> None:
    """Neither what was printed nor any file has the URL's key or the secret."""
    for secret in (KEY, SECRET):
        assert secret not in done.out + done.err
        for path in folder.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("kind", KINDS)
def test_run_is_told_from_its_start_to_its_scores(kind: str, told: Told, tmp_path: Path) -> None:
    done, server = told(kind)
    assert done.rc == 0, done.err
    assert "notify" not in done.err
    first, last = bodies(server)
    for body, event in ((first, "started"), (last, "finished")):
        text = json.dumps(body, ensure_ascii=False)
        assert event in text
        assert "echo_oracle" in text
        assert str(done.run) in text
    assert "100.00" not in json.dumps(first)
    assert "100.00" in json.dumps(last)
    assert "51.01 to 100.00" in json.dumps(last)  # Wilson's interval of 4 of 4
    nowhere(done, tmp_path)


def test_feishu_card(told: Told) -> None:
    _, server = told("feishu", more=", secret_env: HOOK_SECRET")
    body = bodies(server)[1]
    assert body["msg_type"] == "interactive"
    assert body["card"]["header"]["title"] == {"tag": "plain_text", "content": "ocli echo_oracle-quiz: finished"}
    assert body["card"]["header"]["template"] == "green"
    assert [element["text"]["tag"] for element in body["card"]["elements"]] == ["plain_text"] * 2
    key = f"{body['timestamp']}\n{SECRET}".encode()
    assert base64.b64decode(body["sign"]) == hmac.digest(key, b"", hashlib.sha256)
    assert abs(int(body["timestamp"]) - time.time()) < 60


def test_dingtalk_signs_in_the_url(told: Told) -> None:
    _, server = told("dingtalk", more=", secret_env: HOOK_SECRET")
    path, body, headers = server.seen[1]
    query = parse_qs(urlsplit(path).query)
    stamp = query["timestamp"][0]
    assert query["access_token"] == [KEY]
    assert base64.b64decode(query["sign"][0]) == hmac.digest(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256)
    assert abs(int(stamp) / 1000 - time.time()) < 60
    assert headers["content-type"].startswith("application/json")
    assert set(body) == {"msgtype", "markdown"}
    assert set(body["markdown"]) == {"title", "text"}
    assert "- quiz, accuracy, echo_oracle: 100.00 (51.01 to 100.00)" in body["markdown"]["text"].splitlines()


def test_slack_blocks(told: Told) -> None:
    _, server = told("slack")
    body = bodies(server)[1]
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "rich_text"]
    assert {block["text"]["type"] for block in body["blocks"][:2]} == {"plain_text"}
    [table] = body["blocks"][2]["elements"]
    assert table["elements"][0]["text"] == "quiz  accuracy  echo_oracle  100.00  (51.01 to 100.00)"


def test_plain_webhook_has_everything(told: Told) -> None:
    done, server = told("webhook", more=", when: [finished]")
    [body] = bodies(server)
    assert body["event"] == "finished"
    assert body["recipe"] == "echo_oracle-quiz"
    assert (body["models"], body["tasks"], body["run"]) == (["echo_oracle"], ["quiz"], str(done.run))
    assert (body["unscored"], body["error"]) == (0, None)
    [row] = body["rows"]
    assert (row["score"], row["n"], row["ci95"][1]) == (100.0, 4, 100.0)
    assert body["seconds"] >= 0


def test_infer_tells_too(told: Told) -> None:
    done, server = told("webhook", "infer", "-m", "echo:oracle", "-t", "quiz.csv")
    assert done.rc == 0
    assert [(body["event"], body["rows"]) for body in bodies(server)] == [("started", []), ("finished", [])]


@pytest.mark.parametrize("kind", KINDS)
def test_failed_run_tells_why(kind: str, told: Told, tmp_path: Path) -> None:
    done, server = told(kind, "eval", "-m", "echo:oracle", "-t", "quiz.csv", "--data-dir", "nowhere", "-m", "replay:no.jsonl")
    assert done.rc == 2
    [body] = bodies(server)
    text = json.dumps(body, ensure_ascii=False)
    assert "failed" in text
    reason = done.err.strip().splitlines()[-1].removeprefix("ocli: ")
    assert reason.split()[0] in text
    nowhere(done, tmp_path)


def test_model_that_cannot_be_reached_is_told(told: Told, tmp_path: Path) -> None:
    arguments = ("eval", "-m", "openai:x", "-t", "quiz.csv", "--set", "model.base_url=http://127.0.0.1:9/v1")
    done, server = told("webhook", *arguments)
    assert done.rc == 2
    first, last = bodies(server)
    assert (first["event"], last["event"], last["run"]) == ("started", "failed", str(done.run))
    assert done.err.splitlines()[-1] == f"ocli: {last['error']}"
    nowhere(done, tmp_path)


def test_who_stops_a_run_by_hand_is_not_told(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("quiz.csv", QUESTIONS)
    with serving(of_kind) as server:
        monkeypatch.setenv("HOOK_URL", server.url)
        arguments = ("-m", "echo:oracle", "-t", "quiz.csv", "--set", "notify=[{to: webhook, url_env: HOOK_URL}]")
        slow = ("--set", "model.args.delay=1", "--set", "model.concurrency=1")
        command = [sys.executable, "-m", "ocli", "eval", *arguments, *slow]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert process.stderr is not None
        while not process.stderr.readline().startswith("echo_oracle 0/4"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert "interrupted" in process.communicate(timeout=30)[1]
        assert process.returncode == 130
    assert [body["event"] for body in bodies(server)] == ["started"]


def test_items_without_a_reply_are_counted(told: Told, write: Write) -> None:
    write("replies.jsonl", json.dumps({"id": "0", "text": "A"}) + "\n")
    done, server = told("feishu", "eval", "-m", "replay:replies.jsonl", "-t", "quiz.csv")
    assert done.rc == 1, done.err
    header = bodies(server)[-1]["card"]["header"]
    assert header["title"]["content"].endswith("finished, INCOMPLETE: 3 without a score")
    assert header["template"] == "orange"


REFUSALS = [
    ("feishu", 200, {"code": 19021, "msg": "sign match fail or timestamp is not within one hour"}, "code 19021: sign match fail"),
    ("feishu", 400, {"code": 9499, "msg": "Bad Request"}, "HTTP 400, code 9499: Bad Request"),
    ("dingtalk", 200, {"errcode": 310000, "errmsg": f"token {KEY} has no keyword"}, "errcode 310000: token *** has no keyword"),
    ("wecom", 200, {"errcode": 93000, "errmsg": "invalid webhook url"}, "errcode 93000: invalid webhook url"),
    ("wecom", 200, "<html>", "its answer is not wecom's (no 'errcode' in it); is it the right URL?"),
    ("slack", 403, "invalid_token", "HTTP 403, invalid_token"),
    ("webhook", 500, "<html>", "HTTP 500"),
    ("webhook", 302, "", "HTTP 302"),
]


@pytest.mark.parametrize(("kind", "status", "answer", "said"), REFUSALS)
def test_refusal_is_one_line_and_stops_nothing(
    kind: str, status: int, answer: Any, said: str, told: Told, tmp_path: Path
) -> None:
    done, server = told(kind, decide=lambda *_: (status, answer), more=", when: [finished]")
    assert done.rc == 0
    [line] = [line for line in done.err.splitlines() if line.startswith("notify")]
    assert line.startswith(f"notify: {kind} (HOOK_URL) was not told that the run has finished: {said}")
    assert len(server.seen) == (2 if status >= 500 else 1)  # only what may pass is tried once more
    assert "100.00" in done.out
    nowhere(done, tmp_path)


def test_server_that_hangs_holds_nothing_up(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT", 0.3)

    def hang(*_: Any) -> Answer:
        time.sleep(1)
        return 200, "ok"

    begun = time.monotonic()
    done, server = told("webhook", decide=hang, more=", when: [finished]")
    assert done.rc == 0
    assert "was not told that the run has finished: no answer within 0 s" in done.err
    assert len(server.seen) == 1  # it may have arrived
    assert time.monotonic() - begun < 5
    nowhere(done, tmp_path)


def test_nobody_there(ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("quiz.csv", QUESTIONS)
    monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:9/{KEY}")
    done = ocli("eval", "-m", "echo:oracle", "-t", "quiz.csv", "--set", "notify=[{to: slack, url_env: HOOK_URL}]")
    assert done.rc == 0
    lines = [line for line in done.err.splitlines() if line.startswith("notify")]
    assert [line.split(": ", 2)[2] for line in lines] == ["cannot be reached (Connection refused)"] * 2
    nowhere(done, tmp_path)


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize(
    "url", [f"http://[{KEY}/x", f"http://127.0.0.1:port/{KEY}", f"http://127.0.0.1:9/ {KEY}", f"ftp://{KEY}"]
)
def test_broken_url_is_not_repeated(
    url: str, debug: tuple[str, ...], write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("quiz.csv", QUESTIONS)
    monkeypatch.setenv("HOOK_URL", url)
    arguments = ["eval", "-m", "echo:oracle", "-t", "quiz.csv", "--set", "notify=[{to: slack, url_env: HOOK_URL}]", *debug]
    command = [sys.executable, "-m", "ocli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == (1 if debug else 2)
    assert "notify: HOOK_URL holds no URL (https://...) for slack" in done.stderr
    nowhere(Done(done.returncode, done.stdout, done.stderr), tmp_path)


WRONG = [
    ("[{to: slack, url_env: NO_SUCH}]", "notify: NO_SUCH is not set; export it: the URL of the webhook for slack"),
    ("[{to: lark, url_env: HOOK_URL, secret_env: NOT_SET}]", "NOT_SET is not set; export it: the secret it is signed with"),
    ("[{to: slack, url_env: HOOK_SECRET}]", "notify: HOOK_SECRET holds no URL (https://...) for slack"),
    ("[{to: slak, url_env: HOOK_URL}]", "did you mean 'slack' or 'lark'?"),
    ("[{to: slack}]", "needs the key 'url_env'"),
    (f"[{{to: slack, url: 'https://hooks/{KEY}'}}]", "a webhook's URL is a secret"),
    (f"[{{to: slack, url_env: 'https://hooks/{KEY}'}}]", "a webhook's URL is a secret"),
    (f"[{{to: slack, url_env: '{KEY}'}}]", "is the *name* of an environment variable"),
    (f"[https://hooks/{KEY}]", "is a mapping, as {to: slack, url_env: SLACK_URL}"),
    (f"https://hooks/{KEY}", "is a list, as [{to: slack, url_env: SLACK_URL}]"),
    ("[{to: slack, url_env: HOOK_URL, secret_env: HOOK_SECRET}]", "slack signs nothing"),
    ("[{to: slack, url_env: HOOK_URL, when: [over]}]", "not 'over'"),
]


@pytest.mark.parametrize(("notify", "said"), WRONG)
def test_wrong_setting_is_refused_before_anything_is_asked(
    notify: str, said: str, ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("quiz.csv", QUESTIONS)
    monkeypatch.setenv("HOOK_URL", "http://127.0.0.1:9/")
    done = ocli("eval", "-m", "echo:oracle", "-t", "quiz.csv", "--set", f"notify={notify}")
    assert done.rc == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
    nowhere(done, tmp_path)


def test_offline_refuses(told: Told) -> None:
    done, server = told("slack", "eval", "-m", "echo:oracle", "-t", "quiz.csv", "--offline")
    assert (done.rc, server.seen) == (2, [])
    assert done.err == "ocli: notify: --offline opens no socket; leave it out for this run with --set notify=[]\n"


def test_dry_run_tells_nobody(told: Told) -> None:
    done, server = told("slack", "eval", "-m", "echo:oracle", "-t", "quiz.csv", "--dry-run")
    assert (done.rc, server.seen) == (0, [])


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_others_are_no_markup(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's or an error's words mention nobody, link to nothing and draw nothing."""
    from ocli.stages.notify.services import SERVICES

    notice = Notice("failed", "failed", NASTY, [NASTY], ["quiz"], None, 1.0, error=f"{NASTY}\n# {NASTY}\x1b[31m")
    body = SERVICES[kind](notice, None, 0.0).body
    text = json.dumps(body, ensure_ascii=False)
    if kind in ("dingtalk", "wecom"):
        assert not set("<[]`") & set(json.dumps(body["markdown"], ensure_ascii=False))
        assert "**x" not in text
    elif kind == "slack":
        assert "<!channel>" not in body["text"]
        assert {block["text"]["type"] for block in body["blocks"]} == {"plain_text"}
    elif kind != "webhook":
        assert '"tag": "lark_md"' not in text
    assert kind == "webhook" or "\\u001b" not in text  # JSON is data
    assert "evil" in text  # it is still said


def test_what_is_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    notice = Notice("failed", "failed", "r", ["模型" * 3000], ["任务" * 3000], "r" * 3000, 1.0, error="错" * 30_000)
    assert len(wecom(notice, None, 0.0).body["markdown"]["content"].encode()) <= 4096
    assert len(one_line("x" * 9999)) == LONGEST


def test_many_scores_are_cut_to_what_the_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from ocli.stages.notify.services import SERVICES
    from ocli.stages.report import Summary, SummaryRow

    def row(n: int) -> SummaryRow:
        return SummaryRow(
            "模型", f"任务_{n}", f"任务_{n}", None, None, "abc", "accuracy", "gen", 50.0, 1.0, [48.0, 52.0], 9, 0, 0, 0
        )

    summary = Summary("run", "r", ["模型"], [row(n) for n in range(999)])
    notice = Notice("finished", "finished", "r", ["模型"], [f"任务_{n}" for n in range(999)], "run", 1.0, summary=summary)
    sizes = {"feishu": 20_000, "dingtalk": 20_000, "wecom": 4096, "slack": 3500}
    for kind, most in sizes.items():
        body = SERVICES[kind](notice, None, 0.0).body
        content = body["markdown"]["content"] if kind == "wecom" else body["blocks"][-1] if kind == "slack" else body
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        assert len(text.encode()) <= most
        assert "more: see the run" in text
        assert "任务_0, accuracy" in text or kind == "slack"


def test_durations_and_secrets() -> None:
    assert [duration(seconds) for seconds in (7.2, 200, 7500)] == ["7 s", "3 min 20 s", "2 h 05 min"]
    assert delivery.hidden(f"no {KEY} in a%2Fb-c-d-e-f", f"https://x/{KEY}?key=a%2Fb-c-d-e-f") == "no *** in ***"


def test_url_is_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    from ocli.catalog import load_recipe

    monkeypatch.setenv("HOOK_URL", f"http://x/{KEY}")
    recipe = load_recipe(None, ["echo:oracle"], ["quickstart"], {"notify": [{"to": "slack", "url_env": "HOOK_URL"}]})
    assert recipe.notify == [NotifySpec(to="slack", url_env="HOOK_URL")]
    notifier = Notifier(recipe, print)
    assert KEY not in repr(notifier) + repr(notifier.receivers) + repr(recipe)
