"""Replies made elsewhere: JSONL lines with ``text`` (or ``texts``, one a sample) and the item's ``id``, or a request's ``key``.

``replay:FILE`` answers every task from one file, ``replay:DIR`` reads ``DIR/<task>.jsonl``. The prediction files of a run are
replay files too. What the file has no reply for is a failed request, never a wrong answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ocli.engines import refuse_unknown
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.rows import read_rows
from ocli.types import Reply, Request, Row, Usage


class Engine:
    """A look-up in files."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, [], "replay")
        self.path = Path(spec.path or "").expanduser()
        self.chat = spec.chat is not False
        self.concurrency = spec.concurrency or 64
        self.record: dict[str, Any] = {"replayed_from": str(self.path.resolve())}
        self._tables: dict[str, dict[str, Row]] = {}

    async def start(self) -> None:
        """Check that there is something to replay."""
        if not self.path.exists():
            raise EngineError(f"replay:{self.path}: no such file or directory (working directory: {Path.cwd()})")

    async def generate(self, request: Request) -> Reply:
        """Return the recorded reply of this request's key, or of its item."""
        table = self._table(request.task)
        row = table.get(f"key:{request.key}") or table.get(f"id:{request.id}#{request.sample}") or table.get(f"id:{request.id}")
        if row is None:
            return Reply(error=f"the replay file has no reply for item {request.id}")
        if row.get("error"):
            return Reply(error=str(row["error"]))
        text = row["texts"][request.sample] if "texts" in row and request.sample < len(row["texts"]) else row.get("text")
        if text is None and "texts" in row:
            return Reply(error=f"the replay file has {len(row['texts'])} replies for item {request.id}, not {request.sample + 1}")
        usage = row.get("usage") or {}
        return Reply(
            text=text or "",
            reasoning=row.get("reasoning"),
            finish_reason=row.get("finish_reason"),
            usage=Usage(usage.get("prompt"), usage.get("cached"), usage.get("completion")),
            seconds=float(row.get("seconds") or 0),
        )

    async def close(self) -> None:
        """Nothing to give back."""

    def _table(self, task: str) -> dict[str, Row]:
        path = self.path / f"{task}.jsonl" if self.path.is_dir() else self.path
        if str(path) not in self._tables:
            if not path.is_file():
                raise EngineError(f"replay:{self.path}: has no file {path.name} with the replies of task {task}")
            self._tables[str(path)] = _index(path)
        return self._tables[str(path)]


def _index(path: Path) -> dict[str, Row]:
    table: dict[str, Row] = {}
    for number, row in enumerate(read_rows(path), start=1):
        if "text" not in row and "texts" not in row:
            raise EngineError(f"{path}:{number}: a reply needs 'text' (or 'texts'); the line has: {', '.join(row)}")
        if "id" not in row and "key" not in row:
            raise EngineError(
                f"{path}:{number}: a reply needs the 'id' or 'key' of what it answers; the line has: {', '.join(row)}"
            )
        if row.get("key"):
            table[f"key:{row['key']}"] = row
        if "id" in row:
            table[f"id:{row['id']}" + (f"#{row['sample']}" if row.get("sample") else "")] = row
    return table
