"""How a job is run: in bubblewrap, in a container of docker or podman, or in a plain subprocess. All of them run ``harness.py``.

What each holds beside the harness's own limits (see there): bubblewrap and containers have no network, no home, no environment
and no other processes to see, and a read-only root; a plain subprocess leans on seccomp and Landlock of the Linux kernel, and has
neither on macOS or under a kernel older than 5.13. No sandbox holds against a fault of the kernel, or keeps a program from
guessing which tests it is given.
"""

from __future__ import annotations

import marshal
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ocli.errors import RecipeError
from ocli.sandbox import Job, Verdict
from ocli.sandbox.harness import MEMORY, SYNTAX

NAMES = ("bubblewrap", "subprocess", "docker", "podman")
HARNESS = (Path(__file__).parent / "harness.py").read_text(encoding="utf-8")
PYTHON = os.path.realpath(sys.executable)
PACKAGES = list(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
READABLE = [*SYSTEM, sys.base_prefix, sys.base_exec_prefix, *PACKAGES, "/etc/ld.so.cache", "/etc/localtime"]
IMAGE = os.environ.get("OCLI_SANDBOX_IMAGE", "python:3.12-slim")

FLAGS = ("-s", "-S", "-B", "-u", "-X", "utf8")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": ".", "TMPDIR": ".",
    "PYTHONHASHSEED": "0",  # the order of a set decides what some programs answer: the same every time
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
}  # fmt: skip

OUTPUT = 8 << 20
"""Bytes that a program may write before it is ended."""
TAIL = 2000
"""Characters of it that are kept."""

TIMED_OUT = 124
"""The exit code of the command ``timeout``, which a container is run under: the end of its client is not its own end."""

Command = Callable[[str, Job], list[str]]
"""The command line for a job in a folder of its own."""


class Process:
    """Runs each job as one process: what the command line makes of the harness."""

    def __init__(
        self,
        name: str,
        command: Command,
        paths: Sequence[str] = PACKAGES,
        locks: bool = True,
        grace: float = 0.5,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> None:
        self._command, self._paths, self._locks, self._grace = command, list(paths), locks, grace
        self._environment = dict(environment)
        self.name = name

    def run(self, job: Job) -> Verdict:
        """Run a job; its folder is gone afterwards."""
        token = secrets.token_bytes(16)
        told = {
            "program": job.program.encode("utf-8", "replace").decode(), "tests": job.tests, "entry": list(job.entry),
            "modules": list(job.modules), "timeout": job.timeout, "memory": job.memory, "token": token,
            "paths": self._paths, "readable": READABLE, "locks": self._locks,
        }  # fmt: skip
        with (
            tempfile.TemporaryDirectory(prefix="ocli-", ignore_cleanup_errors=True) as folder,
            subprocess.Popen(
                self._command(folder, job), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
                env=self._environment, start_new_session=True,
            ) as process,
        ):  # fmt: skip
            return _verdict(process, marshal.dumps(told), token, job.timeout + self._grace)


def _verdict(process: subprocess.Popen[bytes], told: bytes, token: bytes, seconds: float) -> Verdict:
    """Tell a process its job and wait for it, for so long and for so much output; then end it and all its group."""
    try:
        said, tail, ended = _talk(process, told, time.monotonic() + seconds)
        code = process.poll() if ended else process.wait()
    finally:
        _kill(process)
    text = tail.decode("utf-8", "replace")[-TAIL:]
    if ended:
        return Verdict("timeout" if ended == "time" else "failed", text if ended == "time" else f"{text}\nended: too much output")
    if code == 0 and said == token:
        return Verdict("passed", text)
    if code in (-signal.SIGXCPU, 128 + signal.SIGXCPU, TIMED_OUT):
        return Verdict("timeout", text)
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL, MEMORY):
        return Verdict("memory", text)
    if code == SYNTAX:
        return Verdict("syntax error", text)
    return Verdict("failed", text or f"ended with exit code {code} before the last test")


def _talk(process: subprocess.Popen[bytes], told: bytes, deadline: float) -> tuple[bytes, bytes, str]:
    """Write the job to stdin, a pipe, so that it cannot be read twice; read until the process has closed its ends.

    Returns what came on stdout (a little of it), the end of stderr, and why reading was given up: "time", "output" or "".
    """
    assert process.stdin is not None
    said, tail, count, rest = b"", b"", 0, memoryview(told)
    with selectors.DefaultSelector() as selector:
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                return said, tail, "time"
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    rest = _write(key.fd, rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                block = os.read(key.fd, 1 << 16)
                count += len(block)
                if not block:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    said = (said + block)[:64]
                else:
                    tail = (tail + block)[-4 * TAIL :]
            if count > OUTPUT:
                return said, tail, "output"
    return said, tail, ""


def _write(pipe: int, rest: memoryview) -> memoryview:
    """Write what the pipe takes; return what is left, nothing where nobody reads any more."""
    try:
        return rest[os.write(pipe, rest) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, which is there even where the process itself has ended."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()


def plain(folder: str, job: Job) -> list[str]:
    """The harness, by this Python."""
    return [PYTHON, *FLAGS, "-c", HARNESS]


def bubblewrap(folder: str, job: Job) -> list[str]:
    """The harness behind bubblewrap: namespaces of its own, Python's files read-only, and a folder in memory."""
    binds = [word for path in READABLE for word in _bind(path)]
    return [
        shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        "--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
        *binds, "--dir", "/tmp/job", "--chdir", "/tmp/job", "--", *plain(folder, job),
    ]  # fmt: skip


def _bind(path: str) -> list[str]:
    return ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind-try", path, path]


def container(program: str) -> Command:
    """The harness in a container of docker or podman, which take the same words."""

    environment = [word for pair in ENVIRONMENT.items() for word in ("--env", "=".join(pair))]

    def command(folder: str, job: Job) -> list[str]:
        return [
            program, "run", "--rm", "--interactive", "--network", "none", "--read-only", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--pids-limit", "64", "--memory", f"{job.memory}m",
            "--tmpfs", "/tmp:size=64m,mode=1777", "--workdir", "/tmp", "--user", "65534:65534", *environment,
            IMAGE, "timeout", "-k", "2", str(job.timeout + 1), "python", *FLAGS, "-c", HARNESS,
        ]  # fmt: skip

    return command


def choose(name: str, say: Callable[[str], None]) -> Process:
    """Return the executor of that name, tried; ``auto`` is bubblewrap where it works, else a subprocess, with a warning."""
    if name in ("auto", "bubblewrap"):
        made = Process("bubblewrap", bubblewrap)
        problem = _problem(made, "bwrap")
        if not problem:
            return made
        if name == "bubblewrap":
            raise RecipeError(f"sandbox: bubblewrap: {problem}")
        say(
            f"warning: {problem}, so programs run as plain subprocesses of this user, confined by limits and the kernel's "
            "filters alone; install bubblewrap, or say 'sandbox: docker' or 'sandbox: podman'"
        )
    if name in ("docker", "podman"):
        made = Process(name, container(name), paths=[], grace=20.0, environment=os.environ)  # its client finds its server there
        if problem := _problem(made, name):
            raise RecipeError(f"sandbox: {name}: {problem}")
        return made
    made = Process("subprocess", plain)
    if problem := _problem(made, PYTHON):
        raise RecipeError(f"sandbox: subprocess: {problem}")
    return made


def _problem(made: Process, program: str) -> str:
    """Try an executor on a program that passes; return what is wrong with it."""
    if not shutil.which(program):
        return f"{program} is not installed"
    verdict = made.run(Job("x = 1", "assert x == 1"))
    return "" if verdict.word == "passed" else f"{program} cannot be used here ({' '.join(verdict.stderr.split())[-200:]})"
