"""Intervals and standard errors of means. Scores are between 0 and 1 here; reports multiply by 100.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212 for the
interval of a proportion; W. G. Cochran, "Sampling Techniques" (3rd ed., 1977), section 5.3, for the variance of a stratified
mean; E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected number of positive counts
estimated from survey data", Survey Methodology 24 (1998) 193-201, for putting the effective sample size into an interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and 95 % interval; ``stderr`` is ``None`` where one value does not give any."""

    mean: float
    stderr: float | None
    low: float
    high: float


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


def wilson(p: float, n: float) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion ``p`` seen in ``n`` trials; ``n`` may be an effective number."""
    z2 = Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_of(stratum: Stratum, binary: bool) -> Estimate:
    """Estimate the mean of one sample: Wilson's interval for 0/1 scores, the normal one for others."""
    return macro_mean([stratum], binary)


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


def _pooled_variance(strata: Sequence[Stratum]) -> float:
    whole = Stratum(sum(s.n for s in strata), sum(s.total for s in strata), sum(s.squares for s in strata))
    return whole.variance or 0.0
