"""Data sets on the Hugging Face hub (or ModelScope): plain files at a pinned revision, cached, mirrors honoured.

Only files are read (CSV, JSON, Parquet); loading scripts are never run. ``HF_ENDPOINT`` and ``HF_HOME`` mean what they mean
to huggingface_hub. ``OCLI_HUB=modelscope`` asks ModelScope instead (``pip install 'ocli[modelscope]'``).
"""

from __future__ import annotations

import fnmatch
import os
from functools import partial
from pathlib import Path
from typing import Any

from ocli.data.local import FoundFile, LocalFiles
from ocli.errors import DataError
from ocli.rows import read_bytes
from ocli.task import DataSpec


class HubFiles:
    """The files of one hub data set; nothing is asked of the hub before the first ``find``."""

    def __init__(self, spec: DataSpec, offline: bool) -> None:
        self.modelscope = bool(spec.modelscope) and (os.environ.get("OCLI_HUB") == "modelscope" or not spec.hub)
        self.repo = (spec.modelscope if self.modelscope else spec.hub) or ""
        self.revision = spec.revision
        self.offline = offline
        # One call fetches the files of every subset and split: asking once a subset would cost 52 round trips.
        self.patterns = _widen(spec.hub_files or "*", spec)
        self._snapshot: Path | None = None
        self._files: LocalFiles | None = None
        self._names: list[str] | None = None
        self._problem = ""

    def find(self, pattern: str) -> list[FoundFile]:
        """Return (name, read) of the files that match, fetching them when the cache has none and it may."""
        root = self._fetch()
        if root is None:
            return []
        if ".zip:" in pattern:
            self._files = self._files or LocalFiles(root)
            return self._files.find(pattern)
        if self._names is None:  # listed once, not once a subset and split
            self._names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        return [(f"{self.repo}/{name}", partial(read_bytes, root / name)) for name in fnmatch.filter(self._names, pattern)]

    def origin(self, name: str) -> str:
        """Name the data set and the commit it was read at."""
        commit = self._snapshot.name if self._snapshot and not self.modelscope else self.revision or "master"
        return f"{'modelscope' if self.modelscope else 'hf'}:{self.repo}@{commit}"

    def describe(self, pattern: str) -> str:
        """Say where a pattern was looked for, and why there was nothing."""
        hub = "ModelScope" if self.modelscope else os.environ.get("HF_ENDPOINT", "the Hugging Face hub")
        place = f"the cache of {hub} (--offline)" if self.offline else hub
        return f"{pattern} in {self.repo} on {place}{f' ({self._problem})' if self._problem else ''}"

    def _fetch(self) -> Path | None:
        if self._snapshot is None and not self._problem:
            fetch = self._fetch_modelscope if self.modelscope else self._fetch_hf
            try:
                self._snapshot = Path(fetch())
            except Exception as error:  # hubs raise a dozen unrelated types; all mean "not fetched"
                if isinstance(error, DataError):
                    raise
                self._problem = f"{type(error).__name__}: {_first_line(error)}"
        return self._snapshot

    def _fetch_hf(self) -> str:
        import huggingface_hub

        options: dict[str, Any] = {"repo_type": "dataset", "revision": self.revision, "allow_patterns": self.patterns}
        return str(huggingface_hub.snapshot_download(self.repo, local_files_only=self.offline, **options))

    def _fetch_modelscope(self) -> str:
        try:
            from modelscope import dataset_snapshot_download
        except ImportError:
            raise DataError("OCLI_HUB=modelscope needs another package: pip install 'ocli[modelscope]'") from None
        if self.offline:
            raise DataError(
                f"ModelScope's cache is not looked into with --offline: give the folder of {self.repo} with --data-dir, "
                f"fetched by 'modelscope download --dataset {self.repo} --local_dir DIR'"
            )
        return str(dataset_snapshot_download(self.repo, revision=self.revision, allow_file_pattern=self.patterns))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:200]


def _widen(pattern: str, spec: DataSpec) -> list[str]:
    archive, is_zip, _ = pattern.partition(".zip:")
    pattern = archive + ".zip" if is_zip else pattern
    splits = [split for split in (spec.splits.test, spec.splits.fewshot) if split]
    return sorted({pattern.replace("{subset}", "*").replace("{split}", split) for split in splits})
