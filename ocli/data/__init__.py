"""A task's rows: found below the data directory, inside a zip, in the hub's cache or on the hub, in that order.

Knows nothing of prompts. What cannot be found is said in one error: what was looked for, where, and how to fetch it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocli.data.hub import HubFiles
from ocli.data.local import LocalFiles
from ocli.errors import DataError, MissingDataError
from ocli.rows import parse_rows, parse_values, read_text
from ocli.task import DataSpec, TaskSpec
from ocli.types import Row

_LOCAL = "give --data-dir DIR, where DIR is OpenCompass' data folder or its zip"


@dataclass
class TaskData:
    """All rows a task needs: per subset (``None`` where it has none) the test split and the few-shot split."""

    test: dict[str | None, list[Row]] = field(default_factory=dict)
    fewshot: dict[str | None, list[Row]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    """Where each split came from: a directory, a zip, or a hub id with its revision."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Per split 12 hex digits over the bytes of all its files, of zips their members, in the order in which they were read."""


def load(name: str, task: TaskSpec, data_dir: str | None, offline: bool) -> TaskData:
    """Read the test rows of every subset, and the few-shot rows when the task shows any."""
    spec = task.data
    sources: list[LocalFiles | HubFiles] = [LocalFiles(root) for root in _roots(spec, data_dir)]
    if spec.hub or spec.modelscope:
        sources.append(HubFiles(spec, offline))
    splits = {"test": spec.splits.test}
    if task.fewshot.count and spec.splits.fewshot:
        splits["fewshot"] = spec.splits.fewshot
    data = TaskData()
    for role, split in splits.items():
        rows_of: dict[str | None, list[Row]] = getattr(data, role)
        seen = hashlib.sha256()
        for subset in spec.asked:
            names = {"split": split, "subset": subset or ""}
            rows, data.origin[split] = _read(name, spec, names, sources, seen)
            rows_of[subset] = _add_texts(f"{name}: data.texts", spec, names, sources, rows, seen)
        data.sha256[split] = seen.hexdigest()[:12]
    return data


def _roots(spec: DataSpec, data_dir: str | None) -> list[Path]:
    """Return the places to look in: what the user named, or ``./data`` as OpenCompass lays it out."""
    if all(Path(pattern).is_absolute() for pattern in spec.local) and spec.local:
        return [Path("/")]
    named = data_dir or os.environ.get("OCLI_DATA_DIR")
    if not named:
        return [Path("data")] if Path("data").is_dir() else []
    root = Path(named).expanduser()
    if not root.exists():
        raise DataError(f"--data-dir {named}: no such directory or zip (working directory: {Path.cwd()})")
    if root.is_dir() and not os.access(root, os.R_OK | os.X_OK):
        raise DataError(f"--data-dir {named}: the directory cannot be read; check its permissions (chmod u+rx {named})")
    return [root]


def _read(
    task: str, spec: DataSpec, names: dict[str, str], sources: list[LocalFiles | HubFiles], seen: Any
) -> tuple[list[Row], str]:
    looked: list[str] = []
    for source in sources:
        patterns = spec.local if isinstance(source, LocalFiles) else [spec.hub_files or ""]
        for pattern in patterns:
            found = source.find(_fill(pattern, names))
            rows = [row for name, raw in found for row in parse_rows(name, _noted(raw(), seen), spec.header, spec.delimiter)]
            if rows and isinstance(source, LocalFiles):
                rows = _join_columns(f"{task}: data.columns", spec, source, names, found[0][0], rows, seen)
            if rows:
                return rows, source.origin(found[0][0])
            if found:
                raise DataError(f"{found[0][0]}: holds no rows")
            looked.append(source.describe(_fill(pattern, names)))
    raise MissingDataError(_not_found(task, spec, names, looked))


def _noted(raw: bytes, seen: Any) -> bytes:
    """Take a file's bytes into the sum of its split."""
    seen.update(hashlib.sha256(raw).digest())
    return raw


def _join_columns(
    where: str, spec: DataSpec, source: LocalFiles, names: dict[str, str], beside: str, rows: list[Row], seen: Any
) -> list[Row]:
    """Give each row its line of the files that hold one value a row, but for columns that the rows have already."""
    for column, patterns in spec.columns.items():
        if any(column in row for row in rows):
            continue
        filled = [_fill(pattern, names) for pattern in patterns]
        found = next(filter(None, map(source.find, filled)), None)
        if found is None:
            looked = "; ".join(map(source.describe, filled))
            raise DataError(f"{where}: no file for {column!r} of the rows in {beside}. Looked for {looked}")
        values = [value for name, raw in found for value in parse_values(name, _noted(raw(), seen))]
        if len(values) != len(rows):
            raise DataError(
                f"{where}: {found[0][0]} has {len(values)} lines, but {beside} has {len(rows)} rows; fetch both files again"
            )
        rows = [{**row, column: value} for row, value in zip(rows, values, strict=True)]
    return rows


def _add_texts(
    where: str, spec: DataSpec, names: dict[str, str], sources: list[LocalFiles | HubFiles], rows: list[Row], seen: Any
) -> list[Row]:
    """Give every row the text of the files that hold one for all rows, from whichever source has them."""
    for column, patterns in spec.texts.items():
        places = [(source, _fill(pattern, names)) for source in sources for pattern in patterns]
        found = next((files for source, pattern in places if (files := source.find(pattern))), None)
        if found is None:
            looked = "; ".join(source.describe(pattern) for source, pattern in places) or "nowhere: no --data-dir was given"
            raise MissingDataError(f"{where}: no file for {column!r}. Looked for {looked}. Next: {_LOCAL}")
        text = "\n".join(read_text(name, _noted(raw(), seen)) for name, raw in found)
        rows = [{**row, column: text} for row in rows]
    return rows


def _fill(pattern: str, names: dict[str, str]) -> str:
    for key, value in names.items():
        pattern = pattern.replace("{" + key + "}", value)
    return pattern


def _not_found(task: str, spec: DataSpec, names: dict[str, str], looked: list[str]) -> str:
    subset = names["subset"]
    what = f"{task}: no data for split {names['split']!r}" + (f", subset {subset!r}" if subset else "")
    where = "; ".join(looked) or "nowhere: no --data-dir was given and ./data does not exist"
    ways = []
    if spec.hub:
        revision = f" --revision {spec.revision}" if spec.revision else ""
        ways.append(f"hf download --repo-type dataset {spec.hub}{revision}")
    if spec.modelscope:
        ways.append(f"modelscope download --dataset {spec.modelscope}")
    if spec.local:
        ways.append(_LOCAL)
    return f"{what}. Looked for {where}. Next: {', or '.join(ways)}"
