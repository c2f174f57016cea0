"""The difference of two models on one task, over the items that both have a score of.

The compared number is the table's: the mean over subsets of their means (macro), or the ratio of sums where items do not count
alike. A draw is what is taken as independent, in this order: a cluster, where items have one, within its subset; a subset,
where there are ``MANY`` or more (E. Miller, arXiv 2411.00640, section 2.2: questions of a subject are not independent); an item
within its subset. The interval is Student's t with draws less strata degrees of freedom; fewer subsets than ``MANY`` are taken
as they are, because a t of one or two degrees of freedom says nothing. Scores that are not all 0 or 1 get the shape of a
bootstrap of the draws. p is McNemar's exact one for 0/1 scores, else the bootstrap's, of more than ``bootstrap.MOST`` draws t's.
McNemar's takes items for independent and alike; where they are not (clusters, subsets), the difference's own t stands beside it,
and the larger p decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ocli import bootstrap
from ocli.errors import RunError
from ocli.metrics.likelihood import PERPLEXITIES
from ocli.paired import Difference, Draws, difference_of, items_needed, mcnemar, smallest_difference, t_test, without_spread
from ocli.stages.averages import COUNTS, MeanScore, draws_of, has_clusters, kind_of, per_item
from ocli.task import TaskSpec

MANY = 10
"""Subsets from which on they are draws, not strata."""
TIMES = 10_000
"""Samples of a bootstrap that gives p: the least is 0.0002."""


@dataclass(frozen=True)
class Measured:
    """A task's difference, B less A. Scores are as the table has them; what is in ``unit`` is on one scale, points or nats."""

    task: str
    metric: str
    unit: str
    average: str | None
    n: int
    only: tuple[int, int]
    """Items that have a score on one side alone."""
    scores: tuple[float, float]
    difference: float
    stderr: float | None
    interval: tuple[float, float] | None
    draws: int
    drawn: str
    freedom: int
    test: str | None
    p: float | None
    mid_p: float | None
    draws_p: float | None
    """Beside McNemar's, which takes all items alike: Student's p of the difference by clusters, by subsets or of their mean."""
    worse: int
    """Items on which B is worse; of 0/1 scores McNemar's b, right to wrong."""
    better: int
    smallest: float | None
    """The smallest true difference that these items show with 80 % power; None where none of them differs."""
    spread: float | None
    """The standard deviation that one item's difference would have."""
    counts: tuple[dict[str, int], dict[str, int]]
    adjusted_p: float | None = None
    lower_is_better: bool = False

    @property
    def gain(self) -> float:
        """The difference in B's favour."""
        return -self.difference if self.lower_is_better else self.difference

    @property
    def deciding_p(self) -> float | None:
        """The p by which a difference is shown or not: the larger one where there are two."""
        return max((p for p in (self.p, self.draws_p) if p is not None), default=None)

    @property
    def shown(self) -> bool:
        """Whether a difference is shown: its interval is without 0 and its p, adjusted for several tasks, below 0.05."""
        p = self.deciding_p if self.adjusted_p is None else self.adjusted_p
        clear = self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)
        return clear and p is not None and p < 0.05

    def needed(self, tolerance: float) -> int | None:
        """Return how many items would show a difference of so many points."""
        return None if not self.spread or not tolerance else round(items_needed(tolerance, self.spread))

    def judge(self, tolerance: float) -> str:
        """Say whether B lost more than so many points: FAIL where the measured difference says so.

        Else PASS where the interval leaves no larger loss, or these items would have shown one; INCONCLUSIVE where they are too
        few for that.
        """
        if self.gain < -tolerance - 1e-9:
            return "FAIL"
        least = None if self.interval is None else -self.interval[1] if self.lower_is_better else self.interval[0]
        if least is not None and (least >= -tolerance or self.smallest is None or self.smallest <= tolerance):
            return "PASS"
        return "INCONCLUSIVE"


@dataclass(frozen=True)
class Pairs:
    """The items that both sides have a score of: ``id, subset, cluster, y, x, y_b, x_b``, the score of each being y / x."""

    frame: pl.DataFrame
    only: tuple[int, int]
    counts: tuple[dict[str, int], dict[str, int]]
    weighted: bool

    @property
    def binary(self) -> bool:
        """Whether all scores are 0 or 1, and count alike."""
        scores = pl.concat([self.frame["y"], self.frame["y_b"].alias("y")])
        return not self.weighted and bool(scores.is_in([0.0, 1.0]).all())


def pair(name: str, tasks: tuple[TaskSpec, TaskSpec], results: tuple[pl.DataFrame, pl.DataFrame]) -> Pairs:
    """Join two models' items; raise RunError where they have none in common or numbers of another kind."""
    rules = [task.score[0] for task in tasks]
    kinds = [kind_of(rule, "score", frame) for rule, frame in zip(rules, results, strict=True)]
    if type(kinds[0]) is not type(kinds[1]) or kinds[0].scale != kinds[1].scale:
        labels = " and ".join(rule.label for rule in rules)
        raise RunError(f"{name}: {labels} are numbers of different kinds; nothing can be compared")
    items = [per_item(frame) for frame in results]
    counts = [{word: int(frame[word].sum()) for word in COUNTS} for frame in items]
    sides = [
        frame.filter(kind.y.is_not_null()).select("id", "subset", "cluster", kind.y.alias("y"), kind.x.alias("x"))
        for frame, kind in zip(items, kinds, strict=True)
    ]
    frame = sides[0].join(sides[1], on="id", suffix="_b", maintain_order="left")
    if frame.is_empty():
        raise RunError(
            f"{name}: no item has a score on both sides ({sides[0].height} in A, {sides[1].height} in B); -t compares other tasks"
        )
    only = sides[0].height - frame.height, sides[1].height - frame.height
    return Pairs(frame, only, (counts[0], counts[1]), weighted=not isinstance(kinds[0], MeanScore))


def measure(name: str, task: TaskSpec, pairs: Pairs) -> Measured:
    """Compare two models on one task."""
    rule, frame = task.score[0], pairs.frame
    perplexity = PERPLEXITIES.get(rule.metric.name)
    scale = 1.0 if perplexity else 100.0
    subsets = frame["subset"].n_unique()
    means, draws, drawn = _drawn(frame, pairs.weighted)
    found, p = _interval(means[1] - means[0], draws, frame.height, pairs.binary)
    change = (frame["y_b"] / frame["x_b"] - frame["y"] / frame["x"]) * (-1 if perplexity else 1)
    worse, better = int((change < 0).sum()), int((change > 0).sum())
    mid = of_draws = None
    if pairs.binary:
        of_draws = None if drawn == "items" and subsets == 1 else p
        p, mid = mcnemar(worse, better)
    a, b = (perplexity.of(mean) if perplexity else scale * mean for mean in means)
    spread = None if not found.stderr else scale * found.stderr * frame.height**0.5
    average = f"mean of {subsets} subsets" if subsets > 1 and not pairs.weighted else None
    return Measured(
        name, rule.label, "nats a unit" if perplexity else "points", average, frame.height, pairs.only,
        scores=(a, b),
        difference=scale * found.value,
        stderr=None if found.stderr is None else scale * found.stderr,
        interval=None if found.low is None or found.high is None else (scale * found.low, scale * found.high),
        draws=draws.height, drawn=drawn, freedom=found.freedom,
        test=None if p is None else "McNemar" if pairs.binary else "bootstrap" if draws.height <= bootstrap.MOST else "t",
        p=p, mid_p=mid, draws_p=of_draws, worse=worse, better=better,
        smallest=scale * smallest_difference(found.stderr, found.freedom) if found.stderr else None, spread=spread,
        counts=pairs.counts, lower_is_better=perplexity is not None,
    )  # fmt: skip


def _drawn(frame: pl.DataFrame, weighted: bool) -> tuple[tuple[float, float], pl.DataFrame, str]:
    """Return both means, and of each draw its ``stratum`` and its deviation ``e``, of which the difference's error is the sum."""
    subsets = frame["subset"].n_unique()
    stratum = pl.lit("")
    if weighted:
        sums = {column: float(frame[column].sum()) for column in ("y", "x", "y_b", "x_b")}
        a, b = sums["y"] / sums["x"], sums["y_b"] / sums["x_b"]
        deviation = (pl.col("y_b") - b * pl.col("x_b")) / sums["x_b"] - (pl.col("y") - a * pl.col("x")) / sums["x"]
    else:
        by_subset = frame.group_by("subset", maintain_order=True).agg(pl.col("y", "y_b").mean())
        a, b = (float(by_subset[column].sum()) / subsets for column in ("y", "y_b"))
        difference = pl.col("y_b") - pl.col("y")
        # Subsets of a single draw show no spread: together they are one stratum (Cochran, section 5A.12).
        alone = pl.coalesce("cluster", "id").n_unique().over("subset") == 1
        middle = pl.when(alone).then(pl.lit(b - a)).otherwise(difference.mean().over("subset"))
        deviation = (difference - middle) / (subsets * pl.len().over("subset"))
        stratum = pl.when(alone).then(pl.lit("")).otherwise("subset: " + pl.col("subset").fill_null(""))
    frame = frame.with_columns(deviation.alias("e"), stratum.alias("stratum"))
    if has_clusters(frame):
        drawn = draws_of(frame, pl.col("e").sum(), pl.col("stratum").first()).select("stratum", "e")
        return (a, b), drawn, "clusters"
    if subsets < MANY:
        return (a, b), frame.select("stratum", "e"), "items"
    if weighted:
        drawn = frame.group_by("subset", maintain_order=True).agg(pl.col("e").sum())
    else:
        drawn = by_subset.with_columns(e=(pl.col("y_b") - pl.col("y") - (b - a)) / subsets)
    return (a, b), drawn.select(pl.lit("").alias("stratum"), "e"), "subsets"


def _interval(value: float, draws: pl.DataFrame, n: int, binary: bool) -> tuple[Difference, float | None]:
    """Return the difference with its interval, and a p that does not need scores of 0 and 1; None where one draw gives none."""
    strata = draws.group_by("stratum", maintain_order=True).agg(
        n=pl.len(), total=pl.col("e").sum(), squares=(pl.col("e") ** 2).sum()
    )
    sums = [Draws(row["n"], row["total"], row["squares"]) for row in strata.to_dicts()]
    found = difference_of(value, sums)
    if found.stderr is None:
        return found, None
    if found.stderr < 1e-12:  # every draw shows the same
        low, high = without_spread(value, min(n, draws.height))
        return Difference(value, 0.0, low, high, found.freedom), 1.0 if abs(value) < 1e-12 else 2.0 ** (1 - draws.height)
    if binary or draws.height > bootstrap.MOST:
        return found, t_test(found)
    values = [part["e"].to_list() for part in draws.partition_by("stratum", maintain_order=True)]
    scattered = bootstrap.scatter(values, TIMES)
    if scattered is None:
        return found, t_test(found)
    return difference_of(value, sums, bootstrap.middle(scattered)), bootstrap.two_sided(found.in_widths, scattered)
