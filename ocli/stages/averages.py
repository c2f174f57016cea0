"""How the rows of a results file become one number: scores by their plain mean, or weighted, as perplexities are by units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from ocli import bootstrap
from ocli.metrics.likelihood import PERPLEXITIES, units_of
from ocli.stats import Estimate, Ratio, Stratum, effective_size, macro_mean, ratio_of, wilson
from ocli.task import Rule
from ocli.types import Row


class MeanScore:
    """Scores from 0 to 1: their plain mean, over subsets the mean of the subsets' means, shown times 100."""

    scale = 100.0
    lower_is_better = False

    def __init__(self, results: pl.DataFrame, column: str) -> None:
        self.y, self.x = pl.col(column), pl.col(column).is_not_null().cast(pl.Float64)
        self.clustered = has_clusters(results)
        self._binary = bool(results[column].drop_nulls().is_in([0.0, 1.0]).all())
        self.sums = {"n": self.y.count(), "total": self.y.sum(), "squares": (self.y**2).sum()}
        if not self._binary and not self.clustered:
            self.sums["values"] = (self.y - self.y.mean()).drop_nulls().head(bootstrap.MOST + 1).implode()

    def stratum(self, row: Row) -> Stratum:
        """Return a subset's sums."""
        values = () if self._binary else tuple(value / row["n"] for value in row["values"])
        return Stratum(row["n"], row["total"], row["squares"], _clusters(row), values)

    def estimate(self, strata: Sequence[Any]) -> Estimate:
        """Estimate the mean over subsets."""
        if self._binary:
            return macro_mean(strata, binary=True)
        return macro_mean(strata, binary=False, shape=bootstrap.shape([stratum.values for stratum in strata]))


class WeightedMean:
    """Values that do not count alike: scores by their weight, negative log-likelihoods by their units (a text's tokens).

    Over subsets it is the mean of all their items together.
    """

    def __init__(self, rule: Rule, column: str, results: pl.DataFrame) -> None:
        self._perplexity = PERPLEXITIES.get(rule.metric.name)
        self.scale = 1.0 if self._perplexity else 100.0
        self.lower_is_better = self._perplexity is not None
        self.clustered = has_clusters(results)
        self.x, self.y = pl.col(units_of(rule)), pl.col(column) * pl.col(units_of(rule))
        self.sums = {"n": self.y.count(), **_sums(self.y, self.x)}

    def stratum(self, row: Row) -> Ratio:
        """Return a subset's sums."""
        return replace(Ratio(*(row[name] for name in self.sums)), clusters=_clusters(row))

    def estimate(self, strata: Sequence[Any]) -> Estimate:
        """Estimate the mean of all subsets' items together."""
        ratio = ratio_of(strata)
        if self._perplexity:
            return ratio.map(self._perplexity.of)
        low, high = wilson(min(1.0, ratio.mean), effective_size(ratio, strata))
        return replace(ratio, low=low, high=high)


def has_clusters(results: pl.DataFrame) -> bool:
    """Say whether any item shares something with others."""
    return bool(results["cluster"].is_not_null().any())


def draws_of(items: pl.DataFrame, *columns: pl.Expr) -> pl.DataFrame:
    """Return a row for each cluster of each subset, with these sums; an item without a cluster is one of its own."""
    alone = pl.when(pl.col("cluster").is_null()).then(pl.col("id")).alias("_alone")
    return items.group_by("subset", "cluster", alone, maintain_order=True).agg(*columns)


def _sums(y: pl.Expr, x: pl.Expr) -> dict[str, pl.Expr]:
    return {"y": y.sum(), "x": x.sum(), "yy": (y * y).sum(), "xx": (x * x).sum(), "xy": (x * y).sum()}


def _clusters(row: Row) -> Ratio | None:
    names = ("draws", *(f"clusters_{name}" for name in ("y", "x", "yy", "xx", "xy")))
    return Ratio(*(row[name] for name in names)) if "draws" in row else None


@dataclass(frozen=True)
class Cell:
    """The sums and counts of one subset under one rule."""

    subset: str | None
    stratum: Stratum | Ratio | None
    counts: dict[str, int]

    @property
    def floor(self) -> float:
        """The mean score if every failed request counted as wrong, where each item is asked once."""
        return self.stratum.total / self.counts["replies"] if isinstance(self.stratum, Stratum) else 0.0


def kind_of(rule: Rule, column: str, results: pl.DataFrame) -> MeanScore | WeightedMean:
    """Return how a rule's column is averaged."""
    weighted = rule.weight is not None or rule.metric.name in PERPLEXITIES
    return WeightedMean(rule, column, results) if weighted else MeanScore(results, column)


COUNTS = ("replies", "unanswered", "truncated", "failed", "shots_dropped")
"""What is counted of replies, beside their scores."""


def unanswered() -> pl.Expr:
    """Say whether no answer was read: a reply cut off before its answer is both, truncated and unanswered, but has one status."""
    status = pl.col("status")
    return (status == "unanswered") | ((status == "truncated") & pl.col("answer").is_null())


def per_item(results: pl.DataFrame) -> pl.DataFrame:
    """Return a row an item: its scores (of several samples their means) and ``COUNTS`` of its replies."""
    status = pl.col("status")
    counts = {"replies": pl.lit(1), "unanswered": unanswered(), "shots_dropped": pl.col("shots_dropped") > 0}
    counts |= {word: status == word for word in ("truncated", "failed")}
    frame = results.with_columns(count.cast(pl.Int64).alias(word) for word, count in counts.items())
    if not (results["sample"] > 0).any():
        return frame
    scores = [name for name, kind in results.schema.items() if kind == pl.Float64]
    shared = pl.col("subset", "groups", "cluster").first()
    return frame.group_by("id", maintain_order=True).agg(shared, pl.col(*scores).mean(), pl.col(*COUNTS).sum())


def cells_of(kind: MeanScore | WeightedMean, items: pl.DataFrame) -> list[Cell]:
    """Sum the scores of each subset's items (``per_item``), and count what has none."""
    sums = {**kind.sums, **{word: pl.col(word).sum() for word in COUNTS}}
    grouped = items.lazy().group_by("subset", maintain_order=True).agg(**sums).collect()  # lazy: copies only what is summed
    if kind.clustered:
        grouped = grouped.join(_clusters_of(kind, items), on="subset", how="left", nulls_equal=True, maintain_order="left")
    return [
        Cell(row["subset"], kind.stratum(row) if row["n"] else None, {word: row[word] for word in COUNTS})
        for row in grouped.to_dicts()
    ]


def _clusters_of(kind: MeanScore | WeightedMean, items: pl.DataFrame) -> pl.DataFrame:
    """Sum the sums of each subset's clusters; ``values`` are what each adds to the subset's total beyond its share."""
    draws = draws_of(items.filter(kind.y.is_not_null()), kind.y.sum().alias("y"), kind.x.sum().alias("x"))
    y, x = pl.col("y"), pl.col("x")
    sums = {f"clusters_{name}": value for name, value in _sums(y, x).items()}
    values = (y - y.sum() / x.sum() * x).head(bootstrap.MOST + 1).implode()
    return draws.group_by("subset").agg(pl.len().alias("draws"), values.alias("values"), **sums)
