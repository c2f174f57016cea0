"""A rule's weight: items that count for more than others, their mean and its interval; and what is said of a wrong one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Ocli, Write

from ocli.stats import wilson

TASK = """
data: {local: ./rows.jsonl, subsets: [a, b], where: "part == subset", fields: {target: answer}}
prompt: plain
score:
  - {name: plain, extract: number, metric: equal_number}
  - {name: points, extract: number, metric: equal_number, weight: worth}
"""
ROWS = [("a", 1, "1"), ("a", 3, "1"), ("b", 6, "1"), ("b", 2, "1")]


@pytest.fixture(autouse=True)
def _task(write: Write) -> None:
    write("prompts/plain.jinja", "{% block user %}{{ part }}{% endblock %}{% block assistant %}{{ target }}{% endblock %}")
    write("recipes/tasks/exam/mine.yaml", TASK)
    rows = [{"part": part, "worth": worth, "answer": answer} for part, worth, answer in ROWS]
    write("recipes/tasks/exam/rows.jsonl", "\n".join(map(json.dumps, rows)))


def points(ocli: Ocli, write: Write, said: list[str]) -> dict[str, Any]:
    ids = ["a/0", "a/1", "b/2", "b/3"]
    write("said.jsonl", "\n".join(json.dumps({"id": item, "text": text}) for item, text in zip(ids, said, strict=True)))
    done = ocli("eval", "-m", "replay:said.jsonl", "-t", "mine")
    rows = json.loads((done.run / "summary" / "summary.json").read_text())["rows"]
    [row] = [row for row in rows if row["metric"] == "points" and row["subset"] is None and row["average"] != "micro"]
    return dict(row)


def test_mean_is_that_of_all_items_by_their_weights(ocli: Ocli, write: Write) -> None:
    row = points(ocli, write, ["1", "2", "1", "2"])
    assert row["score"] == pytest.approx(100 * (1 + 6) / 12, abs=1e-5)
    low, high = row["ci95"]
    assert 0 < low < row["score"] < high < 100


def test_all_right_is_not_all_sure(ocli: Ocli, write: Write) -> None:
    row = points(ocli, write, ["1", "1", "1", "1"])
    low, high = wilson(1.0, 12**2 / (1 + 9 + 36 + 4))  # Kish: as sure as fewer items of equal weight
    assert (row["score"], row["ci95"]) == (100.0, [pytest.approx(100 * low, abs=1e-4), pytest.approx(100 * high, abs=1e-4)])


@pytest.mark.parametrize(
    ("weight", "said"),
    [("wort", "but there is none; did you mean 'worth'?"), ("part", "must be a field with a number above 0, not 'a'")],
)
def test_a_wrong_weight_is_named(ocli: Ocli, weight: str, said: str) -> None:
    rules = f"[{{extract: number, metric: equal_number, weight: {weight}}}]"
    done = ocli("eval", "-m", "echo", "-t", "mine", "--set", f"task.score={rules}")
    assert (done.rc, len(done.err.splitlines())) == (2, 1)
    assert said in done.err


def test_skip_leaves_tasks_out_and_all_gaps_are_told_at_once(ocli: Ocli, write: Write) -> None:
    write("recipes/suites/mix.yaml", "tasks: [mine, ceval_gen, gsm8k_gen]\n")
    done = ocli("eval", "-m", "echo:oracle", "-t", "mix", "--offline")
    assert done.rc == 2
    last = done.err.splitlines()[-1]
    assert "2 of 3 tasks have no data (ceval_gen,gsm8k_gen); --set skip=[ceval_gen,gsm8k_gen] leaves them out" in last
    done = ocli("eval", "-m", "echo:oracle", "-t", "mix", "--offline", "--set", "skip=[ceval_gen,gsm8k_gen]")
    assert (done.rc, "mine" in done.out) == (0, True)
    for skip, said in (("[gsm8k]", "did you mean 'gsm8k_gen'?"), ("[mine,ceval_gen,gsm8k_gen]", "leaves no task")):
        done = ocli("eval", "-m", "echo", "-t", "mix", "--set", f"skip={skip}")
        assert (done.rc, said in done.err) == (2, True)
