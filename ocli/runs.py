"""The run directory: where everything is, how predictions are appended, and how a torn file is mended.

outputs/<recipe>/<timestamp>/
  configs/recipe.yaml                 the resolved recipe, versions, and what was decided while starting
  logs/infer.log  score.log
  items/<model>/<task>.parquet        what was asked and what is right (so that scoring needs no data)
  predictions/<model>/<task>.jsonl    one line a reply, appended as it arrives
  results/<model>/<task>.parquet      one row an item
  summary/summary.{txt,csv,md,json}   the table that was printed
outputs/<recipe>/latest -> <timestamp>
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from ocli import __version__
from ocli.documents import read
from ocli.errors import RunError
from ocli.plan import describe
from ocli.recipe import Recipe
from ocli.schema import validate
from ocli.terminal import unbroken
from ocli.types import Reply, Request, Usage

Stamp = tuple[int, int, int]
"""What changes when a file does: its time, size and inode."""


def stamp(path: Path) -> Stamp:
    """Return a file's stamp; zeros where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0, 0
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


class Run:
    """One run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[Stamp, Recipe] | None = None

    @classmethod
    def create(cls, recipe: Recipe) -> Run:
        """Make a new directory below the recipe's ``work_dir`` and point ``latest`` at it."""
        parent = Path(recipe.work_dir) / recipe.name
        stamp = datetime.now().strftime("%Y%m%d_%H%M%S")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            for attempt in range(100):  # two runs within one second
                path = parent / (stamp if not attempt else f"{stamp}_{attempt}")
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    continue
            for folder in ("configs", "logs", "items", "predictions", "results", "summary"):
                (path / folder).mkdir()
            _point(parent / "latest", path.name)
        except OSError as error:
            raise RunError(f"{parent}: cannot be written: {error.strerror}; choose another place with -w DIR") from None
        return cls(path)

    @classmethod
    def find(cls, reference: str | None, below: Path = Path("outputs")) -> Run:
        """Return the run that a path names (a run, a recipe's folder, or None: the latest below ``outputs``)."""
        if reference == "":
            raise RunError("a run has an empty name, as that of a variable without a value; leave it out for the latest run")
        start = Path(reference) if reference else below
        if (start / "configs" / "recipe.yaml").is_file():
            return cls(start.resolve() if start.is_symlink() else start)
        found = sorted(start.glob("*/configs/recipe.yaml")) + sorted(start.glob("*/*/configs/recipe.yaml"))
        candidates = {path.parent.parent for path in found if not path.parent.parent.is_symlink()}
        if not candidates:
            raise RunError(f"{start}: is no run and holds none (a run has configs/recipe.yaml); 'ocli eval' makes one")
        return cls(max(candidates, key=lambda path: (path.name[:15], path.stat().st_mtime_ns)))

    @classmethod
    def find_all(cls, references: Sequence[str]) -> list[Run]:
        """Return the runs that paths name; where there are none, the latest below ``outputs``."""
        return [cls.find(reference) for reference in references] or [cls.find(None)]

    def save(self, recipe: Recipe) -> None:
        """Write the resolved recipe with what is on record."""
        data = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
        text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=120)
        write_whole(self.path / "configs" / "recipe.yaml", [text.encode()])

    def recipe(self) -> Recipe:
        """Read the resolved recipe back, once while the file stays as it is; nobody changes what is in it."""
        path = self.path / "configs" / "recipe.yaml"
        now = stamp(path)
        if self._read and self._read[0] == now:
            return self._read[1]
        recipe: Recipe = validate(read(path), Recipe)
        if gone := [name for name in recipe.tasks if name not in recipe.record.get("tasks", {})]:
            raise RunError(f"{path}: has no record of {', '.join(gone)}, so it is not whole; 'ocli eval ... -r' writes it anew")
        self._read = now, recipe
        return recipe

    def items(self, model: str, task: str) -> Path:
        """Where what was asked is kept."""
        return self.path / "items" / model / f"{task}.parquet"

    def predictions(self, model: str, task: str) -> Path:
        """Where replies are appended."""
        return self.path / "predictions" / model / f"{task}.jsonl"

    def results(self, model: str, task: str) -> Path:
        """Where scores are kept."""
        return self.path / "results" / model / f"{task}.parquet"

    def log(self, stage: str, text: str) -> None:
        """Append a line to a stage's log; a log that cannot be written stops nothing."""
        try:
            with open(self.path / "logs" / f"{stage}.log", "a", encoding="utf-8") as file:
                file.write(f"{datetime.now().isoformat(timespec='milliseconds')} {text}\n")
        except OSError:
            pass


def _point(link: Path, target: str) -> None:
    """Replace a symbolic link at once; a file system without links goes without."""
    try:
        temporary = link.with_name(f".latest-{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError:
        pass


def write_whole(path: Path, parts: Iterable[bytes], option: str = "-w DIR") -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    Raises RunError where that cannot be, with the option that says another place.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with open(temporary, "wb") as file:
            file.writelines(parts)
        temporary.replace(path)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written: {error.strerror}; free some space or choose another place with {option}"
        ) from None


def to_line(request: Request, reply: Reply) -> bytes:
    """Return a prediction line. The prompt comes last: scoring reads the fields before it and skips the long rest."""
    line = {
        "key": request.key,
        "id": request.id,
        "subset": request.subset,
        "sample": request.sample,
        "text": reply.text,
        "reasoning": reply.reasoning,
        "choices": None if reply.choices is None else [scored.line() for scored in reply.choices],
        "finish_reason": reply.finish_reason,
        "usage": vars(reply.usage),
        "seconds": round(reply.seconds, 6),
        "error": reply.error,
        **({"shots_dropped": request.shots_dropped} if request.shots_dropped else {}),
        **describe(request),
    }
    return unbroken(json.dumps(line, ensure_ascii=False)).encode() + b"\n"


class Predictions:
    """The predictions file of one task, open for appending: a whole line at a time, in the file before the call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # O_APPEND and no buffer: a line is in the kernel's hands when write returns, so SIGKILL cannot take it back.
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}; choose another place with -w DIR") from None

    def append(self, line: bytes) -> None:
        """Write one line; when the disk is full, take back what was torn and say so."""
        start = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(line) or 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
        except OSError as error:
            self._take_back(start)
            raise RunError(
                f"{self.path}: cannot be written: {error.strerror}; every reply before this one is kept: "
                "free some space, then go on with -r"
            ) from None

    def close(self) -> None:
        """Bring the file to the disk itself."""
        with suppress(OSError):  # not every file system can; the data is in the kernel all the same
            os.fsync(self._file.fileno())
        self._file.close()

    def _take_back(self, size: int) -> None:
        with suppress(OSError):  # where that fails, resume mends the torn line
            self._file.truncate(size)


def keep_valid(path: Path, planned: Mapping[tuple[str, int], str]) -> tuple[set[tuple[str, int]], int]:
    """Reduce a predictions file to the good replies of ``planned`` requests ((id, sample) -> key).

    Torn lines, failed requests and duplicates are dropped; good replies to a question that has changed since are moved to
    ``<file>.old``; those to items that are not planned this time stay for another time. The file is replaced only when
    something leaves it. Returns what need not be asked again, and how many replies were moved.
    """
    kept: set[tuple[str, int]] = set()
    dropped: set[int] = set()
    stale: list[bytes] = []
    for number, (line, row) in enumerate(_lines(path)):
        item = (str(row.get("id")), int(row.get("sample") or 0)) if row else ("", 0)
        wanted = planned.get(item)
        if row is None or row.get("error") or item in kept:
            dropped.add(number)
        elif wanted not in (None, row.get("key")):
            dropped.add(number)
            stale.append(line)
        elif wanted:
            kept.add(item)
    if stale:
        old = path.with_name(f"{path.name}.old")
        write_whole(old, [*(line for line, _ in (_lines(old) if old.is_file() else [])), *stale])
    if dropped:
        write_whole(path, (line for number, (line, _) in enumerate(_lines(path)) if number not in dropped))
    return kept, len(stale)


def usages(path: Path) -> Iterator[Usage]:
    """Yield what each reply of a predictions file has used."""
    for _, row in _lines(path) if path.is_file() else ():
        said = (row or {}).get("usage") or {}
        yield Usage(said.get("prompt"), said.get("cached"), said.get("completion"))


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Yield each line with what it says, or ``None`` where it is torn."""
    try:
        with open(path, "rb") as file:
            for line in file:
                try:
                    row = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    row = None
                yield line, row if isinstance(row, dict) else None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of python, ocli and the packages that are installed."""
    import platform
    from importlib import metadata

    found = {"ocli": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
