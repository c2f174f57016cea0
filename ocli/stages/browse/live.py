"""A run that ``infer`` is still writing: its predictions files are read from where the last look stopped, and scored."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ocli.scoring import USAGE, reply_schema, runs_code, score_replies
from ocli.stages.browse.lines import parse, pieces
from ocli.task import TaskSpec

MARK = 256
"""So many bytes before the place where reading stopped must be what they were, or the file is another one."""
ONE_LOOK = 256 << 20
"""Bytes of a file that are read at one look."""


class Tail:
    """The replies of one predictions file so far, as a results file would have them; ``results`` is None before the first."""

    def __init__(self, path: Path, items: Path, task: TaskSpec) -> None:
        self.path, self.items, self.task = path, items, task
        self._forget()

    def _forget(self) -> None:
        self._end, self._mark = 0, b""
        self._frames: list[pl.DataFrame] = []
        self._asked: pl.DataFrame | None = None

    def look(self) -> bool:
        """Read what has been written since the last look; return whether there was anything new."""
        try:
            with open(self.path, "rb") as file:
                # Resuming mends a file: it is replaced, and what was read of it may be gone.
                file.seek(max(0, self._end - MARK))
                changed = file.read(self._end - file.tell()) != self._mark
                if changed:
                    self._forget()
                file.seek(self._end)
                return self._take(file) or changed
        except OSError:
            changed = self._end > 0
            self._forget()
            return changed

    def _take(self, file: object) -> bool:
        before = self._end
        for start, piece in pieces(file):  # type: ignore[arg-type]
            scored = self._score(parse(start, piece, reply_schema(self.task)))
            if scored is None:
                return False  # what was asked is not written yet
            self._frames.append(scored)
            self._end, self._mark = start + len(piece), (self._mark + piece[-MARK:])[-MARK:]
            if self._end - before > ONE_LOOK:
                break
        return self._end > before

    def _score(self, replies: pl.DataFrame) -> pl.DataFrame | None:
        """Score replies; those to what is not asked this time are left out."""
        if self._asked is None:
            try:
                self._asked = pl.read_parquet(self.items)
            except (OSError, pl.exceptions.PolarsError):
                return None
        replies = replies.with_columns(pl.col("sample").fill_null(0)).unique(["id", "sample"], keep="last", maintain_order=True)
        items = self._asked.join(replies.select("id").unique(), on="id", how="semi", maintain_order="left")
        scored = _pending(items, replies) if runs_code(self.task) else score_replies(items, replies, self.task, self.task.samples)
        return scored.filter(pl.col("key").is_not_null()).drop("key", "target")

    @property
    def results(self) -> pl.DataFrame | None:
        """The replies so far in the order of the items."""
        if not self._frames or self._asked is None:
            return None
        order = self._asked.select("id", "target").with_row_index("position")
        frame = pl.concat(self._frames).unique(["id", "sample"], keep="last")
        frame = frame.join(order, on="id", how="left").sort("position", "sample").drop("position")
        return frame if frame.height else None


def _pending(items: pl.DataFrame, replies: pl.DataFrame) -> pl.DataFrame:
    """Return replies whose score takes running code, which only ``ocli score`` may do."""
    status = pl.when(pl.col("error").is_null()).then(pl.lit("pending")).otherwise(pl.lit("failed"))
    nothing = {"answer": pl.lit(None, pl.String), "score": pl.lit(None, pl.Float64), "cluster": pl.lit(None, pl.String)}
    told = {f"{name}_tokens": pl.col("usage").struct.field(name) for name in USAGE}
    joined = items.drop("cluster", strict=False).join(replies, on="id", maintain_order="left")
    return joined.with_columns(pl.col("shots_dropped").fill_null(0), status=status, **nothing, **told).select(
        "id", "subset", "sample", "answer", "target", "score", "status", "groups", "key", "shots_dropped",
        *told, "cluster", "offset",
    )  # fmt: skip
