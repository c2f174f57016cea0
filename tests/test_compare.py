"""compare: differences of known tables, what is refused and why, flipped items, tolerances; by real runs of recorded replies."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Ocli, Write

from ocli.paired import mcnemar, smallest_difference
from ocli.stages.compare import choose, compare
from ocli.stages.compare.comparison import adjusted
from ocli.stats import t95

NUMBER = "task.score=[{extract: number, metric: equal_number}]"
TASK = """
data: {local: ./rows.jsonl, SUBSETS fields: {target: answer}}
prompt: plain
score: [{extract: number, metric: equal_number}]
"""
PROMPT = "{% block user %}What is {{ answer }}?{% endblock %}{% block assistant %}{{ target }}{% endblock %}"


def questions(write: Write, n: int) -> None:
    write("q.csv", "question,answer\n" + "".join(f"What comes after {i}?,{i + 1}\n" for i in range(n)))


def said(write: Write, name: str, right: Sequence[int | None], wrong: str = "It is 999") -> None:
    """Write a model's replies to ``q.csv``; None is a request that fails."""
    texts = {f"{i}": f"It is {i + 1}" if score else wrong for i, score in enumerate(right) if score is not None}
    write(name, "".join(json.dumps({"id": item, "text": text}) + "\n" for item, text in texts.items()))


def table(both: int, worse: int, better: int, neither: int) -> tuple[list[int | None], list[int | None]]:
    return [1] * (both + worse) + [0] * (better + neither), [1] * both + [0] * worse + [1] * better + [0] * neither


def asked(ocli: Ocli, *names: str, task: str = "q.csv", more: Sequence[str] = (NUMBER,)) -> Done:
    models = [part for name in names for part in ("-m", f"replay:{name}")]
    return ocli("eval", *models, "-t", task, *[part for setting in more for part in ("--set", setting)])


def compared(ocli: Ocli, *arguments: object) -> dict[str, Any]:
    done = ocli("compare", *arguments, "--format", "json")
    assert done.rc in (0, 1), done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def pair_of(ocli: Ocli, write: Write, a: Sequence[int | None], b: Sequence[int | None]) -> Done:
    questions(write, len(a))
    said(write, "a.jsonl", a)
    said(write, "b.jsonl", b)
    return asked(ocli, "a.jsonl", "b.jsonl")


# -- 0/1 scores ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("worse", "better"), [(10, 3), (25, 12), (6, 0), (0, 6), (1, 1)])
def test_known_tables_have_their_exact_p(ocli: Ocli, write: Write, worse: int, better: int) -> None:
    pair_of(ocli, write, *table(20, worse, better, 7))
    n = 27 + worse + better
    [task] = compared(ocli)["tasks"]
    assert (task["test"], task["worse"], task["better"], task["n"]) == ("McNemar", worse, better, n)
    assert (task["p"], task["mid_p"]) == pytest.approx(mcnemar(worse, better))
    difference = (better - worse) / n
    stderr = ((((worse + better) / n) - difference**2) / (n - 1)) ** 0.5
    assert (task["difference"], task["stderr"]) == pytest.approx((100 * difference, 100 * stderr))
    assert task["interval"][1] - task["difference"] == pytest.approx(100 * stderr * t95(n - 1))
    assert task["smallest"] == pytest.approx(100 * smallest_difference(stderr, n - 1))
    assert [len(task["flips"][word]) for word in ("worse", "better")] == [worse, better]


def test_words_say_whether_a_difference_is_shown(ocli: Ocli, write: Write) -> None:
    run = pair_of(ocli, write, *table(20, 10, 3, 7)).run
    done = ocli("compare", run)
    assert done.rc == 0
    assert "no difference shown (-17.5 points, 95 % interval -35.1 to +0.1, p = 0.092);" in done.out
    assert "this n could show 25.0 points" in done.out
    assert "flipped: 10 right to wrong, 3 wrong to right" in done.out
    pair_of(ocli, write, *table(20, 1, 15, 7))
    words = " ".join(ocli("compare").out.split())
    assert "B is better by 32.6 points, 95 % interval 16.5 to 48.6, p = 0.00052" in words
    assert "A is better by 32.6 points" in " ".join(ocli("compare", "-m", "replay_b", "-m", "replay").out.split())


def test_same_replies_differ_by_nothing(ocli: Ocli, write: Write) -> None:
    first = pair_of(ocli, write, *table(20, 10, 3, 7)).run
    second = asked(ocli, "a.jsonl").run
    for task in compared(ocli, first, second, "-m", "replay")["tasks"]:
        assert (task["difference"], task["interval"], task["p"]) == (0.0, [0.0, 0.0], 1.0)
    done = ocli("compare", first, second, "-m", "replay", "--fail-if-worse", 0)
    assert (done.rc, done.out.splitlines()[-1]) == (0, "PASS: B is not worse than A by more than 0 points")
    assert "no difference at all" in done.out
    assert "no setting on record differs" in done.out
    assert f"replay@{second.name}" in done.out


def test_items_without_a_score_on_one_side_are_counted_and_left_out(ocli: Ocli, write: Write) -> None:
    pair_of(ocli, write, [1, 0, 1, None, None, 1], [1, 1, None, 1, None, 1])
    [task] = compared(ocli)["tasks"]
    assert (task["n"], task["only"], task["scores"]) == (3, [1, 1], [pytest.approx(200 / 3), 100.0])
    assert [side["failed"] for side in task["counts"]] == [2, 2]
    done = ocli("compare")
    assert done.out.count("failed 2, 1 scored here alone") == 2


def test_nothing_in_common_is_an_error_even_anyway(ocli: Ocli, write: Write) -> None:
    pair_of(ocli, write, [1, 1, None, None], [None, None, 1, 1])
    for extra in ((), ("--anyway",)):
        done = ocli("compare", *extra)
        assert (done.rc, "no item has a score on both sides (2 in A, 2 in B)" in done.err) == (2, True)


def test_one_item_has_a_difference_and_no_interval(ocli: Ocli, write: Write) -> None:
    pair_of(ocli, write, [1], [0])
    [task] = compared(ocli)["tasks"]
    assert (task["difference"], task["interval"], task["smallest"]) == (-100.0, None, None)
    done = ocli("compare", "--fail-if-worse", 5)
    assert (done.rc, "no difference can be shown: one item alone has no spread" in done.out) == (1, True)


def test_all_items_flipping_one_way_is_not_certainty(ocli: Ocli, write: Write) -> None:
    pair_of(ocli, write, *table(0, 0, 10, 0))
    [task] = compared(ocli)["tasks"]
    low, high = task["interval"]
    assert (task["difference"], high) == pytest.approx((100.0, 100.0))
    assert 40 < low < 50
    assert task["p"] == pytest.approx(2 / 2**10)


# -- tolerances ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("worse", "better", "points", "rc", "words"),
    [
        (10, 3, 17, 1, "FAIL: B is worse than A by more than 17 points: q (within what chance can do: q)"),
        (10, 3, 17.5, 0, "INCONCLUSIVE: too few items to show a loss of 17.5 points: q; about 77 items could"),
        (10, 3, 30, 0, "PASS: B is not worse than A by more than 30 points"),
        (0, 9, 1, 0, "PASS: B is not worse than A by more than 1 point"),
        (15, 1, 1, 1, "FAIL: B is worse than A by more than 1 point: q"),
    ],
)
def test_tolerance_decides_the_exit_code(
    ocli: Ocli, write: Write, worse: int, better: int, points: float, rc: int, words: str
) -> None:
    pair_of(ocli, write, *table(20, worse, better, 7))
    done = ocli("compare", "--fail-if-worse", points, "--flips", 0)
    assert (done.rc, " ".join(done.out.split("\n\n")[-1].split())) == (rc, words)
    assert compared(ocli, "--fail-if-worse", points)["verdict"] == words.partition(":")[0]


# -- subsets, clusters, scores that are not 0 or 1, samples ----------------------------------------------------------------------


def own_task(ocli: Ocli, write: Write, rows: list[dict[str, Any]], right: tuple[list[int], list[int]], extra: str = "") -> Path:
    """Run two models on a task of one's own; ``part`` is the subset, where rows have one."""
    subsets = sorted({row["part"] for row in rows if "part" in row})
    text = TASK.replace("SUBSETS", f'subsets: [{", ".join(subsets)}], where: "part == subset",' if subsets else "") + extra
    write("prompts/plain.jinja", PROMPT)
    write("recipes/tasks/exam/mine.yaml", text)
    write("recipes/tasks/exam/rows.jsonl", "".join(json.dumps({**row, "answer": f"{i}"}) + "\n" for i, row in enumerate(rows)))
    ids = [f"{row['part']}/{i}" if subsets else f"{i}" for i, row in enumerate(rows)]
    for name, scores in zip("ab", right, strict=True):
        replies = [
            {"id": item, "text": f"{i if score else 999}"} for i, (item, score) in enumerate(zip(ids, scores, strict=True))
        ]
        write(f"{name}.jsonl", "".join(json.dumps(reply) + "\n" for reply in replies))
    return asked(ocli, "a.jsonl", "b.jsonl", task="mine", more=()).run


def table_scores(run: Path) -> list[float]:
    rows = json.loads((run / "summary" / "summary.json").read_text())["rows"]
    return [row["score"] for row in rows if row["subset"] is None and row["average"] != "micro"]


def test_few_subsets_are_strata_of_the_mean_that_the_table_shows(ocli: Ocli, write: Write) -> None:
    rows = [{"part": "large"}] * 8 + [{"part": "small"}] * 2
    run = own_task(ocli, write, rows, ([1] * 8 + [0, 1], [1] * 4 + [0] * 4 + [1, 1]))
    [task] = compared(ocli, run)["tasks"]
    assert task["scores"] == table_scores(run) == [75.0, 75.0]
    assert (task["average"], task["draws"], task["drawn"], task["freedom"]) == ("mean of 2 subsets", 10, "items", 8)
    # large: differences of four 0 and four -1, s^2 = 2/7; small: 1 and 0, s^2 = 1/2
    assert task["stderr"] == pytest.approx(100 * ((2 / 7 / 8 + 1 / 2 / 2) / 4) ** 0.5)
    assert task["flips"]["subsets"] == {"large": {"worse": 4, "better": 0}, "small": {"worse": 0, "better": 1}}
    assert "in large 4:0, small 0:1" in ocli("compare", run).out
    assert (task["p"], task["draws_p"]) == pytest.approx((0.375, 1.0)), "five items differ; the mean over subsets does not"


def test_many_subsets_are_draws(ocli: Ocli, write: Write) -> None:
    parts = [f"s{number:02}" for number in range(12)]
    rows = [{"part": part} for part in parts for _ in range(4)]
    draw = random.Random(2)
    a, b = ([int(draw.random() < level) for _ in rows] for level in (0.5, 0.8))
    run = own_task(ocli, write, rows, (a, b))
    [task] = compared(ocli, run)["tasks"]
    differences = [sum(b[i : i + 4]) / 4 - sum(a[i : i + 4]) / 4 for i in range(0, 48, 4)]
    assert task["draws_p"] == pytest.approx(pytest.importorskip("scipy.stats").ttest_1samp(differences, 0).pvalue)
    mean = sum(differences) / 12
    spread = (sum((d - mean) ** 2 for d in differences) / 11 / 12) ** 0.5
    assert (task["draws"], task["drawn"], task["freedom"]) == (12, "subsets", 11)
    assert (task["difference"], task["stderr"]) == pytest.approx((100 * mean, 100 * spread))


def test_subsets_of_one_item_each_have_a_spread(ocli: Ocli, write: Write) -> None:
    run = own_task(ocli, write, [{"part": part} for part in "abcd"], ([1, 1, 0, 0], [1, 0, 1, 0]))
    [task] = compared(ocli, run)["tasks"]
    assert (task["difference"], task["stderr"]) == pytest.approx((0.0, 100 * (2 / 3 / 4) ** 0.5))


def test_clusters_widen_the_interval(ocli: Ocli, write: Write) -> None:
    stats = pytest.importorskip("statsmodels.api")
    rows = [{"passage": f"p{i // 5}"} for i in range(40)]
    draw = random.Random(4)
    flips = [draw.random() < 0.5 for _ in range(8)]
    a, b = [1] * 40, [0 if flips[i // 5] and i % 5 else 1 for i in range(40)]
    [alone] = compared(ocli, own_task(ocli, write, rows, (a, b)))["tasks"]
    [task] = compared(ocli, own_task(ocli, write, rows, (a, b), "cluster: passage\n"))["tasks"]
    fit = stats.OLS([y - x for x, y in zip(a, b, strict=True)], [1.0] * 40)
    robust = fit.fit(cov_type="cluster", cov_kwds={"groups": [i // 5 for i in range(40)]})
    assert (task["drawn"], task["draws"], task["freedom"], task["stderr"]) == (
        "clusters",
        8,
        7,
        pytest.approx(100 * robust.bse[0]),
    )
    assert task["interval"][0] < alone["interval"][0]
    assert task["smallest"] > alone["smallest"]
    assert alone["draws_p"] is None
    with_t = fit.fit(cov_type="cluster", cov_kwds={"groups": [i // 5 for i in range(40)]}, use_t=True)
    assert task["draws_p"] == pytest.approx(with_t.pvalues[0])


def test_p_of_the_draws_decides_where_items_are_none(ocli: Ocli, write: Write) -> None:
    rows = [{"passage": f"p{i // 10}"} for i in range(120)]
    lost = (*range(10), *range(20, 29), *range(40, 47), *range(60, 67), 80)
    a, b = [1] * 120, [0 if i in lost else 1 for i in range(120)]
    run = own_task(ocli, write, rows, (a, b), "cluster: passage\n")
    [task] = compared(ocli, run)["tasks"]
    assert task["p"] < 0.0001 < 0.01 < task["draws_p"] < 0.05
    assert task["interval"][1] < 0
    assert task["shown"]
    words = " ".join(ocli("compare", run).out.split())
    assert "p < 0.0001 by items, p = 0.0" in words
    assert " by clusters" in words
    alone = compare(*choose([str(run)], [])).tasks[0].measured
    assert [one.shown for one in adjusted([alone, alone])] == [False, False], "Holm's is of the p that decides"


def test_scores_that_are_not_0_or_1_are_bootstrapped(ocli: Ocli, write: Write) -> None:
    stats = pytest.importorskip("scipy.stats")
    draw = random.Random(6)
    write("q.csv", "question,answer\n" + "".join(f"Say it {i}.,one two three four five\n" for i in range(30)))
    words = ["one", "two", "three", "four", "five"]
    for name, most in (("a", 3), ("b", 5)):
        texts = [" ".join(words[: draw.randint(1, most)]) for _ in range(30)]
        write(f"{name}.jsonl", "".join(json.dumps({"id": f"{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
    asked(ocli, "a.jsonl", "b.jsonl", more=("task.score=[{extract: text, metric: f1}]",))
    found = compared(ocli, "--flips", 30)
    [task] = found["tasks"]
    assert (task["test"], task["mid_p"]) == ("bootstrap", None)
    assert compared(ocli, "--flips", 30) == found  # seeded
    scores = {flip["id"]: [one["score"] for one in flip["said"]] for flip in task["flips"]["shown"]}
    pairs = [*scores.values(), *[[0.0, 0.0]] * (30 - len(scores))]
    theirs = stats.ttest_rel([y for _, y in pairs], [x for x, _ in pairs])
    interval = theirs.confidence_interval()
    assert task["difference"] == pytest.approx(100 * (interval.low + interval.high) / 2)
    assert task["interval"] == pytest.approx([100 * interval.low, 100 * interval.high], abs=1.5)
    assert task["p"] == pytest.approx(theirs.pvalue, abs=0.005)
    assert "lower" in ocli("compare").out


def test_samples_are_one_score_an_item(ocli: Ocli, write: Write) -> None:
    questions(write, 3)
    for name, texts in (("a", [["1", "9"], ["2", "2"], ["9", "9"]]), ("b", [["1", "1"], ["9", "2"], ["3", "9"]])):
        write(f"{name}.jsonl", "".join(json.dumps({"id": f"{i}", "texts": both}) + "\n" for i, both in enumerate(texts)))
    asked(ocli, "a.jsonl", "b.jsonl", more=(NUMBER, "task.samples=2", "sampling.temperature=0.7"))
    [task] = compared(ocli)["tasks"]
    assert (task["n"], task["scores"], task["test"]) == (3, [50.0, pytest.approx(200 / 3)], "bootstrap")
    shown = {flip["id"]: (flip["sample"], [one["answer"] for one in flip["said"]]) for flip in task["flips"]["shown"]}
    assert shown == {"0": (1, ["9", "1"]), "1": (0, ["2", "9"]), "2": (0, ["9", "3"])}


def test_several_tasks_have_holms_p(ocli: Ocli, write: Write) -> None:
    questions(write, 40)
    write("r.csv", Path("q.csv").read_text())
    for name, scores in zip("ab", table(20, 10, 3, 7), strict=True):
        for task in ("q", "r"):
            said(write, f"{name}/{task}.jsonl", scores)
    ocli("eval", "-m", "replay:a", "-m", "replay:b", "-t", "q.csv", "-t", "r.csv", "--set", NUMBER)
    found = compared(ocli)
    assert [task["adjusted_p"] for task in found["tasks"]] == pytest.approx([2 * mcnemar(10, 3)[0]] * 2)
    assert "p for being one of several tasks (Holm): 0.18" in ocli("compare").out
    assert [task["task"] for task in compared(ocli, "-t", "r")["tasks"]] == ["r"]
    done = ocli("compare", "--fail-if-worse", 17)
    assert (done.rc, done.out.count("\n  FAIL\n")) == (1, 2)


def texts_task(ocli: Ocli, write: Write, nats: tuple[list[float], list[float]], tokens: tuple[list[int], list[int]]) -> Done:
    """Run two models on a perplexity task, given each text's nats and tokens."""
    write("prompts/bare.jinja", "{% block user %}{{ q }}{% endblock %}{% block assistant %}{{ target }}{% endblock %}")
    task = {"data": {"local": "./texts.jsonl"}, "prompt": "bare", "mode": "perplexity", "score": [{"metric": "token_perplexity"}]}
    write("mine.yaml", json.dumps(task))
    write("texts.jsonl", "".join(json.dumps({"q": f"text {i}"}) + "\n" for i in range(len(nats[0]))))
    for name, values, counts in zip("ab", nats, tokens, strict=True):
        choices = [[{"text": "", "logprob": -v, "tokens": t, "greedy": False}] for v, t in zip(values, counts, strict=True)]
        write(f"{name}.jsonl", "".join(json.dumps({"id": f"{i}", "choices": told}) + "\n" for i, told in enumerate(choices)))
    return asked(ocli, "a.jsonl", "b.jsonl", task="mine.yaml", more=())


def test_perplexities_are_compared_in_nats_a_token(ocli: Ocli, write: Write) -> None:
    tokens = [2, 4, 6, 8, 3, 5]
    a, b = [4.0, 9.0, 11.0, 17.0, 6.5, 10.0], [3.0, 7.5, 9.5, 12.0, 5.5, 8.0]
    texts_task(ocli, write, (a, b), (tokens, tokens))
    [task] = compared(ocli)["tasks"]
    ratio = (sum(b) - sum(a)) / sum(tokens)
    residuals = [(y - x - ratio * t) / sum(tokens) for x, y, t in zip(a, b, tokens, strict=True)]
    assert task["scores"] == pytest.approx([math.exp(sum(nats) / sum(tokens)) for nats in (a, b)])
    assert (task["difference"], task["stderr"]) == pytest.approx((ratio, (6 / 5 * sum(r * r for r in residuals)) ** 0.5))
    assert (task["unit"], task["worse"], task["better"], task["gain"] > 0) == ("nats a unit", 0, 6, True)
    words = " ".join(ocli("compare").out.split())
    assert "B is better by 0.429 nats a unit" in words
    assert "B is worse on 0 texts, better on 6" in words
    done = ocli("compare", "--fail-if-worse", 1)
    assert (done.rc, "--fail-if-worse counts points, and mine has a perplexity" in done.err) == (2, True)


def test_a_verdict_says_what_it_does_not_judge(ocli: Ocli, write: Write) -> None:
    questions(write, 4)
    said(write, "a.jsonl", [1, 1, 1, 0])
    said(write, "b.jsonl", [1, 1, 1, None])
    asked(ocli, "a.jsonl", "b.jsonl")
    done = ocli("compare", "--fail-if-worse", 1)
    assert " ".join(done.out.split("\n\n")[-1].split()) == (
        "PASS: B is not worse than A by more than 1 point; failed items of B are not in it: q"
    )


def test_perplexities_per_token_of_other_tokenizers_are_refused(ocli: Ocli, write: Write) -> None:
    texts_task(ocli, write, ([4.0, 9.0], [3.0, 7.5]), ([2, 4], [2, 5]))
    done = ocli("compare")
    assert (done.rc, "1 of 2 texts are of another number of units" in done.err) == (2, True)
    assert ocli("compare", "--anyway").rc == 0


def test_infinite_perplexity_is_a_number_like_any(ocli: Ocli, write: Write) -> None:
    texts_task(ocli, write, ([4.0, 9.0], [3000.0, 7000.0]), ([2, 4], [2, 4]))
    [task] = compared(ocli)["tasks"]
    assert task["scores"][1] is None
    assert "inf" in ocli("compare").out


def test_weighted_items_count_as_the_table_has_it(ocli: Ocli, write: Write) -> None:
    rows = [{"worth": worth} for worth in (1, 3, 6, 2, 4)]
    run = own_task(ocli, write, rows, ([1, 0, 1, 1, 0], [1, 1, 0, 1, 1]))
    text = Path("recipes/tasks/exam/mine.yaml").read_text().replace("equal_number}]", "equal_number, weight: worth}]")
    write("recipes/tasks/exam/mine.yaml", text)
    run = asked(ocli, "a.jsonl", "b.jsonl", task="mine", more=()).run
    [task] = compared(ocli, run)["tasks"]
    assert task["scores"] == pytest.approx(table_scores(run), abs=1e-5)
    assert task["scores"] == pytest.approx([900 / 16, 1000 / 16])
    assert (task["test"], task["worse"], task["better"]) == ("bootstrap", 1, 2)


# -- what is not comparable ------------------------------------------------------------------------------------------------------


def test_other_rules_are_refused_and_named(ocli: Ocli, write: Write) -> None:
    first = pair_of(ocli, write, *table(3, 2, 1, 1)).run
    second = asked(ocli, "a.jsonl", more=("task.score=[{extract: text, metric: exact_match}]",)).run
    done = ocli("compare", first, second, "-m", "replay")
    assert done.rc == 2
    first_line, reason = done.err.splitlines()
    assert "are not comparable; --anyway compares them all the same" in first_line
    assert "q: other prompts, items or rules, version " in reason
    assert "scoring rules" in reason
    done = ocli("compare", first, second, "-m", "replay", "--anyway")
    assert (done.rc, "NOT COMPARABLE: q: other prompts, items or rules" in done.out) == (0, True)
    found = compared(ocli, first, second, "-m", "replay", "--anyway")
    assert (found["comparable"], len(found["reasons"])) == (False, 1)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.sampling.max_tokens=7", "max_tokens (256, 7)"),
        ("model.system=Be <b>brief|.", "system prompt (none, Be <b>brief|.)"),
    ],
)
def test_other_settings_of_the_models_own_are_said_above(ocli: Ocli, write: Write, setting: str, words: str) -> None:
    first = pair_of(ocli, write, *table(3, 2, 1, 1)).run
    second = asked(ocli, "a.jsonl", more=(NUMBER, setting)).run
    done = ocli("compare", first, second, "-m", "replay")
    said = " ".join(done.out.split())
    assert (done.rc, words in said) == (0, True)
    assert "ASKED OTHERWISE: q: 7 of 7 items were asked in other words or with other settings" in said
    assert f"{words.partition(' (')[0]}: " in done.out.split("settings that differ")[1]
    assert "<b>" not in ocli("compare", first, second, "-m", "replay", "--format", "md").out
    found = compared(ocli, first, second, "-m", "replay")
    assert (found["comparable"], len(found["remarks"])) == (True, 1)


def test_other_samples_are_refused(ocli: Ocli, write: Write) -> None:
    first = pair_of(ocli, write, *table(3, 2, 1, 1)).run
    write("s.jsonl", "".join(json.dumps({"id": f"{i}", "texts": ["1", "2"]}) + "\n" for i in range(7)))
    second = asked(ocli, "s.jsonl", more=(NUMBER, "task.samples=2")).run
    done = ocli("compare", first, second, "-m", "replay", "-m", "replay")
    assert (done.rc, "q: 1 and 2 samples an item" in done.err) == (2, True)


def test_a_part_is_compared_with_the_whole_over_what_both_have(ocli: Ocli, write: Write) -> None:
    first = pair_of(ocli, write, *table(3, 2, 1, 1)).run
    second = ocli("eval", "-m", "replay:b.jsonl", "-t", "q.csv", "--set", NUMBER, "--limit", 3).run
    [task] = compared(ocli, first, second, "-m", "replay")["tasks"]
    assert (task["n"], task["only"]) == (3, [4, 0])
    assert "4 scored here alone" in ocli("compare", first, second, "-m", "replay").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "replay_c", "-m", "replay"], "has no model 'replay_c'; did you mean"),
        (["-m", "replay"], "has replay, replay_b; name two with -m A -m B"),
        (["-t", "x"], "-t x: is no task of both"),
        (["--format", "jsn"], "--format jsn: unknown; did you mean 'json'?"),
        (["nowhere"], "nowhere: is no run"),
        (["a", "b", "c"], "compare takes two runs"),
        ([""], "a run has an empty name"),
    ],
)
def test_what_cannot_be_meant_is_one_line(ocli: Ocli, write: Write, arguments: list[str], words: str) -> None:
    pair_of(ocli, write, [1, 0], [0, 1])
    done = ocli("compare", *arguments)
    assert (done.rc, len(done.err.splitlines())) == (2, 1)
    assert words in done.err


def test_runs_with_other_tasks_or_without_scores_are_one_line(ocli: Ocli, write: Write) -> None:
    first = pair_of(ocli, write, [1, 0], [0, 1]).run
    done = ocli("compare", first, first)
    assert "has several models (replay, replay_b); name one of each run" in done.err
    write("r.csv", Path("q.csv").read_text())
    other = asked(ocli, "a.jsonl", task="r.csv").run
    done = ocli("compare", first, other, "-m", "replay")
    assert (done.rc, "no task in common: A has q; B has r" in done.err) == (2, True)
    unscored = ocli("infer", "-m", "replay:a.jsonl", "-t", "q.csv", "--set", NUMBER).run
    done = ocli("compare", first, unscored, "-m", "replay")
    assert (done.rc, "is scored yet; run: ocli score" in done.err) == (2, True)


def test_tasks_without_labels_are_one_line(ocli: Ocli, write: Write) -> None:
    questions(write, 2)
    said(write, "a.jsonl", [1, 0])
    run = asked(ocli, "a.jsonl", "a.jsonl", more=(NUMBER, "task.labels=false")).run
    done = ocli("compare", run)
    assert (done.rc, "the labels of q are not public, so there is no score to compare" in done.err) == (2, True)


# -- what both said --------------------------------------------------------------------------------------------------------------


def test_replies_are_text_whatever_they_hold_and_fit_80_columns(ocli: Ocli, write: Write) -> None:
    questions(write, 30)
    said(write, "a.jsonl", [1] * 30)
    said(write, "b.jsonl", [1] * 20 + [0] * 10, "[bold]no[/bold] \x1b[31mred \u202e 我不知道 <script> | 999 " * 30)
    run = asked(ocli, "a.jsonl", "b.jsonl").run
    done = ocli("compare", run, "--flips", 2)
    assert "[bold]no[/bold] \\x1b[31mred \\u202e 我不知道" in done.out
    assert "\x1b" not in done.out + done.err
    from rich.cells import cell_len

    assert max(map(cell_len, done.out.splitlines())) <= 80
    assert done.out.count("B is worse; right is") == 2
    assert "What comes after 20?" in done.out
    assert "[bold]no[/bold] \\x1b[31mred" in ocli("compare", run, "--format", "md").out
    assert "B is worse" not in ocli("compare", run, "--flips", 0).out
    [task] = compared(ocli, run, "--flips", 1)["tasks"]
    assert "\x1b[31mred \u202e" in task["flips"]["shown"][0]["said"][1]["reply"]


def test_replies_are_found_without_offsets(ocli: Ocli, write: Write) -> None:
    import polars as pl

    run = pair_of(ocli, write, [1, 0, 1], [0, 1, 1]).run
    before = compared(ocli, run)
    for path in run.glob("results/*/*.parquet"):
        frame = pl.read_parquet(path)
        old = [name for name in ("offset", "cluster", "pattern") if name in frame.columns]
        frame.drop(old).write_parquet(path)
    after = compared(ocli, run)
    assert after == before
    assert [one["reply"] for one in after["tasks"][0]["flips"]["shown"][0]["said"]] == ["It is 1", "It is 999"]
