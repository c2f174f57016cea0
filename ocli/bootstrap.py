"""How the mean of a sample scatters when the sample is drawn again: the bootstrap, for scores that are not 0 or 1.

What is resampled are the draws' deviations, items or clusters, within their strata (B. Efron and R. Tibshirani, "An
Introduction to the Bootstrap", 1993, chapters 8 and 13). Only the shape is taken from it, in standard deviations: its own spread
is too small by (n - 1) / n and knows no Student's t, so intervals put the unbiased standard error and t in their place (T.
Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69 (2015) 371-386, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.stats import SYMMETRIC

MOST = 1000
"""Draws above which the mean is as good as normal: nothing is resampled, so a report's time does not grow with its items."""

TIMES = 2000
BLOCK = 1 << 20
"""Values that are drawn at once."""


def shape(strata: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return where the middle 95 % of the resampled means begin and end, in their standard deviations from the mean.

    ``strata`` has each draw's deviation from its stratum's mean, over the stratum's size. Normal above ``MOST`` draws.
    """
    if sum(map(len, strata)) > MOST:
        return SYMMETRIC
    scattered = scatter(strata)
    return SYMMETRIC if scattered is None else middle(scattered)


def middle(scattered: pl.Series) -> tuple[float, float]:
    """Return where the middle 95 % begin and end."""
    low, high = scattered.quantile(0.025, "linear"), scattered.quantile(0.975, "linear")
    return (low, high) if low is not None and high is not None else SYMMETRIC


def scatter(strata: Sequence[Sequence[float]], times: int = TIMES) -> pl.Series | None:
    """Return the resampled sums of deviations in standard deviations, or ``None`` where nothing deviates.

    The same deviations, in whatever order, give the same numbers.
    """
    total = pl.zeros(times, pl.Float64, eager=True)
    for seed, values in enumerate(strata):
        total += _sums(pl.Series(values, dtype=pl.Float64).sort(), times, seed)
    spread = total.std()
    return total / spread if isinstance(spread, float) and spread > 1e-12 else None


def two_sided(widths: float, scattered: pl.Series) -> float:
    """Return the two-sided p of a value that is so many standard deviations from 0: 1 less the widest interval without 0.

    Of B samples it is at least 2 / (B + 1) (A. Davison and D. Hinkley, "Bootstrap Methods and their Application", 1997, 4.2.5).
    """
    moved = scattered + widths
    beyond = min(int((moved <= 0).sum()), int((moved >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(scattered) + 1))


def _sums(values: pl.Series, times: int, seed: int) -> pl.Series:
    """Return the sums of ``times`` samples as large as ``values``, drawn from them with replacement."""
    size = len(values)
    if not size:
        return pl.zeros(times, pl.Float64, eager=True)
    at_once = max(1, BLOCK // size)
    parts: list[pl.Series] = []
    for done in range(0, times, at_once):
        count = min(at_once, times - done)
        drawn = values.sample(count * size, with_replacement=True, seed=(seed << 20) + done)
        parts.append(drawn.reshape((count, size)).arr.sum())
    sums: pl.Series = pl.concat(parts) - float(values.sum())
    return sums
