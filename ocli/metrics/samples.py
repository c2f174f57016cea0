"""What several samples of one question say together: mean@n, pass@k, majority@n and G-Pass@k, an item at a time.

Sources: pass@k: M. Chen et al., "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, section 2.1. G-Pass@k and
mG-Pass@k: J. Liu et al., "Are Your LLMs Capable of Stable Reasoning?", arXiv 2412.13147, definitions 2 and 3, as OpenCompass has
them (``opencompass/openicl/icl_evaluator/icl_base_evaluator.py``: at least one sample must be right, also for tau = 0).
With n samples of which c are right, k of the n are drawn without repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, comb

import polars as pl

TAUS = (0.25, 0.5, 0.75, 1.0)
"""The shares of right samples that G-Pass@k asks for."""

Estimator = Callable[[int, int], float]
"""(n, c) -> a number from 0 to 1."""


def pass_at(k: int, n: int, c: int) -> float:
    """Return the probability that of k samples at least one is right: 1 - C(n - c, k) / C(n, k)."""
    return 1 - comb(n - c, k) / comb(n, k)


def g_pass_at(k: int, tau: float, n: int, c: int) -> float:
    """Return the probability that of k samples at least ceil(tau k) are right: the sum of C(c, j) C(n - c, k - j) / C(n, k)."""
    least = max(ceil(tau * k), 1)
    return sum(comb(c, j) * comb(n - c, k - j) for j in range(least, min(c, k) + 1)) / comb(n, k)


def mg_pass_at(k: int, n: int, c: int) -> float:
    """Return the mean of G-Pass@k over tau from 0.5 to 1: 2 / k times the sum over i from ceil(k / 2) + 1 to k at tau = i / k."""
    return 2 / k * sum(g_pass_at(k, i / k, n, c) for i in range(ceil(k / 2) + 1, k + 1))


def sizes(samples: int) -> list[int]:
    """Return the k that are reported where nobody says any: 2, 4, 8, ... and the number of samples itself."""
    powers = [2**power for power in range(1, samples.bit_length()) if 2**power < samples]
    return [*powers, samples]


def estimators(ks: Sequence[int]) -> dict[str, Estimator]:
    """Return every estimator by its name in the table; the one of G-Pass@k is for the largest k."""
    found: dict[str, Estimator] = {f"pass@{k}": lambda n, c, k=k: pass_at(k, n, c) for k in ks}  # type: ignore[misc]
    largest = max(ks)
    for tau in TAUS:
        found[f"g_pass@{largest}_{tau:g}"] = lambda n, c, tau=tau: g_pass_at(largest, tau, n, c)  # type: ignore[misc]
    found[f"mg_pass@{largest}"] = lambda n, c: mg_pass_at(largest, n, c)
    return found


def by_item(results: pl.DataFrame, column: str, ks: Sequence[int]) -> pl.DataFrame:
    """Return ``id`` and, for a column of scores, its majority@n and, where all scores are 0 or 1, each estimator.

    ``results`` has a row a sample: ``id, answer, `` and the column (null where the request failed). An estimator is null of an
    item that has fewer scores than it draws.
    """
    whole = majority(results, column)
    if not results[column].drop_nulls().is_in([0.0, 1.0]).all():
        return whole
    counts = results.group_by("id", maintain_order=True).agg(n=pl.col(column).count(), c=pl.col(column).sum().cast(pl.Int64))
    pairs = counts.select("n", "c").unique(maintain_order=True)
    values = {
        name: [estimate(n, c) if n >= _draws(name) else None for n, c in pairs.iter_rows()]
        for name, estimate in estimators(ks).items()
    }
    table = pairs.with_columns(pl.Series(name, value, dtype=pl.Float64) for name, value in values.items())
    found = counts.join(table, on=["n", "c"], how="left").drop("n", "c")
    return whole.join(found, on="id", how="left", maintain_order="left")


def majority(results: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return ``id`` and ``maj``: the score of the answer that most samples give, where several do the mean of theirs.

    Answers are the same when their texts are. An item of which no sample has an answer scores 0; one without any score is null.
    """
    answered = results.filter(pl.col(column).is_not_null() & pl.col("answer").is_not_null())
    votes = answered.group_by("id", "answer").agg(votes=pl.len(), score=pl.col(column).mean())
    most = votes.filter(pl.col("votes") == pl.col("votes").max().over("id")).group_by("id").agg(maj=pl.col("score").mean())
    items = results.group_by("id", maintain_order=True).agg(any=pl.col(column).is_not_null().any())
    joined = items.join(most, on="id", how="left", maintain_order="left")
    return joined.select("id", pl.when(pl.col("any")).then(pl.col("maj").fill_null(0.0)).alias("maj"))


def _draws(name: str) -> int:
    """Return how many samples an estimator draws: the number in its name."""
    return int(name.partition("@")[2].partition("_")[0])
