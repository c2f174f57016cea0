"""Several samples of each item: distinct seeds, resume, mean, pass@k, majority and G-Pass@k."""

from __future__ import annotations

import itertools
import json
from math import comb
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Ocli, Write

from ocli.metrics.samples import by_item, g_pass_at, majority, mg_pass_at, pass_at, sizes

STATS = Path(__file__).parents[2] / "shared" / "golden" / "stats" / "stats_ref.json"
OPENCOMPASS = Path(__file__).parents[2] / "shared" / "golden" / "opencompass" / "gpassk.json"


@pytest.mark.parametrize("n", [1, 2, 7, 30, 200])
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(n: int) -> None:
    """By the recurrence that no binomial is in: the next one drawn is wrong with (wrong left) / (left)."""
    for c, k in itertools.product({0, 1, n // 3, n - 1, n}, {1, n // 2 + 1, n}):
        none_right = 1.0
        for drawn in range(k):
            none_right *= max(n - c - drawn, 0) / (n - drawn)
        assert pass_at(k, n, c) == pytest.approx(1 - none_right, abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(6, 2, 3), (5, 5, 2), (7, 3, 7), (6, 0, 4)])
def test_g_pass_is_what_counting_all_draws_gives(n: int, c: int, k: int) -> None:
    draws = [sum(draw) for draw in itertools.combinations([1] * c + [0] * (n - c), k)]
    assert len(draws) == comb(n, k)
    for tau in (0.25, 0.5, 0.75, 1.0):
        expected = sum(right >= tau * k and right > 0 for right in draws) / len(draws)
        assert g_pass_at(k, tau, n, c) == pytest.approx(expected)


def test_values_equal_the_reference_tables() -> None:
    if not STATS.is_file():
        pytest.skip(f"no golden tables at {STATS}")
    reference = json.loads(STATS.read_text())
    table = reference["pass_at_k_n8_c3"]
    for k in (1, 2, 4, 8):
        assert pass_at(k, 8, 3) == pytest.approx(table[f"pass@{k}"])
    for k in (1, 2, 3, 4):
        assert g_pass_at(k, 1.0, 8, 3) == pytest.approx(table[f"pass^{k}"])
    table = reference["g_pass_n16_c10_k8"]
    assert mg_pass_at(8, 16, 10) == pytest.approx(table["mG"])
    for tau in (0.25, 0.5, 0.75, 1.0):
        assert g_pass_at(8, tau, 16, 10) == pytest.approx(table[f"tau={tau:g}" if tau != 1 else "tau=1.0"])


def test_values_equal_those_of_opencompass() -> None:
    if not OPENCOMPASS.is_file():
        pytest.skip(f"no golden tables at {OPENCOMPASS}")
    cases = json.loads(OPENCOMPASS.read_text())
    assert len(cases) > 50
    for case in cases:
        n, c, k = case["n"], case["c"], case["k"]
        assert g_pass_at(k, case["t"], n, c) == pytest.approx(case["g"])
        assert mg_pass_at(k, n, c) == pytest.approx(case["mg"])


@pytest.mark.parametrize(("samples", "ks"), [(2, [2]), (3, [2, 3]), (4, [2, 4]), (10, [2, 4, 8, 10]), (16, [2, 4, 8, 16])])
def test_k_are_the_powers_of_two_and_all(samples: int, ks: list[int]) -> None:
    assert sizes(samples) == ks


def frame(rows: list[tuple[str, str | None, float | None]]) -> pl.DataFrame:
    schema = {"id": pl.String, "answer": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_majority_takes_the_commonest_answer_and_shares_ties() -> None:
    rows = [("a", "7", 1.0), ("a", "7", 1.0), ("a", "8", 0.0)]  # right by two to one
    rows += [("b", "7", 1.0), ("b", "8", 0.0)]  # a tie
    rows += [("c", None, 0.0), ("c", None, 0.0), ("c", "7", 1.0)]  # no answer is no vote
    rows += [("d", None, 0.0), ("d", None, 0.0)]  # no answer at all
    rows += [("e", None, None), ("e", None, None)]  # every request failed
    assert majority(frame(rows), "score")["maj"].to_list() == [1.0, 0.5, 1.0, 0.0, None]


def test_estimators_need_scores_of_0_and_1_and_as_many_as_they_draw() -> None:
    rows = [("a", "x", 1.0), ("a", "y", 0.0), ("a", "y", 0.0), ("b", "x", 1.0), ("b", "x", None), ("b", "x", None)]
    found = by_item(frame(rows), "score", [1, 2])
    assert found["pass@1"].to_list() == pytest.approx([1 / 3, 1.0])
    assert found["pass@2"].to_list() == [pytest.approx(2 / 3), None]
    assert by_item(frame([("a", "x", 0.5)]), "score", [1]).columns == ["id", "maj"]


QUESTIONS = "question,answer\nTwo and two?,4\nThree and three?,6\n"
TASK = ["-t", "q.csv", "--set", "task.samples=4", "--set", "sampling.temperature=0.7"]
TEXTS = {"0": ["4", "4", "5", "no idea"], "1": ["7", "7", "6", "7"]}


@pytest.fixture
def said(write: Write) -> None:
    write("q.csv", QUESTIONS)
    write("said.jsonl", "".join(json.dumps({"id": item, "texts": texts}) + "\n" for item, texts in TEXTS.items()))


def rows_of(run: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads((run / "summary" / "summary.json").read_text())["rows"]
    return {row["metric"]: row for row in rows}


@pytest.mark.usefixtures("said")
def test_report_has_the_mean_and_what_samples_say_together(ocli: Ocli) -> None:
    done = ocli("eval", "-m", "replay:said.jsonl", *TASK)
    assert done.rc == 0
    rows = rows_of(done.run)
    mean = rows["exact_match"]
    assert (mean["score"], mean["n"], mean["replies"], mean["headline"]) == (37.5, 2, 8, True)
    assert rows["maj@4"]["score"] == 50.0
    assert rows["pass@2"]["score"] == pytest.approx(100 * (pass_at(2, 4, 2) + pass_at(2, 4, 1)) / 2, abs=1e-5)
    assert rows["pass@4"]["score"] == 100.0
    assert rows["g_pass@4_0.5"]["score"] == 50.0
    assert "mg_pass@4" in rows
    assert "n = 2, 8 replies)" in done.out
    results = pl.read_parquet(next((done.run / "results").rglob("*.parquet")))
    assert results["sample"].to_list() == [0, 1, 2, 3] * 2
    assert results["answer"].to_list()[:4] == ["4", "4", "5", "no idea"]


@pytest.mark.usefixtures("said")
def test_each_sample_has_a_seed_and_a_key_of_its_own(ocli: Ocli) -> None:
    done = ocli("eval", "-m", "echo:4", *TASK, "--set", "sampling.seed=10")
    lines = [json.loads(line) for line in next((done.run / "predictions").rglob("*.jsonl")).read_text().splitlines()]
    assert sorted((line["id"], line["sample"]) for line in lines) == [(item, sample) for item in "01" for sample in range(4)]
    assert len({line["key"] for line in lines}) == 8


@pytest.mark.usefixtures("said")
def test_more_samples_ask_only_what_is_not_there(ocli: Ocli) -> None:
    ocli("eval", "-m", "echo:4", *TASK)
    more = ocli("eval", "-m", "echo:4", *TASK, "--set", "task.samples=6", "-r")
    assert (more.rc, "8 replies were there already, 4 asked now" in more.err) == (0, True)
    assert rows_of(more.run)["exact_match"]["replies"] == 12
    assert {"pass@2", "pass@4", "pass@6", "maj@6"} <= set(rows_of(more.run))


@pytest.mark.usefixtures("said")
def test_a_sample_without_a_reply_is_failed_and_left_out_of_the_mean(ocli: Ocli, write: Write) -> None:
    write(
        "said.jsonl",
        json.dumps({"id": "0", "texts": ["4", "4", "4"]}) + "\n" + json.dumps({"id": "1", "texts": ["6"] * 4}) + "\n",
    )
    done = ocli("eval", "-m", "replay:said.jsonl", *TASK)
    mean = rows_of(done.run)["exact_match"]
    assert (done.rc, mean["score"], mean["n"], mean["failed"], mean["replies"]) == (1, 100.0, 2, 1, 8)
    assert "failed 1 (12.5 %)" in done.out
    assert rows_of(done.run)["pass@4"]["n"] == 1  # of three samples no four are drawn


@pytest.mark.usefixtures("said")
def test_k_can_be_said(ocli: Ocli) -> None:
    done = ocli("eval", "-m", "replay:said.jsonl", *TASK, "--set", "task.pass_at=[1,3]")
    assert {name for name in rows_of(done.run) if name.startswith("pass@")} == {"pass@1", "pass@3"}
    assert rows_of(done.run)["pass@1"]["score"] == 37.5


@pytest.mark.usefixtures("said")
def test_the_same_reply_four_times_is_said_to_be_a_waste(ocli: Ocli) -> None:
    done = ocli("eval", "-m", "echo:4", "-t", "q.csv", "--set", "task.samples=4")
    assert done.rc == 0
    assert "q: 4 samples at temperature 0 are all the same" in done.err


@pytest.mark.parametrize(
    ("sets", "said_"),
    [
        (["task.samples=0"], "samples"),
        (["task.samples=2", "task.pass_at=[4]"], "draws more than the 2 samples"),
        (["task.samples=2", "task.mode=loglikelihood"], "a likelihood is the same every time"),
    ],
)
@pytest.mark.usefixtures("said")
def test_wrong_samples_are_one_line(ocli: Ocli, sets: list[str], said_: str) -> None:
    words = [word for one in sets for word in ("--set", one)]
    if "loglikelihood" in sets[-1]:
        words += ["--set", "task.score=[{metric: accuracy, by: sum}]", "--set", "task.choices=\"[answer, 'no']\""]
    done = ocli("eval", "-m", "echo", "-t", "q.csv", *words)
    assert (done.rc, said_ in done.err) == (2, True)
