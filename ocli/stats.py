"""Intervals and standard errors of one score's mean. Scores are between 0 and 1 here; reports multiply by 100.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212 for the
interval of a proportion; W. G. Cochran, "Sampling Techniques" (3rd ed., 1977), section 5.3, for the variance of a stratified
mean; E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected number of positive counts
estimated from survey data", Survey Methodology 24 (1998) 193-201, for putting the effective sample size into an interval; E.
Miller, "Adding Error Bars to Evals", arXiv 2411.00640, section 2.2, for questions in clusters. Two models: ``paired.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

Z95 = 1.959963984540054
SYMMETRIC = (-Z95, Z95)
"""Where the 95 % of a normal distribution end, in standard deviations."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and 95 % interval; ``stderr`` is ``None`` where one value does not give any."""

    mean: float
    stderr: float | None
    low: float
    high: float

    def map(self, increasing: Callable[[float], float]) -> Estimate:
        """Return the estimate of a function of the mean: its interval is the interval's image, its error the delta method's."""
        step = 1e-6 * max(1.0, abs(self.mean))
        slope = (increasing(self.mean + step) - increasing(self.mean - step)) / (2 * step)
        stderr = None if self.stderr is None else slope * self.stderr
        return Estimate(increasing(self.mean), stderr, increasing(self.low), increasing(self.high))


@dataclass(frozen=True)
class Ratio:
    """Pairs (y, x) of which the sum of y over the sum of x is wanted: how many, their sums, squares and products.

    ``clusters`` are the same sums with a pair a cluster, where the pairs themselves are not drawn one by one.
    """

    n: int
    y: float
    x: float
    yy: float
    xx: float
    xy: float
    clusters: Ratio | None = None

    @property
    def variance(self) -> float | None:
        """The variance of y / x: the residuals' squares, n / (n - 1) times, over x squared. One pair alone does not have it."""
        ratio = self.y / self.x
        residuals = max(0.0, self.yy - 2 * ratio * self.xy + ratio**2 * self.xx)
        return self.n / (self.n - 1) * residuals / self.x**2 if self.n > 1 else None

    @property
    def kish(self) -> float:
        """How many pairs of equal x would be as many: (sum of x)^2 / sum of x^2 (Kish, "Survey Sampling", 1965, section 11.7)."""
        return self.x**2 / self.xx


@dataclass(frozen=True)
class Stratum:
    """The scores of one subset: how many, their sum, their sum of squares; of clusters the sums (y) and counts (x)."""

    n: int
    total: float
    squares: float
    clusters: Ratio | None = None
    values: tuple[float, ...] = ()
    """What each draw, an item or a cluster, adds to the mean less its expectation; only where the bootstrap asks for it."""

    @property
    def mean(self) -> float:
        """The mean score."""
        return self.total / self.n

    @property
    def draws(self) -> int:
        """How many items or clusters were drawn."""
        return self.clusters.n if self.clusters else self.n

    @property
    def variance(self) -> float | None:
        """The variance of the mean, which one draw alone does not show.

        Items: s^2 / n. Clusters: G / (G - 1) times the sum over clusters of their residual sums squared, over n^2.
        """
        if self.clusters:
            return self.clusters.variance
        return max(0.0, self.squares - self.total**2 / self.n) / (self.n - 1) / self.n if self.n > 1 else None


def wilson(p: float, n: float) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion ``p`` seen in ``n`` trials; ``n`` may be an effective number."""
    z2 = Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def macro_mean(strata: Sequence[Stratum], binary: bool, shape: tuple[float, float] = SYMMETRIC) -> Estimate:
    """Estimate the plain mean of the strata's means, each stratum a sample of its own.

    The variance is the stratified one, sum of (1/k)^2 s_c^2 / n_c, or of clusters within strata. For 0/1 scores the interval is
    Wilson's at the effective sample size p(1-p)/variance (the number of items itself for a single stratum without clusters).
    Other scores: the standard error times Student's t, with the ``shape`` that a bootstrap has found (``bootstrap.shape``).
    """
    k = len(strata)
    mean = sum(stratum.mean for stratum in strata) / k
    draws = sum(stratum.draws for stratum in strata)
    # A stratum of one draw shows no spread; the pooled one stands in for it.
    pooled = _pooled_variance(strata)
    variances = [stratum.variance for stratum in strata]
    variance = sum(pooled / s.draws if v is None else v for s, v in zip(strata, variances, strict=True)) / k**2
    stderr = math.sqrt(variance) if draws > 1 else None
    few = t95(freedom_of(draws, k)) / Z95
    if variance > 0 and not binary:
        low, high = (min(1.0, max(0.0, mean + end * few * (stderr or 0.0))) for end in shape)
    else:
        low, high = wilson(min(1.0, max(0.0, mean)), _effective(strata, mean, variance, few))
    return Estimate(mean, stderr, low, high)


def _effective(strata: Sequence[Stratum], mean: float, variance: float, few: float) -> float:
    """Return how many independent items would be as sure; with ``few`` clusters fewer (Korn and Graubard)."""
    total = float(sum(stratum.n for stratum in strata))
    clustered = any(stratum.clusters for stratum in strata)
    if variance > 0 and (len(strata) > 1 or clustered):
        return min(total, mean * (1 - mean) / variance / (few**2 if clustered else 1))
    # All scores the same: nothing tells how alike the items of a cluster are, so they count as one.
    return sum(stratum.clusters.kish if stratum.clusters else stratum.n for stratum in strata)


def freedom_of(draws: int, strata: int) -> int:
    """Return the degrees of freedom: draws less strata, or less one where each stratum is a single draw."""
    return max(1, draws - strata or draws - 1)


def _pooled_variance(strata: Sequence[Stratum]) -> float:
    """Return the variance of one draw, all strata put together."""
    draws = sum(stratum.draws for stratum in strata)
    clusters = [stratum.clusters for stratum in strata if stratum.clusters]
    whole = Stratum(
        sum(s.n for s in strata), sum(s.total for s in strata), sum(s.squares for s in strata),
        clusters=_together(clusters) if clusters else None,
    )  # fmt: skip
    return (whole.variance or 0.0) * draws


def ratio_of(parts: Sequence[Ratio]) -> Estimate:
    """Estimate sum(y) / sum(x) over all parts together, each pair or cluster one draw (Cochran, sections 2.11 and 6.4).

    The variance is that of the residuals y - r x, n / (n - 1) times their sum of squares over the square of sum(x). The interval
    is normal, of clusters Student's t.
    """
    whole = _together([part.clusters or part for part in parts])
    variance = whole.variance
    stderr = None if variance is None else math.sqrt(variance)
    clustered = any(part.clusters for part in parts)
    reach = (t95(max(1, whole.n - 1)) if clustered else Z95) * (stderr or 0.0)
    ratio = whole.y / whole.x
    return Estimate(ratio, stderr, ratio - reach, ratio + reach)


def effective_size(estimate: Estimate, parts: Sequence[Ratio]) -> float:
    """Return how many equal draws of a proportion would be as sure as a weighted mean of scores from 0 to 1.

    That is p(1-p)/variance (Korn and Graubard, with their correction for few clusters), but no more than the weights allow
    (``Ratio.kish``). Where all scores are the same and show no spread, what the weights of pairs or clusters allow stands alone.
    """
    whole = _together([part.clusters or part for part in parts])
    variance = (estimate.stderr or 0.0) ** 2
    spread = max(0.0, estimate.mean * (1 - estimate.mean))
    if not (variance > 0 and spread > 0):
        return whole.kish
    few = t95(max(1, whole.n - 1)) / Z95 if any(part.clusters for part in parts) else 1.0
    return min(_together(parts).kish, spread / variance / few**2)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Estimate the plain mean of independent estimates, each end of its interval from the same ends of theirs.

    lower = mean - sqrt(sum of (m_i - low_i)^2) / k, and so the upper (Zou and Donner, "Construction of confidence limits about
    effect measures", Statistics in Medicine 27 (2008) 1693-1702): near 0 and 1 it is as lopsided as theirs are, and never empty.
    """
    k = len(estimates)
    mean = sum(one.mean for one in estimates) / k
    below = math.hypot(*(one.mean - one.low for one in estimates)) / k
    above = math.hypot(*(one.high - one.mean for one in estimates)) / k
    errors = [one.stderr for one in estimates if one.stderr is not None]
    return Estimate(mean, math.hypot(*errors) / k if len(errors) == k else None, mean - below, mean + above)


def _together(parts: Sequence[Ratio]) -> Ratio:
    n, *sums = (sum(getattr(part, name) for part in parts) for name in ("n", "y", "x", "yy", "xx", "xy"))
    return Ratio(int(n), *sums)


def t95(freedom: int) -> float:
    """Return what stands for 1.96 with few degrees of freedom: the 0.975 quantile of Student's t."""
    return t_quantile(0.975, freedom)


@lru_cache(maxsize=1024)
def t_quantile(p: float, freedom: int) -> float:
    """Return a quantile of Student's t for p from 0.5 to 1, by bisection to 12 digits."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student(middle, freedom) < p else (low, middle)
        if high - low < 1e-12 * high:
            break
    return (low + high) / 2


def student(t: float, freedom: int) -> float:
    """Return the probability that Student's t is at most ``t``.

    Up to 1000 degrees of freedom by the finite series (Abramowitz and Stegun, 26.7.3 and 26.7.4), then by the normal
    distribution of a near quantity (26.7.8), which is right to 6 digits there.
    """
    if freedom > 1000:
        return NormalDist().cdf(t * (1 - 1 / (4 * freedom)) / math.sqrt(1 + t * t / (2 * freedom)))
    angle = math.atan2(t, math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    series = 0.0 if freedom == 1 else term
    for step in range(2 + odd, freedom - 1, 2):
        term *= (step - 1) / step * math.cos(angle) ** 2
        series += term
    inside = math.sin(angle) * series
    return 0.5 + (angle + inside) / math.pi if odd else 0.5 + inside / 2
