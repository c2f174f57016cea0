"""``ocli view`` as a process of its own on a real port: pages, items, refusals, and a run that is still going on."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from conftest import Ocli, Write
from server import Answer, chat_answer, serving
from test_browse import COUNT, TASK, ids, write_task

from ocli.runs import Run
from ocli.stages.browse import Book
from ocli.stages.browse.table import FILTERS, Query

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": "1"}


class Viewer:
    """A server that has printed its address."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url
        self.port = int(re.sub(r".*:(\d+)/.*", r"\1", url))

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def api(self, what: str, **query: Any) -> Any:
        status, _, body = self.ask(f"/api/{what}?{urlencode(query)}")
        assert status == 200, body
        return json.loads(body)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ocli", *map(str, arguments)]


@contextmanager
def viewing(*arguments: object) -> Iterator[Viewer]:
    """Run ``ocli view`` while the block runs."""
    process = subprocess.Popen(
        command("view", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            assert process.stderr
            pytest.fail(process.stderr.read())
        yield Viewer(process, line.strip())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def run(ocli: Ocli, write: Write) -> Run:
    return Run(ocli("eval", *write_task(write)).run)


@pytest.fixture
def viewer(run: Run) -> Iterator[Viewer]:
    with viewing(run.path, "--port", 0) as found:
        yield found


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    """Return the first thing that is true; fail where nothing becomes so."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError("did not become true in time")


def test_serves_page_rows_and_items(run: Run, viewer: Viewer) -> None:
    status, headers, page = viewer.ask("/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<html" in page
    book = Book([run])
    told = viewer.api("page")
    assert {**told, "made": ""} == {**json.loads(json.dumps(book.page())), "made": ""}
    assert (told["live"], told["complete"]) == (False, True)
    for name in FILTERS:
        for model in ("", *told["models"]):
            found = viewer.api("items", task="task", filter=name, model=model, limit=1000)
            assert [row["id"] for row in found["items"]] == ids(book, filter=name, model=model or None)
            assert found["total"] == len(found["items"])
    page_two = viewer.api("items", task="task", offset=5, limit=3)
    assert ([row["id"] for row in page_two["items"]], page_two["total"]) == (ids(book)[5:8], COUNT)
    assert viewer.api("items", task="task", offset=10**9)["items"] == []
    assert {row["subset"] for row in viewer.api("items", task="task", subset="b")["items"]} == {"b"}
    assert [row["id"] for row in viewer.api("items", task="task", q="Question b3?")["items"]] == ["b/3"]
    assert viewer.api("item", task="task", id="a/7", sample=0) == book.item("task", ("a/7", 0))


def test_answers_carry_headers_that_keep_other_pages_out(viewer: Viewer) -> None:
    for path in ("/", "/api/page", "/nothing"):
        _, headers, _ = viewer.ask(path)
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in headers if name.startswith("access-control")]


REFUSED = [
    ("/api/items?task=tusk", 404, "no task is called 'tusk'"),
    ("/api/items", 404, "no task is called ''"),
    ("/api/items?task=../../etc/passwd", 404, "no task is called '../../etc/passwd'"),
    ("/api/items?task=task&filter=bad", 400, "no filter is called 'bad'"),
    ("/api/items?task=task&filter=wrong&model=bad", 400, "no model is called 'bad'"),
    ("/api/items?task=task&offset=-1", 400, "offset must be a whole number from 0, not '-1'"),
    (f"/api/items?task=task&offset={quote('٣')}", 400, "offset must be a whole number"),
    (f"/api/items?task=task&limit={'9' * 30}", 400, "limit must be a whole number"),
    ("/api/item?task=task&id=z", 404, "no item has the id 'z'"),
    ("/api/item?task=task&id=a/1&sample=1", 404, "no item has the id 'a/1' and the sample 1"),
    ("/api/item?task=task&id=a/1&sample=99999999999", 404, "no item has the id"),
    ("/configs/recipe.yaml", 404, "Not Found"),
    ("/..%2f..%2fetc/passwd", 404, "Not Found"),
]


def test_what_cannot_be_answered_is_one_line(viewer: Viewer) -> None:
    for path, status, says in REFUSED:
        got, headers, body = viewer.ask(path)
        assert (got, headers["content-type"]) == (status, "application/json; charset=utf-8"), path
        error = json.loads(body)["error"]
        assert says in error
        assert "\n" not in error


def test_what_is_no_http_is_refused_in_silence(viewer: Viewer) -> None:
    for sent in (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00 hello\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", viewer.port), timeout=20) as connection:
            connection.sendall(sent)
            assert b" 400 " in connection.recv(1000)
    viewer.process.terminate()
    _, err = viewer.process.communicate(timeout=20)
    assert "Traceback" not in err


def test_only_get_under_its_own_names_is_answered(viewer: Viewer) -> None:
    for host in ("localhost", f"127.0.0.1:{viewer.port}", "localhost:9999", f"[::1]:{viewer.port}"):
        assert viewer.ask("/api/page", Host=host)[0] == 200
    for host in ("evil.example", f"127.0.0.1.evil.example:{viewer.port}", "", "localhost@evil.example", "[::1"):
        assert viewer.ask("/api/page", Host=host)[0] in (400, 403)
    for site, status in {"none": 200, "same-origin": 200, "same-site": 403, "cross-site": 403}.items():
        assert viewer.ask("/api/page", **{"Sec-Fetch-Site": site})[0] == status
    assert viewer.ask("/", **{"Sec-Fetch-Site": "cross-site"})[0] == 200  # a link to it
    for method in ("POST", "HEAD", "PUT", "DELETE", "OPTIONS"):
        assert viewer.ask("/api/page", method)[0] == 405


def test_another_address_needs_the_token(run: Run) -> None:
    with viewing(run.path, "--port", 0, "--host", "0.0.0.0") as viewer:
        assert viewer.ask("/")[0] == viewer.ask("/api/page")[0] == viewer.ask("/?token=wrong")[0] == 403
        assert viewer.ask("/api/page", Cookie="ocli_view=wrong")[0] == 403
        token = viewer.url.partition("/?token=")[2]
        status, headers, _ = viewer.ask(f"/?token={token}")
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly" in headers["set-cookie"]
        cookie = headers["set-cookie"].partition(";")[0]
        assert viewer.ask("/", Cookie=cookie)[0] == viewer.ask("/api/page", Cookie=cookie)[0] == 200


def test_ctrl_c_ends_it_at_once_and_without_a_word(viewer: Viewer) -> None:
    viewer.process.send_signal(signal.SIGINT)
    _, err = viewer.process.communicate(timeout=20)
    assert viewer.process.returncode == 0
    assert "Traceback" not in err
    assert f"ssh -L {viewer.port}:127.0.0.1:{viewer.port}" in err


def test_a_taken_port_is_an_error_where_it_was_asked_for(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            command("view", run.path, "--port", port), capture_output=True, text=True, env=ENVIRONMENT, check=False
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"ocli: 127.0.0.1:{port}: cannot be listened on: .*; say another --port or --host\n", done.stderr)
    with viewing(run.path) as first, viewing(run.path) as second:
        assert first.port != second.port
        assert second.ask("/api/page")[0] == 200


def test_no_run_is_one_line(ocli: Ocli) -> None:
    done = ocli("view", "nowhere")
    assert (done.rc, done.err) == (
        2,
        "ocli: nowhere: is no run and holds none (a run has configs/recipe.yaml); 'ocli eval' makes one\n",
    )


def test_results_that_break_while_it_runs_are_one_line(run: Run) -> None:
    model = next(iter(run.recipe().models))
    with viewing(run.path, "--port", 0) as viewer:
        assert viewer.api("page")["models"]
        run.results(model, "task").write_bytes(b"PAR1 or not")
        status, _, body = until(lambda: (got := viewer.ask("/api/items?task=task"))[0] == 400 and got)
        assert status == 400
        assert "cannot be read" in json.loads(body)["error"]
        shutil.rmtree(run.path / "predictions")
    with viewing(run.path, "--port", 0) as viewer:
        assert viewer.ask("/")[0] == viewer.ask("/api/page")[0] == 400


def test_follows_a_run_until_it_is_scored(write: Write, tmp_path: Path) -> None:
    write_task(write, 0)
    gate = threading.Semaphore(0)
    letters = iter("AB" * COUNT)

    def slow(path: str, body: dict[str, Any]) -> Answer:
        if "Question" in body["messages"][-1]["content"]:
            assert gate.acquire(timeout=60)
        return chat_answer(next(letters))

    with serving(slow) as server:
        write("m.yaml", json.dumps({"engine": "openai", "path": "served", "base_url": server.url, "concurrency": 1}))
        arguments = command("eval", "-m", "m.yaml", "-t", "task.yaml", "-w", tmp_path / "out")
        going = subprocess.Popen(
            arguments, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            recipe = until(lambda: list((tmp_path / "out").glob("*/2*/configs/recipe.yaml")))
            with viewing(recipe[0].parents[1], "--port", 0) as viewer:
                page = viewer.api("page")
                assert (page["live"], page["progress"]) == (True, {"m": {"task": [0, COUNT]}})
                assert viewer.ask("/")[0] == 200
                for done in (1, 9):
                    for _ in range(done - page["progress"]["m"]["task"][0]):
                        gate.release()
                    until(lambda: viewer.api("page")["progress"]["m"]["task"] == [done, COUNT])  # noqa: B023
                    page = viewer.api("page")
                    rows = viewer.api("items", task="task")["items"]
                    assert len(rows) == done
                    right = sum(row["answers"]["m"]["score"] for row in rows)
                    [row] = [row for row in page["summary"]["rows"] if row["headline"] and row["dataset"] == "task"]
                    assert (row["n"], page["tasks"]["task"]["counts"]["m"]["right"]) == (done, right)
                item = viewer.api("item", task="task", id=rows[0]["id"])
                assert item["replies"]["m"]["messages"][0]["content"].startswith("Question a")
                gate.release(COUNT)
                assert going.wait(60) == 0
                page = until(lambda: (page := viewer.api("page"))["live"] is False and page)
                assert page["tasks"]["task"]["counts"]["m"]["all"] == COUNT
                assert viewer.api("items", task="task")["total"] == COUNT
        finally:
            gate.release(COUNT)
            going.kill()
            going.communicate()


def lines_of(run: Run) -> list[bytes]:
    [path] = (run.path / "predictions").rglob("*.jsonl")
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture
def going(ocli: Ocli, write: Write) -> Run:
    """A run as it is while infer writes it: no results."""
    write_task(write, 0)
    return Run(ocli("infer", "-m", "echo:oracle", "-t", "task.yaml").run)


def test_a_growing_file_is_read_to_its_last_whole_line(going: Run) -> None:
    lines, path = lines_of(going), next((going.path / "predictions").rglob("*.jsonl"))
    path.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    book = Book([going])
    assert [len(ids(book)), book.page()["live"]] == [3, True]
    before = book.state
    assert book.refresh() is before
    with open(path, "ab") as file:
        file.write(lines[3][40:] + lines[4])
    book.refresh()
    assert len(ids(book)) == 5
    assert book.item("task", (ids(book)[4], 0))["replies"]


@pytest.mark.parametrize("how", ["replaced", "cut", "rewritten", "removed"])
def test_a_mended_file_is_read_anew(going: Run, how: str) -> None:
    lines, path = lines_of(going), next((going.path / "predictions").rglob("*.jsonl"))
    book = Book([going])
    assert len(ids(book)) == COUNT
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        other = path.with_name("other")
        other.write_bytes(b"".join(lines[5:]))
        other.replace(path)
    else:
        path.write_bytes(b"".join(lines[:4] if how == "cut" else [*lines[1:], lines[0]]))
    book.refresh()
    left = {"replaced": COUNT - 5, "cut": 4, "rewritten": COUNT, "removed": 0}[how]
    assert next(iter(book.page()["progress"].values()))["task"] == [left, COUNT]
    if left:
        assert all(told["replies"] for told in [book.item("task", (item, 0)) for item in ids(book)])
        assert len(ids(book)) == left


def test_a_failed_request_that_is_asked_again_counts_once(going: Run) -> None:
    lines, path = lines_of(going), next((going.path / "predictions").rglob("*.jsonl"))
    failed = json.loads(lines[0]) | {"error": "no answer", "text": ""}
    path.write_bytes(json.dumps(failed).encode() + b"\n" + lines[1])
    book = Book([going])
    assert (len(ids(book)), len(ids(book, filter="failed"))) == (2, 1)
    with open(path, "ab") as file:
        file.write(lines[0])
    book.refresh()
    assert (len(ids(book)), len(ids(book, filter="failed"))) == (2, 0)


def test_scores_that_need_running_code_are_pending(ocli: Ocli, write: Write) -> None:
    task = {**TASK, "score": [{"extract": "code", "metric": "passes"}]}
    write_task(write, 0, task)
    done = ocli("infer", "-m", "echo:x", "-t", "task.yaml")
    book = Book([Run(done.run)])
    rows = book.items("task", Query())["items"]
    assert {answer["status"] for row in rows for answer in row["answers"].values()} == {"pending"}
