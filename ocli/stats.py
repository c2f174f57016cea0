"""Intervals and standard errors of means. Scores are between 0 and 1 here; reports multiply by 100.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212 for the
interval of a proportion; W. G. Cochran, "Sampling Techniques" (3rd ed., 1977), section 5.3, for the variance of a stratified
mean; E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected number of positive counts
estimated from survey data", Survey Methodology 24 (1998) 193-201, for putting the effective sample size into an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Z95 = 1.959963984540054


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
class Stratum:
    """The scores of one subset: how many, their sum, their sum of squares."""

    n: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """The mean score."""
        return self.total / self.n

    @property
    def variance(self) -> float | None:
        """The sample variance (n - 1), which one score alone does not have."""
        return max(0.0, self.squares - self.total**2 / self.n) / (self.n - 1) if self.n > 1 else None


@dataclass(frozen=True)
class Ratio:
    """Pairs (y, x) of which the sum of y over the sum of x is wanted: how many, their sums, squares and products."""

    n: int
    y: float
    x: float
    yy: float
    xx: float
    xy: float


def wilson(p: float, n: float) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion ``p`` seen in ``n`` trials; ``n`` may be an effective number."""
    z2 = Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def macro_mean(strata: Sequence[Stratum], binary: bool) -> Estimate:
    """Estimate the plain mean of the strata's means, each stratum a sample of its own.

    The variance is the stratified one, sum of (1/k)^2 s_c^2 / n_c. For 0/1 scores the interval is Wilson's at the effective
    sample size p(1-p)/variance (the number of items itself for a single stratum).
    """
    k = len(strata)
    mean = sum(stratum.mean for stratum in strata) / k
    total = sum(stratum.n for stratum in strata)
    # A stratum of one item shows no spread; the pooled one stands in for it.
    pooled = _pooled_variance(strata)
    variance = sum((stratum.variance if stratum.variance is not None else pooled) / stratum.n for stratum in strata) / k**2
    stderr = math.sqrt(variance) if total > 1 else None
    if binary:
        spread = mean * (1 - mean)
        effective = min(float(total), spread / variance) if variance > 0 and k > 1 else float(total)
        low, high = wilson(min(1.0, max(0.0, mean)), effective)
    else:
        reach = Z95 * (stderr or 0.0)
        low, high = max(0.0, mean - reach), min(1.0, mean + reach)
    return Estimate(mean, stderr, low, high)


def ratio_of(parts: Sequence[Ratio]) -> Estimate:
    """Estimate sum(y) / sum(x) over all parts together, each pair one draw (Cochran, sections 2.11 and 6.4).

    The variance is that of the residuals y - r x, n / (n - 1) times their sum of squares over the square of sum(x).
    """
    n, y, x, yy, xx, xy = (sum(getattr(part, name) for part in parts) for name in ("n", "y", "x", "yy", "xx", "xy"))
    ratio = y / x
    residuals = max(0.0, yy - 2 * ratio * xy + ratio**2 * xx)
    stderr = math.sqrt(n / (n - 1) * residuals) / x if n > 1 else None
    reach = Z95 * (stderr or 0.0)
    return Estimate(ratio, stderr, ratio - reach, ratio + reach)


def effective_size(estimate: Estimate, parts: Sequence[Ratio]) -> float:
    """Return how many equal draws of a proportion would be as sure as a weighted mean of scores from 0 to 1.

    That is p(1-p)/variance (Korn and Graubard), but no more than the weights allow: (sum of x)^2 / sum of x^2 (Kish, "Survey
    Sampling", 1965, section 11.7), which stands where all scores are the same and show no spread.
    """
    most = sum(part.x for part in parts) ** 2 / sum(part.xx for part in parts)
    variance = (estimate.stderr or 0.0) ** 2
    spread = max(0.0, estimate.mean * (1 - estimate.mean))
    return min(most, spread / variance) if variance > 0 and spread > 0 else most


def _pooled_variance(strata: Sequence[Stratum]) -> float:
    whole = Stratum(sum(s.n for s in strata), sum(s.total for s in strata), sum(s.squares for s in strata))
    return whole.variance or 0.0
