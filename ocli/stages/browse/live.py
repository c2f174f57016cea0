"""A run that ``infer`` is still writing: its predictions files are read from where the last look stopped, and scored."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import polars as pl

from ocli.scoring import USAGE, reply_schema, runs_code, score_replies, whole_lines
from ocli.stages.browse.lines import parse
from ocli.stages.browse.parts import STATUS
from ocli.task import TaskSpec

MARK = 256
"""So many bytes before the place where reading stopped must be what they were, or the file is another one."""
ONE_LOOK = 256 << 20
"""Bytes of a file that are read at one look."""
SMALLER = (
    pl.col("subset").cast(pl.Categorical),
    pl.col("groups").cast(pl.List(pl.Categorical)),
    pl.col("status").cast(STATUS),
    pl.col("sample").cast(pl.Int32),
    pl.col("shots_dropped").cast(pl.Int32),
)
"""All replies so far are in memory."""


class Tail:
    """The replies of one predictions file so far, as a results file would have them; ``results`` is None before the first."""

    def __init__(self, path: Path, items: Path, task: TaskSpec) -> None:
        self.path, self.items, self.task = path, items, task
        self.behind = False
        """Whether the last look ended before the file did."""
        self._forget()

    def _forget(self) -> None:
        self._end, self._mark = 0, b""
        self._scored: list[pl.DataFrame] = []

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

    def _take(self, file: IO[bytes]) -> bool:
        end, mark = self._end, self._mark
        replies: list[pl.DataFrame] = []
        self.behind = False
        for start, block, size in whole_lines(file):
            replies.append(parse((start, block, size), reply_schema(self.task)))
            end, mark = start + size, (mark + block[max(0, size - MARK) : size])[-MARK:]
            if end - self._end > ONE_LOOK:
                self.behind = True
                break
        scored = self._score(pl.concat(replies)) if replies else None
        if scored is None:
            return False
        self._scored.append(scored)
        self._end, self._mark = end, mark
        return True

    def _score(self, replies: pl.DataFrame) -> pl.DataFrame | None:
        """Score replies, those to what is asked this time; None where that is not written yet."""
        replies = replies.with_columns(pl.col("sample").fill_null(0)).unique(["id", "sample"], keep="last", maintain_order=True)
        try:
            asked = pl.scan_parquet(self.items, glob=False).with_row_index("place")
            items = asked.filter(pl.col("id").is_in(replies["id"].unique().implode())).collect(engine="streaming").sort("place")
        except (OSError, pl.exceptions.PolarsError):
            return None
        scored = _pending(items, replies) if runs_code(self.task) else score_replies(items, replies, self.task, self.task.samples)
        scored = scored.filter(pl.col("key").is_not_null()).drop("key")
        return scored.join(items.select("id", "place"), on="id", how="left").with_columns(SMALLER)

    @property
    def results(self) -> pl.DataFrame | None:
        """The replies so far in the order of the items."""
        if len(self._scored) > 1:
            whole = pl.concat(self._scored, how="vertical_relaxed").unique(["id", "sample"], keep="last", maintain_order=True)
            self._scored = [whole.sort("place", "sample", maintain_order=True)]
        return self._scored[0].drop("place") if self._scored and self._scored[0].height else None


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
