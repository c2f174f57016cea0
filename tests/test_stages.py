"""The stages as separate processes: scoring and reporting need no model and no network, and a long run shows itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
