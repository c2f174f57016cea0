"""A split without public labels: its answers are written for whoever has the labels, and no score is made up."""

from __future__ import annotations

import json

import pytest
from conftest import Ocli, Write

TASK = """
labels: false
data: {local: ./rows.jsonl, subsets: [law, logic], where: "kind == subset", fields: {target: answer}}
prompt: mine
choices: "['A', 'B']"
score: [{extract: choice, metric: accuracy}]
"""
ROWS = [{"kind": "law", "q": "one"}, {"kind": "logic", "q": "two"}, {"kind": "law", "q": "three"}, {"kind": "law", "q": "four"}]
REPLIES = [{"id": "law/0", "text": "The answer is B"}, {"id": "logic/1", "text": "A"}, {"id": "law/2", "text": "Who knows?"}]


@pytest.fixture(autouse=True)
def _unlabelled(write: Write) -> None:
    write("prompts/mine.jinja", "{% block user %}{{ q }}{% endblock %}{% block assistant %}{{ target }}{% endblock %}")
    write("recipes/tasks/exam/mine.yaml", TASK)
    write("recipes/tasks/exam/rows.jsonl", "\n".join(map(json.dumps, ROWS)))
    write("said.jsonl", "\n".join(map(json.dumps, [*REPLIES, {"id": "law/3", "text": "B."}])))


def test_answers_are_written_by_subset_and_the_score_is_refused(ocli: Ocli) -> None:
    done = ocli("eval", "-m", "replay:said.jsonl", "-t", "mine")
    assert done.rc == 2
    assert "the labels are not public" in done.err.splitlines()[-1]
    [path] = (done.run / "submission").glob("*/mine.json")
    assert json.loads(path.read_text()) == {"law": {"0": "B", "2": "", "3": "B"}, "logic": {"1": "A"}}
    assert str(path) in done.err
    rows = json.loads((done.run / "summary" / "summary.json").read_text())["rows"]
    [row] = [row for row in rows if (row["dataset"], row["metric"]) == ("mine", "accuracy")]
    assert (row["score"], row["n"], row["unanswered"], row["failed"]) == (None, 0, 1, 0)
    assert "0.00" not in done.out
    assert ocli("score").rc == 2
    assert ocli("report").rc == 0


def test_a_task_beside_it_is_scored(ocli: Ocli, write: Write) -> None:
    write("q.csv", "question,answer\nTwo and two?,4\n")
    done = ocli("eval", "-m", "echo:oracle", "-t", "mine", "-t", "q.csv")
    assert done.rc == 2
    rows = json.loads((done.run / "summary" / "summary.json").read_text())["rows"]
    assert {row["dataset"]: row["score"] for row in rows if row["subset"] is None} == {"mine": None, "q": 100.0}
    assert "mean" not in {row["metric"] for row in rows}


def test_check_says_that_it_cannot_prove_answers_nobody_has(ocli: Ocli) -> None:
    done = ocli("check", "-t", "mine")
    assert (done.rc, done.out.split()[0]) == (0, "ok")


def test_a_labelled_task_on_such_a_split_says_what_to_do(ocli: Ocli) -> None:
    done = ocli("eval", "-m", "echo", "-t", "mine", "--set", "task.labels=true")
    assert done.rc == 2
    assert "labels: false" in done.err.splitlines()[-1]
