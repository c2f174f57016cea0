"""Tasks of one capability stand together in the table, with their plain mean below them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from conftest import Ocli, Write

TASK = """
capability: %s
data: {local: ./%s.jsonl, fields: {target: answer}}
prompt: plain
score: [{extract: number, metric: equal_number}]
"""


def task(write: Write, name: str, capability: str, rights: int, wrongs: int) -> None:
    """Write a task and the replies to it: so many right, so many wrong."""
    write(f"recipes/tasks/{capability}/{name}.yaml", TASK % (capability, name))
    rows = [{"question": f"{name} {index}", "answer": "1"} for index in range(rights + wrongs)]
    write(f"recipes/tasks/{capability}/{name}.jsonl", "\n".join(map(json.dumps, rows)))
    replies = [{"id": str(index), "text": "1" if index < rights else "2"} for index in range(len(rows))]
    write(f"said/{name}.jsonl", "\n".join(map(json.dumps, replies)))


@pytest.fixture(autouse=True)
def _tasks(write: Write) -> None:
    write("prompts/plain.jinja", "{% block user %}{{ question }}{% endblock %}{% block assistant %}{{ target }}{% endblock %}")
    task(write, "sums", "math", 3, 1)
    task(write, "quiz", "exam", 1, 1)
    task(write, "terms", "math", 1, 3)


def rows_of(ocli: Ocli, *arguments: str) -> tuple[list[dict[str, Any]], list[str]]:
    done = ocli("eval", "-m", "replay:said", *(word for name in arguments for word in ("-t", name)))
    summary = done.run / "summary"
    table = csv.DictReader(io.StringIO((summary / "summary.csv").read_text()))
    return json.loads((summary / "summary.json").read_text())["rows"], [row["dataset"] for row in table]


def test_mean_of_a_capability_counts_its_tasks_alike(ocli: Ocli) -> None:
    rows, datasets = rows_of(ocli, "sums", "quiz", "terms")
    assert datasets == ["quiz", "sums", "terms", "math"]
    [mean] = [row for row in rows if row["task"] is None]
    tasks = {row["task"]: row for row in rows if row["task"]}
    assert (mean["dataset"], mean["group"], mean["metric"], mean["mode"], mean["n"]) == ("math", "math", "mean", "gen", 8)
    assert mean["score"] == 50.0
    # Two samples of their own: half the root of the sum of the squared errors.
    assert mean["stderr"] == pytest.approx((tasks["sums"]["stderr"] ** 2 + tasks["terms"]["stderr"] ** 2) ** 0.5 / 2)
    low, high = mean["ci95"]
    for end, factor in ((low, -1), (high, 1)):
        number = 0 if factor < 0 else 1
        reach = sum((tasks[name]["ci95"][number] - tasks[name]["score"]) ** 2 for name in ("sums", "terms")) ** 0.5 / 2
        assert end == pytest.approx(50.0 + factor * reach)


def test_tasks_that_are_all_right_leave_their_mean_an_interval(ocli: Ocli, write: Write) -> None:
    for name in ("one", "two"):
        task(write, name, "math", 5, 0)
    rows, _ = rows_of(ocli, "one", "two")
    [mean] = [row for row in rows if row["task"] is None]
    tasks = [row for row in rows if row["task"]]
    assert mean["score"] == 100.0
    assert min(row["ci95"][0] for row in tasks) < mean["ci95"][0] < 95.0
    assert mean["ci95"][1] == 100.0


def test_one_task_of_a_capability_is_no_mean(ocli: Ocli) -> None:
    rows, datasets = rows_of(ocli, "sums", "quiz")
    assert datasets == ["quiz", "sums"]
    assert all(row["task"] for row in rows)


def test_no_mean_of_a_part(ocli: Ocli, write: Write) -> None:
    write("said/terms.jsonl", "")
    rows, _ = rows_of(ocli, "sums", "terms")
    [mean] = [row for row in rows if row["task"] is None]
    assert (mean["score"], mean["stderr"], mean["subsets"]) == (None, None, [1, 2])
