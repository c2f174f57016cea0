"""What every test gets: a working directory of its own, and the command line in process with real files and no mocks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocli.cli import main

SHARED = Path(__file__).parents[2] / "shared"


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    rc: int
    out: str
    err: str

    @property
    def run(self) -> Path:
        """The run directory, as the command named it on stderr."""
        [line] = [line for line in self.err.splitlines() if line.startswith("run: ")][:1]
        return Path(line.removeprefix("run: "))


Ocli = Callable[..., Done]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory, and take back what a command or the user's shell has set."""
    monkeypatch.chdir(tmp_path)
    for name in ("OCLI_DATA_DIR", "OCLI_HUB", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def ocli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ocli:
    """Run ``ocli ARGUMENTS...`` in this process."""

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["ocli", *map(str, arguments)])
        rc = 0
        try:
            main()
        except SystemExit as stop:
            rc = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        return Done(rc, *capfd.readouterr())

    return run


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file below the working directory: text as UTF-8, or bytes as they are."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


@pytest.fixture
def shared_data() -> Path:
    """The real benchmark files beside the repository, where there are any."""
    return _beside("data")


@pytest.fixture
def golden() -> Path:
    """Reference outputs of other tools beside the repository, where there are any."""
    return _beside("golden")


def _beside(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no {SHARED / name}")
    return SHARED / name
