"""Two models on the same questions: the difference of their means, tests of it, and what the number of questions could show.

A difference is taken question by question, so what makes a question hard for both cancels (E. Miller, "Adding Error Bars to
Evals", arXiv 2411.00640, section 4.2). Sources: Q. McNemar, Psychometrika 12 (1947) 153-157, its exact form by the binomial
distribution, and mid-p by M. Fagerland, S. Lydersen and P. Laake, BMC Medical Research Methodology 13:91 (2013); S. Holm,
"A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979) 65-70; power: Miller,
section 5, with H. Bloom, Evaluation Review 19 (1995) 547-556, for Student's t in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from ocli.stats import SYMMETRIC, Z95, freedom_of, student, t95, t_quantile, wilson

POWER = 0.8
USUAL_SPREAD = 1 / 3
"""The standard deviation of one question's difference where nothing is known yet: omega^2 = 1/9 (Miller, section 5)."""


@dataclass(frozen=True)
class Draws:
    """What the draws of one stratum, items or clusters, add to a difference: how many, their sum, their sum of squares."""

    n: int
    total: float
    squares: float

    @property
    def variance(self) -> float | None:
        """The variance of the sum of all draws, n s^2; one draw alone does not show it."""
        return self.n / (self.n - 1) * max(0.0, self.squares - self.total**2 / self.n) if self.n > 1 else None


@dataclass(frozen=True)
class Difference:
    """A difference with its standard error, 95 % interval and degrees of freedom; ``None`` where one draw does not give any."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None
    freedom: int

    @property
    def in_widths(self) -> float:
        """The difference in standard errors, each as wide as few degrees of freedom make it."""
        return self.value / ((self.stderr or math.inf) * t95(self.freedom) / Z95)


def difference_of(value: float, strata: Sequence[Draws], shape: tuple[float, float] = SYMMETRIC) -> Difference:
    """Put an interval around a difference of two means whose draws' deviations are ``strata``.

    The variance is the sum of the strata's, each draw independent; the interval is Student's t with draws less strata degrees
    of freedom, so that it holds with few clusters too, in the ``shape`` of a bootstrap (``bootstrap.shape``). A stratum of one
    draw shows no spread; that of all draws together stands in for it.
    """
    draws = sum(stratum.n for stratum in strata)
    freedom = freedom_of(draws, len(strata))
    if draws < 2:
        return Difference(value, None, None, None, freedom)
    whole = Draws(draws, sum(s.total for s in strata), sum(s.squares for s in strata))
    pooled = (whole.variance or 0.0) / draws
    variance = sum(pooled if stratum.variance is None else stratum.variance for stratum in strata)
    stderr = math.sqrt(variance)
    width = stderr * t95(freedom) / Z95
    return Difference(value, stderr, value + shape[0] * width, value + shape[1] * width, freedom)


def without_spread(value: float, n: int) -> tuple[float, float]:
    """Return an interval for a difference that all of ``n`` draws show alike: none where it is 0, else by Wilson's.

    A difference from -1 to 1 varies at most as one that is -1 or 1, whose rate Wilson's interval bounds.
    """
    if value == 0:
        return 0.0, 0.0
    low, high = (2 * end - 1 for end in wilson((1 + value) / 2, n))
    return low, high


def t_test(difference: Difference) -> float:
    """Return the two-sided p of no difference, by Student's t."""
    if not difference.stderr:
        return 1.0 if difference.value == 0 else 0.0
    return 2 * student(-abs(difference.value) / difference.stderr, difference.freedom)


def mcnemar(b: int, c: int) -> tuple[float, float]:
    """Return the exact two-sided p and the less conservative mid-p of ``b`` items against ``c``, were each side as likely."""
    few, many = sorted((b, c))
    n = b + c
    last = term = math.exp(math.lgamma(n + 1) - math.lgamma(few + 1) - math.lgamma(many + 1) - n * math.log(2))
    tail = 0.0
    for right in range(few, -1, -1):
        tail += term
        if term < 1e-18 * tail:
            break
        term *= right / (n - right + 1)
    exact = min(1.0, 2 * tail)
    return exact, 1.0 if b == c else exact - last


def holm(ps: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for being several, each at its place."""
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def smallest_difference(stderr: float, freedom: int | None = None) -> float:
    """Return the true difference that is shown at 5 % with 80 % power, given its standard error; normal without ``freedom``."""
    return _reach(freedom) * stderr


def items_needed(difference: float, spread: float) -> float:
    """Return how many items show a true difference with 80 % power; ``spread`` is the standard deviation of one item's."""
    return (_reach(None) * spread / difference) ** 2


def _reach(freedom: int | None) -> float:
    if freedom is None:
        return Z95 + NormalDist().inv_cdf(POWER)
    return t95(freedom) + t_quantile(POWER, freedom)
