"""Intervals, tests and power, against reference tables, scipy, statsmodels, and samples drawn again and again."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli import bootstrap
from ocli.paired import Difference, Draws, difference_of, holm, items_needed, mcnemar, smallest_difference, t_test, without_spread
from ocli.stages.averages import MeanScore, WeightedMean, cells_of, per_item
from ocli.stats import Estimate, Ratio, Stratum, macro_mean, ratio_of, student, t95, t_quantile, wilson
from ocli.task import Rule


@pytest.fixture
def reference(golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / "stats" / "stats_ref.json").read_text(encoding="utf-8"))
    return found


def results(
    scores: list[float | None], clusters: list[str | None] | None = None, subsets: list[str] | None = None
) -> pl.DataFrame:
    """Return a results frame as scoring writes it."""
    n = len(scores)
    frame = pl.DataFrame(
        {"id": [f"{i}" for i in range(n)], "subset": subsets or [None] * n, "sample": [0] * n, "groups": [[] for _ in range(n)],
         "answer": ["A"] * n, "score": scores, "status": ["ok"] * n, "shots_dropped": [0] * n},
        schema_overrides={"subset": pl.String, "score": pl.Float64, "groups": pl.List(pl.String)},
    )  # fmt: skip
    return frame.with_columns(pl.Series("cluster", clusters or [None] * n, dtype=pl.String))


def estimate_of(frame: pl.DataFrame) -> Estimate:
    items = per_item(frame)
    kind = MeanScore(items, "score")
    return kind.estimate([cell.stratum for cell in cells_of(kind, items) if cell.stratum])


# -- the reference tables --------------------------------------------------------------------------------------------------------


def test_standard_error_of_0_1_scores_is_that_of_the_table(reference: dict[str, Any]) -> None:
    case = reference["clt"]
    right = int(case["scores_sum"])
    estimate = macro_mean([Stratum(case["n"], right, right)], binary=True)
    assert (estimate.mean, estimate.stderr) == pytest.approx((case["mean"], case["se"]))
    plain = macro_mean([Stratum(case["n"], right, right)], binary=False)
    reach = case["se"] * t95(case["n"] - 1)
    assert (plain.low, plain.high) == pytest.approx((case["mean"] - reach, case["mean"] + reach))
    assert (plain.low, plain.high) == pytest.approx(case["ci"], abs=1e-3)


def test_mcnemar_holm_and_power_are_those_of_the_table(reference: dict[str, Any]) -> None:
    for name, case in reference.items():
        if name.startswith("mcnemar_"):
            b, c = map(int, name.split("_")[1:])
            assert mcnemar(b, c) == mcnemar(c, b) == pytest.approx((case["exact_p"], case["mid_p"]))
    case = reference["multiple_testing"]
    assert holm(case["p"]) == pytest.approx(case["holm"])
    assert holm(case["p"][::-1]) == pytest.approx(case["holm"][::-1])
    case, spread = reference["power"], 1 / 3
    assert items_needed(0.03, spread) == pytest.approx(case["n_for_3pp_omega2_1_9"])
    assert smallest_difference(spread / 200**0.5) == pytest.approx(case["mde_n200"])
    assert smallest_difference(spread / 2000**0.5) == pytest.approx(case["mde_n2000"])
    assert smallest_difference(spread / 2000**0.5, 1999) == pytest.approx(case["mde_n2000"], rel=1e-3)


def test_paired_difference_is_that_of_the_table(reference: dict[str, Any]) -> None:
    case = reference["paired"]
    b, c = case["discordant"]
    n = reference["clt"]["n"]
    found = difference_of(case["diff"], [Draws(n, (b - c) / n, (b + c) / n**2)])
    assert found.stderr == pytest.approx(case["se"])
    assert (found.value - (found.low or 0)) == pytest.approx(case["se"] * t95(n - 1))


@pytest.mark.parametrize(("n", "key"), [(20, "coverage_p0.9_n20"), (50, "coverage_p0.9_n50"), (200, "coverage_p0.9_n200")])
def test_wilsons_interval_covers_as_often_as_the_table_says(reference: dict[str, Any], n: int, key: str) -> None:
    """Exactly, by the binomial distribution."""
    stats = pytest.importorskip("scipy.stats")
    inside = [k for k in range(n + 1) if wilson(k / n, n)[0] <= 0.9 <= wilson(k / n, n)[1]]
    assert stats.binom.pmf(inside, n, 0.9).sum() == pytest.approx(reference[key]["wilson"], abs=0.005)


# -- scipy and statsmodels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 199, 1000, 1001, 20_000])
def test_students_t_is_that_of_scipy(freedom: int) -> None:
    t = pytest.importorskip("scipy.stats").t
    for value in (-12.0, -1.3, 0.0, 0.5, 4.0):
        assert student(value, freedom) == pytest.approx(t.cdf(value, freedom), abs=2e-7)
    for p in (0.5, 0.8, 0.975):
        assert t_quantile(p, freedom) == pytest.approx(t.ppf(p, freedom), abs=2e-6)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (10, 3), (0, 40), (310, 260), (5200, 5000)])
def test_mcnemar_is_that_of_statsmodels(b: int, c: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    exact = tables.mcnemar([[7, b], [c, 9]], exact=True).pvalue if b + c else 1.0
    assert mcnemar(b, c)[0] == pytest.approx(exact, rel=1e-8)


def test_mcnemar_of_a_million_items_is_at_hand() -> None:
    assert mcnemar(500_000, 501_000)[0] == pytest.approx(0.3178, abs=1e-3)
    assert mcnemar(500_000, 510_000)[0] < 1e-20


def clustered_scores(groups: int, binary: bool = True) -> tuple[list[float], list[str]]:
    """Return made-up scores whose clusters differ in size and in how hard they are."""
    draw = random.Random(7)
    scores: list[float] = []
    names: list[str] = []
    for group in range(groups):
        hard = draw.random()
        for _ in range(draw.randint(1, 9)):
            value = min(1.0, max(0.0, draw.gauss(hard, 0.2)))
            scores.append(float(draw.random() < hard) if binary else value)
            names.append(f"passage {group}")
    return scores, names


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("groups", [3, 12, 60])
def test_clustered_standard_error_is_that_of_statsmodels(groups: int, binary: bool) -> None:
    """Ordinary least squares on a constant with cluster-robust covariance is the same formula."""
    api = pytest.importorskip("statsmodels.api")
    scores, names = clustered_scores(groups, binary)
    n = len(scores)
    fit = api.OLS(scores, [1.0] * n).fit(cov_type="cluster", cov_kwds={"groups": [int(name[8:]) for name in names]})
    estimate = estimate_of(results(list(scores), list(names)))
    assert estimate.mean == pytest.approx(fit.params[0])
    assert estimate.stderr == pytest.approx(fit.bse[0])
    weighted = WeightedMean(
        Rule.model_validate({"extract": "text", "metric": "f1", "weight": "w"}), "score", results([1.0], ["a"])
    )
    items = per_item(results(list(scores), list(names))).with_columns(f1_units=pl.lit(1.0))
    same = weighted.estimate([cell.stratum for cell in cells_of(weighted, items)])
    assert (same.mean, same.stderr) == pytest.approx((estimate.mean, estimate.stderr))


# -- clusters --------------------------------------------------------------------------------------------------------------------


def test_every_item_a_cluster_is_no_cluster_but_for_students_t() -> None:
    scores: list[float | None] = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, None]
    alone = estimate_of(results(scores))
    each = estimate_of(results(scores, [f"{i}" for i in range(8)]))
    mixed = estimate_of(results(scores, ["one", *[None] * 7]))
    assert each.stderr == pytest.approx(alone.stderr)
    assert each == mixed
    assert each.low < alone.low


def test_clusters_are_taken_within_subsets() -> None:
    scores = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    clusters: list[str | None] = ["a", "a", "b", "b", "a", "a", "b", "b"]
    estimate = estimate_of(results(list(scores), clusters, ["x"] * 4 + ["y"] * 4))
    # x: means 1 and 0, y: 1/2 and 1; the variance of a mean of two is half the squared distance over two
    assert estimate.stderr == pytest.approx(((1.0**2 / 4 + 0.5**2 / 4) / 4) ** 0.5)
    assert estimate.mean == pytest.approx((0.5 + 0.75) / 2)


def test_ten_right_answers_to_one_passage_tell_of_one_passage() -> None:
    estimate = estimate_of(results([1.0] * 10, ["a"] * 10))
    assert estimate.stderr is None
    assert (estimate.low, estimate.high) == pytest.approx(wilson(1.0, 1))
    two = estimate_of(results([1.0] * 10, ["a"] * 5 + ["b"] * 5))
    assert (two.low, two.high) == pytest.approx(wilson(1.0, 2))


def test_interval_of_few_clusters_covers_the_truth() -> None:
    """8 passages of 6 questions, right together or wrong together four times of five: naive intervals miss every third time."""
    draw = random.Random(3)
    hit = naive = 0
    for _ in range(400):
        scores: list[float | None] = []
        for _ in range(8):
            whole = draw.random() < 0.6
            scores += [float(whole if draw.random() < 0.8 else draw.random() < 0.6) for _ in range(6)]
        clustered = estimate_of(results(scores, [f"{i // 6}" for i in range(48)]))
        plain = estimate_of(results(scores))
        hit += clustered.low <= 0.6 <= clustered.high
        naive += plain.low <= 0.6 <= plain.high
    assert hit >= 0.93 * 400
    assert naive < 0.75 * 400


def test_clustered_perplexity_has_students_t() -> None:
    pairs = Ratio(4, 8.0, 4.0, 18.0, 4.0, 8.0)
    clusters = Ratio(2, 8.0, 4.0, 34.0, 8.0, 16.0)
    found = ratio_of([Ratio(*list(vars(pairs).values())[:6], clusters=clusters)])
    assert found.stderr == pytest.approx((2 * (34 - 64 + 32) / 16) ** 0.5)
    assert found.high - found.mean == pytest.approx(12.7062 * (found.stderr or 0), rel=1e-4)


# -- scores that are not 0 or 1 --------------------------------------------------------------------------------------------------


def test_bootstrap_is_the_same_each_time_and_in_any_order() -> None:
    scores: list[float | None] = [0.0, 0.1, 0.1, 0.2, 0.9, 0.3, 0.0, 1.0]
    first, again = estimate_of(results(scores)), estimate_of(results(scores[::-1]))
    assert first == again
    assert first.mean - first.low < first.high - first.mean  # the long tail is above


def test_bootstrap_interval_of_skewed_scores_covers_the_truth() -> None:
    draw = random.Random(5)
    hit = 0
    for _ in range(300):
        estimate = estimate_of(results([draw.betavariate(0.4, 1.6) for _ in range(25)]))
        hit += estimate.low <= 0.2 <= estimate.high
    assert hit >= 0.92 * 300


def test_bootstrap_spread_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    scores, _ = clustered_scores(8, binary=False)
    estimate = estimate_of(results(list(scores)))
    theirs = stats.bootstrap((scores,), lambda x, axis: x.mean(axis=axis), n_resamples=4000, rng=1, method="percentile")
    wider = t95(len(scores) - 1) / 1.96 * (len(scores) / (len(scores) - 1)) ** 0.5
    mean = estimate.mean
    assert (estimate.low - mean) / wider == pytest.approx(theirs.confidence_interval.low - mean, abs=0.01)
    assert (estimate.high - mean) / wider == pytest.approx(theirs.confidence_interval.high - mean, abs=0.01)


def test_scores_that_are_all_the_same_are_not_certainty() -> None:
    estimate = estimate_of(results([0.5] * 10))
    assert (estimate.low, estimate.high) == pytest.approx(wilson(0.5, 10))


def test_many_scores_have_the_normal_interval_at_once() -> None:
    scores: list[float | None] = [(i % 11) / 10 for i in range(bootstrap.MOST + 1)]
    estimate = estimate_of(results(scores))
    assert estimate.high - estimate.mean == pytest.approx(estimate.mean - estimate.low)
    assert bootstrap.shape([[0.0, 0.0]]) == bootstrap.SYMMETRIC


# -- differences -----------------------------------------------------------------------------------------------------------------


def test_difference_has_students_t_and_stands_in_for_a_stratum_of_one() -> None:
    two = difference_of(0.1, [Draws(2, 0.0, 0.02)])
    assert two.stderr == pytest.approx(0.2)
    assert (two.low or 0) == pytest.approx(0.1 - 12.7062 * 0.2, rel=1e-4)
    assert difference_of(0.1, [Draws(1, 0.1, 0.01)]) == Difference(0.1, None, None, None, 1)
    several = difference_of(0.1, [Draws(1, 0.1, 0.01), Draws(1, -0.1, 0.01)])
    assert several.stderr == pytest.approx(0.2)


def test_t_test_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [0.2, -0.1, 0.4, 0.0, 0.3, 0.25]
    mean, n = sum(values) / 6, 6
    found = difference_of(mean, [Draws(n, sum(values) / n, sum(v * v for v in values) / n**2)])
    assert t_test(found) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert t_test(Difference(0.0, 0.0, 0.0, 0.0, 3)) == 1.0


def test_difference_that_all_items_show_alike_is_not_certain_unless_it_is_none() -> None:
    assert without_spread(0.0, 10) == (0.0, 0.0)
    low, high = without_spread(1.0, 10)
    assert (low, high) == pytest.approx((2 * wilson(1.0, 10)[0] - 1, 1.0))


def test_differences_of_few_clusters_are_covered_and_seldom_called_real() -> None:
    """6 passages of which each moves all its questions alike, and no true difference: 95 % hold 0, of t and of the bootstrap."""
    draw = random.Random(11)
    hit = real = 0
    for _ in range(400):
        moved = [draw.gauss(0, 0.2) for _ in range(6)]
        mean = sum(moved) / 6
        deviations = [(value - mean) / 6 for value in moved]
        draws = [Draws(6, sum(deviations), sum(value**2 for value in deviations))]
        found = difference_of(mean, draws)
        hit += (found.low or 0) <= 0 <= (found.high or 0)
        scattered = bootstrap.scatter([deviations])
        assert scattered is not None
        real += bootstrap.two_sided(found.in_widths, scattered) < 0.05
    assert hit >= 0.93 * 400
    assert real <= 0.08 * 400
