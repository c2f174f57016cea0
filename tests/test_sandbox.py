"""The sandbox against programs that mean harm, and against programs that only look as if they did."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocli import sandbox
from ocli.errors import ConsentError, OcliError, RecipeError
from ocli.sandbox import Executor, Job, allowed, executors, run
from ocli.sandbox.executors import Process, choose, plain

CASES = Path(__file__).parent / "cases" / "code"
TESTS = "assert f(1) == 2\nassert abs(f(2) - 3) < 1e-6"


def cases(name: str) -> list[Any]:
    rows = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(row, id=row["name"]) for row in rows]


@pytest.fixture(params=["bubblewrap", "subprocess"], scope="module")
def executor(request: pytest.FixtureRequest) -> Process:
    try:
        return choose(request.param, print)
    except RecipeError as error:
        pytest.skip(str(error))


def landlock() -> bool:
    """Say whether the kernel can keep a process from files (Linux 5.13 and later)."""
    return sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) > 0


FILES = ("writing outside", "removing outside", "reading outside", "reading /etc/passwd")


def job(program: str, tests: str = TESTS, timeout: float = 1.5, memory: int = 512) -> Job:
    return Job(program, tests, ("f",), (), timeout, memory)


@pytest.mark.parametrize("case", cases("hostile"))
def test_harm_is_contained_and_does_not_pass(
    executor: Process, case: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case["name"] in FILES and executor.name == "subprocess" and not landlock():
        pytest.skip("this kernel has no Landlock, and a plain subprocess cannot keep a program from the user's files")
    monkeypatch.setenv("OCLI_TEST_SECRET", "secret")
    outside, temporary = tmp_path / "outside", tmp_path / "temporary"
    outside.mkdir()
    temporary.mkdir()
    (outside / "there").write_text("still")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    verdict = executor.run(job(case["program"].replace("OUTSIDE", str(outside))))
    assert verdict.word in case["verdict"].split("|"), verdict
    assert case["says"] in verdict.stderr
    assert "secret" not in verdict.stderr
    assert len(verdict.stderr) < 3000
    assert [path.name for path in outside.iterdir()] == ["there"]
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("case", cases("harmless"))
def test_what_is_harmless_passes(executor: Process, case: dict[str, str]) -> None:
    verdict = executor.run(job(case["program"], timeout=10, memory=2048))
    assert verdict.word == "passed", verdict


@pytest.mark.parametrize(
    "program", ["import os\nos.fork()", "import os\nos.kill(os.getppid(), 9)", "import os\nos.system('true')"]
)
def test_without_the_kernels_filters_the_hook_refuses(program: str) -> None:
    verdict = Process("subprocess", plain, locks=False).run(job(program))
    assert verdict.word == "failed"
    assert "not allowed" in verdict.stderr


def test_no_process_is_left(executor: Process) -> None:
    program = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\ntime.sleep(60)"
    assert executor.run(job(program, timeout=0.5)).word == "timeout"
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    assert not children.is_file() or not children.read_text().split()


def test_a_program_does_not_see_what_the_one_before_it_left(executor: Process) -> None:
    assert executor.run(job("open('left', 'w').close()\ndef f(x):\n    return x + 1")).word == "passed"
    assert executor.run(job("import os\ndef f(x):\n    return x + 1 + len(os.listdir('.'))")).word == "passed"


def test_nothing_runs_without_consent(tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="--allow-code-exec") as caught:
        run([job("def f(x): return x + 1")])
    assert "\n" not in str(caught.value)
    with allowed(None), pytest.raises(ConsentError):
        run([job("def f(x): return x + 1")])
    assert run([]) == []


def test_equal_jobs_run_once_and_verdicts_keep_their_order() -> None:
    right, wrong = job("def f(x): return x + 1"), job("def f(x): return x")
    with allowed("auto"):
        words = [verdict.word for verdict in run([right, wrong, right, right])]
    assert words == ["passed", "failed", "passed", "passed"]


def test_a_long_run_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "EVERY", 0.0)
    said: list[str] = []
    with allowed("subprocess", said.append):
        run([job(f"def f(x): return x + {number}") for number in range(3)])
    assert said[-1].startswith("3 of 3 programs run")


OUTSIDE = """
from ocli.sandbox import Job, Verdict

class Remote:
    def run(self, job: Job) -> Verdict:
        return Verdict("passed" if "right" in job.program else "failed", "from outside")

class NoRun:
    pass
"""


def test_an_executor_from_outside_is_plugged_in(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(write("elsewhere.py", OUTSIDE).parent))
    with allowed("elsewhere:Remote"):
        assert [verdict.stderr for verdict in run([job("right"), job("wrong")])] == ["from outside"] * 2
    for name in ("elsewhere:NoRun", "elsewhere:Missing", "no_such_module:Remote"):
        with allowed(name), pytest.raises(RecipeError, match="sandbox: "):
            run([job("x")])
    sys.modules.pop("elsewhere")


def test_an_unknown_sandbox_is_named() -> None:
    with allowed("bubblewarp"), pytest.raises(RecipeError, match="did you mean 'bubblewrap'"):
        run([job("x")])


def test_without_bubblewrap_there_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_EXECUTORS", {})
    monkeypatch.setenv("PATH", "/nowhere")
    said: list[str] = []
    for _ in range(2):
        with allowed("auto", said.append):
            assert run([job("def f(x): return x + 1")])[0].word == "passed"
    assert len(said) == 1
    assert "bwrap is not installed" in said[0]
    with allowed("docker"), pytest.raises(OcliError, match="docker is not installed"):
        run([job("x")])


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_containers(name: str) -> None:
    try:
        made: Executor = choose(name, print)
    except RecipeError as error:
        pytest.skip(str(error))
    assert made.run(job("def f(x): return x + 1")).word == "passed"
    assert made.run(job("import time\ntime.sleep(60)")).word == "timeout"


def test_the_harness_has_no_import_of_ocli() -> None:
    assert "import ocli" not in executors.HARNESS
    assert "from ocli" not in executors.HARNESS
