"""Files below a directory or inside zips, as users have them: unpacked, compressed one by one, or the zip as it came."""

from __future__ import annotations

import fnmatch
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ocli.errors import DataError
from ocli.rows import read_bytes

FoundFile = tuple[str, Callable[[], bytes]]
_COMPRESSED = ("", ".gz", ".bz2")


class LocalFiles:
    """One place that ``--data-dir`` names: a directory (and the zips right inside it) or a single zip."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._zips: dict[Path, dict[str, zipfile.ZipInfo]] | None = None
        self._named: dict[Path, LocalFiles] = {}

    def find(self, pattern: str) -> list[FoundFile]:
        """Return (name, read) of the files that match: the first of plain, compressed, or zipped that exists.

        A pattern ``archive.zip:member`` looks inside that zip only.
        """
        archive, _, member = pattern.partition(".zip:")
        if member:
            path = self.root / f"{archive}.zip"
            if not path.is_file():
                return []
            # Kept, so that a zip's list of members is read once and not once a subset.
            return self._named.setdefault(path, LocalFiles(path)).find(member)
        if self.root.is_dir():
            for base in (self.root, self.root / "data"):
                for suffix in _COMPRESSED:
                    paths = _match(base, pattern + suffix)
                    if paths:
                        return [(str(path), partial(read_bytes, path)) for path in paths]
        for path, members in self._archives().items():
            for suffix in _COMPRESSED:
                names = _members(members, pattern + suffix)
                if names:
                    return [(f"{path}:{name}", partial(_read_member, path, name)) for name in names]
        return []

    def origin(self, name: str) -> str:
        """Say where a found file came from, for the run's record."""
        return str(self.root.resolve()) if str(self.root) != "/" else str(Path(name).parent)

    def describe(self, pattern: str) -> str:
        """Say where a pattern was looked for."""
        zips = "" if self.root.is_file() else " (also in zips there)" if self._archives() else ""
        return f"{pattern} in {self.root}{zips}" if not pattern.startswith("/") else pattern

    def _archives(self) -> dict[Path, dict[str, zipfile.ZipInfo]]:
        if self._zips is None:
            inside = self.root.glob("*.zip") if str(self.root) != "/" else []
            paths = [self.root] if self.root.is_file() else sorted(inside)
            self._zips = {path: _open(path) for path in paths}
        return self._zips


def _match(base: Path, pattern: str) -> list[Path]:
    path = base / pattern
    try:
        if path.is_file():  # before any wildcard: a file may be called ``questions[1].csv``
            return [path]
        wild = any(mark in pattern for mark in "*?[")
        return sorted(path for path in base.glob(pattern.lstrip("/")) if path.is_file()) if wild else []
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; check its permissions") from None


def _members(members: dict[str, zipfile.ZipInfo], pattern: str) -> list[str]:
    """Find members whether the zip has its files at the root or in a folder ``data/``."""
    for name in (pattern, f"data/{pattern}"):
        if name in members:
            return [name]
        matches = sorted(fnmatch.filter(members, name)) if any(mark in name for mark in "*?[") else []
        if matches:
            return matches
    return []


def _open(path: Path) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename: info for info in archive.infolist() if not info.is_dir()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: is not a readable zip ({error}); fetch it again") from None


def _read_member(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DataError(f"{path}:{name}: cannot be read: {error}; fetch the zip again") from None
