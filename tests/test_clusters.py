"""``cluster``: what several questions share reaches the results, by its name or, of a whole passage, by a digest."""

from __future__ import annotations

import json

import polars as pl
import pytest
from conftest import Ocli, Write

TASK = """
data: {local: ./rows.jsonl, fields: {target: answer}}
prompt: plain
cluster: passage
score: [{extract: number, metric: equal_number}]
"""


def make(write: Write, passages: list[str]) -> None:
    write("prompts/plain.jinja", "{% block user %}{{ passage }}{% endblock %}{% block assistant %}{{ target }}{% endblock %}")
    write("recipes/tasks/exam/mine.yaml", TASK)
    rows = [{"passage": passage, "answer": "1"} for passage in passages]
    write("recipes/tasks/exam/rows.jsonl", "\n".join(map(json.dumps, rows)))


def test_results_have_the_cluster(ocli: Ocli, write: Write) -> None:
    long = "It was the best of times, it was the worst of times. " * 3
    make(write, ["p1", "p1", long, long, long + "And more."])
    done = ocli("eval", "-m", "echo", "-t", "mine")
    clusters = pl.read_parquet(done.run / "results" / "echo" / "mine.parquet")["cluster"].to_list()
    assert clusters[:2] == ["p1", "p1"]
    assert clusters[2] == clusters[3] != clusters[4]
    assert all(len(name) == 16 for name in clusters[2:])


@pytest.mark.parametrize(
    ("passages", "setting", "said"),
    [(["p1", ""], "passage", "row 1: cluster: 'passage' is empty here"), (["p1"], "pasage", "did you mean 'passage'")],
)
def test_a_wrong_cluster_is_named(ocli: Ocli, write: Write, passages: list[str], setting: str, said: str) -> None:
    make(write, passages)
    done = ocli("eval", "-m", "echo", "-t", "mine", "--set", f"task.cluster={setting}")
    assert (done.rc, len(done.err.splitlines())) == (2, 1)
    assert said in done.err
