"""Real servers of the tiny model that comes with ocli: 'vllm serve' and 'transformers serve'. Run by 'make test-vllm'."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="needs vLLM: make test-vllm")

NANO = Path(__file__).parent.parent / "recipes" / "models" / "nano" / "weights"
SCRIPTS = Path(sys.executable).parent
STARTING = 240
"""Seconds that a server may take to start on two cores."""


@contextmanager
def serving(*command: str, log: Path) -> Iterator[str]:
    """Run a server on a free port until the block ends; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(log, "w") as out:
        server = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], stdout=out, stderr=out, cwd=log.parent)
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(STARTING):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def evaluate(folder: Path, *arguments: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Run ``ocli eval`` as a user does; return the task's row of the summary, and the text of every reply."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-m", "ocli", "eval", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [run] = folder.glob("outputs/*/latest")
    rows = json.loads((run / "summary" / "summary.json").read_text())["rows"]
    [path] = run.glob("predictions/*/*.jsonl")
    replies = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return next(row for row in rows if row["subset"] is None and row["group"] is None), {
        one["id"]: one["text"] for one in replies
    }


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, str]]:
    """What the engine in ocli's own process answers."""
    return evaluate(tmp_path_factory.mktemp("engine"), "-m", "vllm:nano", "-t", "quickstart")


@pytest.fixture(scope="module")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A vLLM server of the tiny model, under the name ``nano``."""
    # What 'vllm serve' runs; the CPU build's own command looks for a package of the other name.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(NANO)]
    command += ["--served-model-name", "nano", "--dtype", "float32"]
    command += ["--max-model-len", "4096", "--enforce-eager", "--gpu-memory-utilization", "0.2"]
    with serving(*command, log=tmp_path_factory.mktemp("vllm") / "server.log") as url:
        yield url


def test_vllm_server_answers_like_the_engine(
    vllm_server: str, in_process: tuple[dict[str, Any], dict[str, str]], tmp_path: Path
) -> None:
    row, replies = evaluate(tmp_path, "-m", "openai:auto", "--set", f"model.base_url={vllm_server}", "-t", "quickstart")
    assert replies == in_process[1]
    assert (row["score"], row["n"]) == (in_process[0]["score"], 200)


def test_transformers_server_answers_like_the_engine(in_process: tuple[dict[str, Any], dict[str, str]], tmp_path: Path) -> None:
    command = [str(SCRIPTS / "transformers"), "serve", str(NANO), "--dtype", "float32", "--device", "cpu"]
    with serving(*command, log=tmp_path / "server.log") as url:
        row, replies = evaluate(tmp_path, "-m", f"openai:{NANO}", "--set", f"model.base_url={url}", "-t", "quickstart")
    same = sum(replies[item] == text for item, text in in_process[1].items())
    assert same >= 198  # two implementations of one model: near-ties may fall to either side
    assert row["n"] == 200
    assert abs(row["score"] - in_process[0]["score"]) <= 1
