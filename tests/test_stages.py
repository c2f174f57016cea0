"""The stages as separate processes: scoring and reporting need no model and no network, and a long run shows itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import Ocli

WITHOUT_MODELS_AND_NETWORK = """
import socket, sys

for name in ("torch", "transformers", "vllm", "openai"):
    sys.modules[name] = None

def blocked(*_):
    raise OSError("sockets are blocked in this test")

socket.socket.connect = socket.socket.bind = blocked
socket.getaddrinfo = blocked
"""


def ocli(*arguments: str, cwd: Path, extra_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(Path(__file__).parent.parent), *([str(extra_path)] if extra_path else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(reversed(paths))}
    command = [sys.executable, "-m", "ocli", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    done = ocli("infer", "-m", "echo:oracle", "-t", "quickstart", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path / done.stdout.strip()


def test_score_and_report_work_without_torch_and_with_sockets_blocked(run: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(WITHOUT_MODELS_AND_NETWORK, encoding="utf-8")
    probe = "import socket; socket.create_connection(('127.0.0.1', 9))"
    environment = {**os.environ, "PYTHONPATH": str(blocker)}
    proof = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=False)
    assert "sockets are blocked in this test" in proof.stderr
    for command in ("score", "report"):
        done = ocli(command, str(run), cwd=tmp_path, extra_path=blocker)
        assert done.returncode == 0, done.stderr
    assert (run / "summary" / "summary.csv").read_text(encoding="utf-8").splitlines()[-1].endswith(",accuracy,gen,100.00")


def test_report_of_replies_that_are_not_scored_yet_says_what_to_do(run: Path, tmp_path: Path) -> None:
    done = ocli("report", str(run), cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"ocli: .*is scored yet; run: ocli score .*\n", done.stderr)


def test_pipe_gets_plain_lines_with_everything_in_them(tmp_path: Path) -> None:
    arguments = ("-m", "echo:oracle", "-t", "quickstart", "--set", "model.args.delay=0.2", "--set", "model.concurrency=6")
    done = ocli("infer", *arguments, cwd=tmp_path)
    lines = [line for line in done.stderr.splitlines() if line.startswith("echo_oracle ") and "/200" in line]
    assert 3 <= len(lines) <= 5  # the first, one every five seconds, the last
    pattern = r"echo_oracle \d+/200  [\d.]+/s  [\d.k]+ tok/s  ETA \d+:\d\d  score 100.0  0 errors"
    assert re.fullmatch(pattern, lines[1])
    assert "\x1b" not in done.stderr


def test_half_a_character_in_a_reply_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("question,A,B,answer\nWhat?,1,2,B\nWhich?,1,2,B\n", encoding="utf-8")
    lines = '{"id": "0", "text": "The answer is B \\ud83d"}\n{"id": "1", "text": "\\udc00 B", "reasoning": "\\ud800"}\n'
    (tmp_path / "cut.jsonl").write_text(lines, encoding="utf-8")
    done = ocli("eval", "-m", "replay:cut.jsonl", "-t", "q.csv", cwd=tmp_path)
    assert (done.returncode, "replay, q: 100.00" in done.stdout) == (0, True), done.stderr


def test_a_part_or_several_runs_do_not_take_the_place_of_a_runs_own_page(ocli: Ocli) -> None:
    done = ocli("eval", "-m", "echo:oracle", "-m", "echo:silent", "-t", "quickstart", "--limit", 3)
    page = done.run / "summary" / "report.html"
    before = page.read_bytes()
    other = ocli("eval", "-m", "echo:silent", "-t", "quickstart", "--limit", 3, "-w", "o").run
    for words in ((done.run, "-m", "echo_oracle"), (done.run, other)):
        assert ocli("report", *words, "--format", "html").out == "report.html\n"
        assert page.read_bytes() == before
    assert ocli("report", done.run, "--format", "html").out == f"{page}\n"


def test_a_recipe_without_its_record_is_one_line(ocli: Ocli) -> None:
    run = ocli("eval", "-m", "echo", "-t", "quickstart", "--limit", 1).run
    path = run / "configs" / "recipe.yaml"
    path.write_text(path.read_text(encoding="utf-8").partition("\nrecord:")[0] + "\n", encoding="utf-8")
    done = ocli("report", run)
    assert (done.rc, len(done.err.splitlines())) == (2, 1)
    assert "has no record of quickstart" in done.err


def test_results_without_a_rules_column_say_what_to_run(ocli: Ocli) -> None:
    run = ocli("eval", "-m", "echo", "-t", "quickstart", "--limit", 1).run
    path = run / "configs" / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    rules = recipe["tasks"]["quickstart"]["score"]
    rules.append({**rules[0], "name": "second"})
    path.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    done = ocli("report", run)
    assert (done.rc, len(done.err.splitlines())) == (2, 1)
    assert f"is not scored by second yet; run: ocli score {run}" in done.err
    assert ocli("score", run).rc == 0
    assert ocli("report", run).rc == 0
