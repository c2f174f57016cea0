"""One model's replies to one task: a results file, or what the predictions say so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import polars as pl

from ocli.errors import RunError
from ocli.metrics.likelihood import PERPLEXITIES
from ocli.scoring import lacking
from ocli.stages.averages import unanswered
from ocli.stages.browse.lines import Key, line_at, offsets
from ocli.stages.report import Source
from ocli.task import TaskSpec

T = TypeVar("T")
KINDS = ("all", "right", "wrong", "unanswered", "truncated", "failed")
"""What replies are counted by."""
STATUS = pl.Enum(["ok", "unanswered", "truncated", "failed", "pending"])
"""``pending``: nobody may run the code that would score it until ``ocli score`` does."""
SHOWN = ("answer", "target", "score", "status", "pattern", "completion_tokens", "offset")
LONG = ("key", "target", "offset", "pattern")
"""Columns that no mean is made of."""
MOST_LETTERS = 26


def keys_frame(keys: Iterable[Key]) -> pl.DataFrame:
    """Return items and samples as a frame to join with."""
    return pl.DataFrame(list(keys), schema={"id": pl.String, "sample": pl.UInt32}, orient="row")


class Part:
    """The replies of one model to one task as they are now. ``so_far`` are those of an ``infer`` that is still running."""

    def __init__(self, source: Source, name: str, task: TaskSpec, so_far: pl.DataFrame | None = None) -> None:
        self.source, self.name, self.task = source, name, task
        self.path = source.run.results(source.model, name)
        self.predictions = source.run.predictions(source.model, name)
        self.items = source.run.items(source.model, name)
        self.judged = task.score[0].metric.name not in PERPLEXITIES
        """Whether replies are right or wrong, which the perplexity of a text is not."""
        self._so_far = so_far

    @property
    def live(self) -> bool:
        """Whether these are replies that are not scored on disk yet."""
        return self._so_far is not None

    def _raw(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.path, glob=False) if self._so_far is None else self._so_far.lazy()

    def _checked(self, how: Callable[[], T]) -> T:
        try:
            return how()
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise RunError(f"{self.path}: cannot be read: {reason}; 'ocli score {self.source.run.path}' writes it anew") from None

    @cached_property
    def columns(self) -> list[str]:
        """The columns that the results have."""
        return self._checked(lambda: self._raw().collect_schema().names())

    def scan(self) -> pl.LazyFrame:
        """Return the results, with nulls in the columns that an older ocli did not write."""
        return self._raw().with_columns(lacking(self.columns))

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Compute something of ``scan()``; raise RunError where the file cannot be read."""
        return self._checked(lambda: frame.collect(engine="streaming"))

    def brief(self) -> pl.DataFrame:
        """Return what the report's means are made of, which is a small part of the results."""
        smaller = [
            pl.when(pl.col("answer").is_not_null()).then(pl.lit(value=True)).alias("answer"),  # only whether there is one
            pl.col("subset").cast(pl.Categorical),
            pl.col("groups").cast(pl.List(pl.Categorical)),
            pl.col("status").cast(STATUS, strict=False),
            pl.col("shots_dropped").cast(pl.Int32),
        ]
        left_out = [*LONG, *(["id"] if self.task.samples == 1 and self.task.cluster is None else [])]
        return self.collect(self.scan().with_columns(smaller).drop(left_out, strict=False))

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many replies there are of each of ``KINDS``."""
        score, status = pl.col("score"), pl.col("status")
        if not self.judged:
            score = pl.lit(None, pl.Float64)
        kinds = {"unanswered": unanswered().sum()} | {word: (status == word).sum() for word in ("truncated", "failed")}
        sums = self.scan().select(all=pl.len(), right=(score >= 1).sum(), wrong=(score < 1).sum(), **kinds)
        return {name: int(count or 0) for name, count in self.collect(sums).row(0, named=True).items()}

    def tally(self, column: str) -> dict[str, int]:
        """Return how often each text of a column is there, the most frequent first; null is the empty text."""
        counted = self.scan().select(pl.col(column).fill_null("")).group_by(column).len()
        found = self.collect(counted.sort("len", column, descending=[True, False]))
        return dict(found.iter_rows())

    @cached_property
    def patterns(self) -> dict[str, int]:
        """How often each way of reading an answer was the one."""
        return self.tally("pattern") if "pattern" in self.columns else {}

    @cached_property
    def letters(self) -> tuple[dict[str, int], dict[str, int]] | None:
        """How often each letter was the answer, and how often it was right; None where the task has no lettered choices."""
        if self.task.mode != "generate" or not self.task.choices:
            return None
        targets = self.tally("target")
        if len(targets) > MOST_LETTERS or not all(len(text) == 1 and text.isalpha() for text in targets if text):
            return None
        answers = self.tally("answer")
        return (answers, targets) if all(len(text) <= 1 for text in answers) else None

    def rows(self, at: Sequence[int | None]) -> dict[int, dict[str, Any]]:
        """Return the results' rows at these positions, each with what is shown of it and every rule's score."""
        wanted = sorted(position for position in at if position is not None)
        if not wanted:
            return {}
        first, last = wanted[0], wanted[-1]
        further = [rule.label for rule in self.task.score[1:] if rule.label in self.columns]
        window = self.scan().slice(first, last - first + 1).select(*SHOWN, *further).with_row_index("at", first)
        if len(wanted) <= last - first:
            window = window.filter(pl.col("at").is_in(wanted))
        return {row.pop("at"): row for row in self.collect(window).to_dicts()}

    def scores(self, detail: dict[str, Any]) -> dict[str, float | None]:
        """Return each rule's score of a row (``rows``); of a perplexity the nats per unit."""
        columns = {rule.label: rule.label if number else "score" for number, rule in enumerate(self.task.score)}
        return {label: detail.get(column) for label, column in columns.items()}

    @cached_property
    def _offsets(self) -> pl.DataFrame:
        return offsets(self.predictions)

    def lines(self, wanted: dict[Key, int | None], look: bool = True) -> dict[Key, dict[str, Any]]:
        """Return the prediction lines of items, given where each begins; where one is not there, the file is searched."""
        found = {key: line_at(self.predictions, offset, key) for key, offset in wanted.items()}
        lost = [key for key, line in found.items() if line is None]
        if lost and look and self.predictions.is_file():
            places = keys_frame(lost).join(self._offsets, on=["id", "sample"])
            for item, sample, offset in places.iter_rows():
                found[item, sample] = line_at(self.predictions, offset, (item, sample))
        return {key: line for key, line in found.items() if line is not None}

    def asked(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what was asked and is right of these items: ``choices`` and ``accepted``."""
        try:
            frame = pl.scan_parquet(self.items, glob=False)
            names = [name for name in ("id", "choices", "accepted") if name in frame.collect_schema()]
            rows = frame.filter(pl.col("id").is_in(list(ids))).select(names).collect(engine="streaming").to_dicts()
        except (OSError, pl.exceptions.PolarsError):
            return {}
        return {row.pop("id"): row for row in rows}
