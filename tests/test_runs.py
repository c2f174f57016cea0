"""Runs: what is on disk stays, whatever happens, and a resumed run ends like one that was never disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Ocli, Write
from server import Answer, chat_answer, serving

from ocli.errors import RunError
from ocli.runs import Predictions, Run, keep_valid

ROOT = Path(__file__).parents[1]
KILLS = 20
IN_FLIGHT = 4
ITEMS = 200
QA = "question,answer\n" + "".join(f"What is {number} + {number}?,{2 * number}\n" for number in range(ITEMS))
BIG = ("-m", "echo", "-t", "big.csv")
SLOW = (*BIG, "--set", "model.args.delay=0.02", "--set", f"model.concurrency={IN_FLIGHT}")


def replies(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def predictions(run: Path, model: str = "echo", task: str = "big") -> Path:
    return run / "predictions" / model / f"{task}.jsonl"


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def killed_after(more: int, moment: random.Random, *arguments: str, model: str = "echo") -> None:
    """Start ``ocli infer`` and SIGKILL it at a random moment after ``more`` new replies are on disk."""
    path = predictions(Path(f"outputs/{model}-big/latest"), model)
    wanted = lines_in(path) + more
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "ocli", "infer", *arguments],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while lines_in(path) < wanted and process.poll() is None:
        time.sleep(0.002)
    time.sleep(moment.uniform(0, 0.03))
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, err


def test_run_killed_twenty_times_ends_like_an_undisturbed_one(ocli: Ocli, write: Write) -> None:
    write("big.csv", QA)
    undisturbed = ocli("eval", *BIG, "-w", "quiet")
    assert undisturbed.rc == 0
    moment = random.Random(20)
    path = predictions(Path("outputs/echo-big/latest"))
    written = b""
    for number in range(KILLS):
        killed_after(moment.randint(1, 6), moment, *SLOW, *(["-r"] if number else []))
        now = path.read_bytes()
        assert now.startswith(written), "a reply that was on disk has gone or was asked again"
        assert len(now) > len(written)
        written = now[: now.rfind(b"\n") + 1]
    before = lines_in(path)
    assert KILLS <= before < ITEMS
    done = ocli("eval", *BIG, "-r")
    assert done.rc == 0, done.err
    assert f"{before} replies were there already, {ITEMS - before} asked now" in done.err
    assert path.read_bytes().startswith(written)
    ids = [reply["id"] for reply in replies(path)]
    assert sorted(ids, key=int) == [str(number) for number in range(ITEMS)]
    assert len(list(Path("outputs/echo-big").glob("2*"))) == 1
    for suffix in ("txt", "csv", "md"):
        name = f"summary/summary.{suffix}"
        assert (done.run / name).read_bytes() == (undisturbed.run / name).read_bytes()


def test_server_is_asked_again_only_for_what_was_in_flight(ocli: Ocli, write: Write) -> None:
    def slowly(_: str, body: dict[str, Any]) -> Answer:
        time.sleep(0.02)
        return chat_answer(body["messages"][-1]["content"])

    kills, moment = 3, random.Random(3)
    write("big.csv", QA)
    with serving(slowly) as server:
        write("api.yaml", f"engine: openai\npath: served\nbase_url: {server.url}/v1\nconcurrency: {IN_FLIGHT}\n")
        arguments = ("-m", "api.yaml", "-t", "big.csv", "--limit", "80")
        for number in range(kills):
            killed_after(moment.randint(3, 12), moment, *arguments, *(["-r"] if number else []), model="api")
        assert ocli("infer", *arguments, "-r").rc == 0
    asked = [body["messages"][-1]["content"] for _, body, _ in server.seen]
    assert len(set(asked)) == 80
    assert 80 <= len(asked) <= 80 + kills * IN_FLIGHT


def test_killed_run_is_scored_with_what_is_missing(ocli: Ocli, write: Write) -> None:
    write("big.csv", QA)
    killed_after(10, random.Random(1), *SLOW)
    run = Path("outputs/echo-big/latest").resolve()
    done = ocli("score", run)
    assert done.rc == 1
    answered = lines_in(predictions(run))
    table = ocli("report", run)
    assert table.rc == 1
    assert f"n = {answered}" in table.out
    assert f"failed {ITEMS - answered} " in table.out


TEARS = [b'{"key": "x', b"{", b'{"key": "\xe4\xb8', b"\x00" * 64]


@pytest.mark.parametrize("torn", TEARS)
def test_torn_last_line_is_ignored_by_score_and_mended_by_resume(ocli: Ocli, write: Write, torn: bytes) -> None:
    write("big.csv", QA)
    run = ocli("eval", *BIG).run
    path = predictions(run)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:-1]) + torn)
    assert ocli("score", run).rc == 1
    assert f"n = {ITEMS - 1}" in ocli("report", run).out
    done = ocli("eval", *BIG, "-r")
    assert done.rc == 0
    assert f"{ITEMS - 1} replies were there already, 1 asked now" in done.err
    assert path.read_bytes() == b"".join(whole)


def test_reply_whose_end_of_line_is_missing_is_asked_again_and_not_glued_to_the_next(ocli: Ocli, write: Write) -> None:
    write("big.csv", QA)
    run = ocli("infer", *BIG, "--limit", 50).run
    path = predictions(run)
    path.write_bytes(path.read_bytes()[:-1])
    assert "49 replies were there already, 151 asked now" in ocli("infer", *BIG, "-r").err
    assert len({reply["id"] for reply in replies(path)}) == lines_in(path) == ITEMS


def test_torn_and_doubled_lines_in_the_middle_are_mended(ocli: Ocli, write: Write) -> None:
    write("big.csv", QA)
    run = ocli("infer", *BIG).run
    path = predictions(run)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*whole[:9], whole[9][:50], *whole[10:20], whole[3], b"[]\n", b"\n", *whole[20:]]))
    score = ocli("score", run)
    assert score.rc == 2
    assert "quickstart" not in score.err
    assert "big.jsonl:10: not a whole prediction line; 'ocli infer ... -r' drops it" in score.err
    done = ocli("eval", *BIG, "-r")
    assert done.rc == 0, done.err
    assert "198 replies were there already, 2 asked now" in done.err
    assert sorted(path.read_bytes().splitlines()) == sorted(b"".join(whole).splitlines())


def test_failed_requests_score_nothing_and_only_they_are_asked_again(ocli: Ocli, write: Write) -> None:
    write("big.csv", QA)
    failing = ocli("eval", *BIG, "--set", "model.args.fail_every=5")
    assert failing.rc == 1
    before = {reply["id"]: reply for reply in replies(predictions(failing.run))}
    failed = {name for name, reply in before.items() if reply["error"]}
    assert 0 < len(failed) < ITEMS
    assert f"failed {len(failed)} (" in failing.out
    [row] = [
        row for row in json.loads((failing.run / "summary/summary.json").read_text())["rows"] if row["metric"] == "exact_match"
    ]
    assert (row["n"], row["failed"]) == (ITEMS - len(failed), len(failed))
    assert scores_of(failing.run) == failed
    done = ocli("eval", *BIG, "-r")
    assert done.rc == 0
    assert f"{ITEMS - len(failed)} replies were there already, {len(failed)} asked now" in done.err
    after = {reply["id"]: reply for reply in replies(predictions(done.run))}
    assert done.run == failing.run
    assert not any(reply["error"] for reply in after.values())
    assert all(after[name] == before[name] for name in before if name not in failed)
    assert scores_of(done.run) == set()


def scores_of(run: Path) -> set[str]:
    """Return the items without a score, and check that they are those which the results call failed."""
    import polars as pl

    results = pl.read_parquet(run / "results" / "echo" / "big.parquet")
    without = set(results.filter(pl.col("score").is_null())["id"])
    assert without == set(results.filter(pl.col("status") == "failed")["id"])
    return without


def test_changed_prompt_is_asked_again_and_its_old_replies_are_not_used(ocli: Ocli, write: Write) -> None:
    write("q.csv", QA)
    write("t.yaml", "extends: custom_qa\ndata: {local: ./q.csv}\nprompt: x/p\n")
    write("prompts/x/p.jinja", "{% block user %}{{ question }}{% endblock %}")
    arguments = ("-m", "echo", "-t", "t.yaml", "--limit", 20)
    run = ocli("infer", *arguments).run
    assert "20 replies were there already, 0 asked now" in ocli("infer", *arguments, "-r").err
    write("prompts/x/p.jinja", "{% block user %}Please: {{ question }}{% endblock %}")
    os.utime("prompts/x/p.jinja", (1, 1))
    again = ocli("infer", *arguments, "-r")
    assert again.run == run
    assert "were there already" not in again.err
    texts = [reply["text"] for reply in replies(predictions(run, task="t"))]
    assert len(texts) == 20
    assert all(text.startswith("Please: What is") for text in texts)


def test_changed_setting_and_changed_row_are_asked_again(ocli: Ocli, write: Write) -> None:
    write("big.csv", QA)
    ocli("infer", *BIG)
    assert "were there already" not in ocli("infer", *BIG, "--set", "sampling.max_tokens=7", "-r").err
    write("big.csv", QA.replace("What is 7 +", "What would be 7 +"))
    assert "199 replies were there already, 1 asked now" in ocli("infer", *BIG, "--set", "sampling.max_tokens=7", "-r").err


def test_larger_limit_keeps_every_earlier_reply_and_a_smaller_one_loses_none(ocli: Ocli, write: Write) -> None:
    write("big.csv", QA)
    run = ocli("infer", *BIG, "--limit", 5).run
    path = predictions(run)
    first = path.read_bytes()
    assert "5 replies were there already, 45 asked now" in ocli("infer", *BIG, "--limit", 50, "-r").err
    second = path.read_bytes()
    assert second.startswith(first)
    few = ocli("eval", *BIG, "--limit", 5, "-r")
    assert few.rc == 0
    assert "5 replies were there already, 0 asked now" in few.err
    assert "n = 5)" in few.out
    assert path.read_bytes() == second
    all_of_them = ocli("eval", *BIG, "-r")
    assert "50 replies were there already, 150 asked now" in all_of_them.err
    assert "n = 200)" in all_of_them.out
    assert path.read_bytes().startswith(second)


def test_resume_asks_a_model_and_a_task_that_were_added(ocli: Ocli, write: Write) -> None:
    write("r.yaml", "models: [echo]\ntasks: [quickstart]\nlimit: 5\n")
    run = ocli("infer", "r.yaml").run
    write("big.csv", QA)
    write("r.yaml", "models: [echo, 'echo:silent']\ntasks: [quickstart, big.csv]\nlimit: 5\n")
    done = ocli("infer", "r.yaml", "-r")
    assert done.run == run
    assert "5 replies were there already, 15 asked now" in done.err
    assert len(list((run / "predictions").rglob("*.jsonl"))) == 4


def test_replies_of_a_run_are_a_replay_file(ocli: Ocli) -> None:
    run = ocli("eval", "-m", "echo:oracle", "-t", "quickstart").run
    path = run / "predictions" / "echo_oracle"
    for source in (path, path / "quickstart.jsonl"):
        done = ocli("eval", "-m", f"replay:{source}", "-t", "quickstart")
        assert done.rc == 0
        assert "replay, quickstart: 100.00" in done.out


def test_prediction_line_has_the_fields_of_the_contract(ocli: Ocli, write: Write) -> None:
    write("big.csv", QA)
    for model, prompt in (("echo", "messages"), ("base.yaml", "prompt")):
        write("base.yaml", "engine: echo\nchat: false\n")
        run = ocli("infer", "-m", model, "-t", "big.csv", "--limit", 1).run
        [reply] = replies(predictions(run, model.removesuffix(".yaml")))
        names = "key id subset sample text reasoning choices finish_reason usage seconds error"
        assert list(reply) == [*names.split(), prompt]
        assert set(reply["usage"]) == {"prompt", "cached", "completion"}
        assert (reply["subset"], reply["sample"], reply["error"]) == (None, 0, None)


def test_two_runs_within_one_second_do_not_mix(ocli: Ocli) -> None:
    runs = [ocli("infer", "-m", "echo", "-t", "quickstart", "--limit", 1).run for _ in range(3)]
    assert len(set(runs)) == 3
    assert Path("outputs/echo-quickstart/latest").resolve() == runs[-1].resolve()
    assert Run.find("outputs").path.name == runs[-1].name
    assert Run.find("outputs/echo-quickstart/latest").path.resolve() == runs[-1].resolve()


def test_append_to_a_full_disk_takes_back_what_was_torn() -> None:
    Path("full.jsonl").symlink_to("/dev/full")
    file = Predictions(Path("full.jsonl"))
    with pytest.raises(RunError, match=r"full\.jsonl: cannot be written: No space left on device"):
        file.append(b"{}\n")


def test_good_file_is_not_written_anew(write: Write) -> None:
    line = json.dumps({"key": "k", "id": "0", "sample": 0, "error": None}) + "\n"
    path = write("p.jsonl", line)
    before = path.stat()
    assert keep_valid(path, {("0", 0): "k"}) == ({("0", 0)}, 0)
    assert path.stat().st_ino == before.st_ino
    assert keep_valid(path, {("0", 0): "other"}) == (set(), 1)
    assert path.read_bytes() == b""
    assert Path("p.jsonl.old").read_text(encoding="utf-8") == line
