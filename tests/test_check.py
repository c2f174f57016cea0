"""``ocli check``: what is right, what is wrong, and what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Ocli, Write

TASK = """
data: {local: ./rows.csv, fields: {target: answer}}
prompt: mine
choices: "['A', 'B']"
score: [{extract: choice, metric: accuracy}]
"""
PROMPT = "{% block user %}{{ question }}{% endblock %}\n{% block assistant %}{{ target }}{% endblock %}\n"


def mine(write: Write, prompt: str = PROMPT, task: str = TASK) -> None:
    write("prompts/mine.jinja", prompt)
    write("recipes/tasks/mine.yaml", task)
    write("recipes/tasks/rows.csv", "question,answer\none?,A\ntwo?,B\n")


def test_right_task_is_ok_and_says_what_it_has(ocli: Ocli, write: Write) -> None:
    mine(write)
    done = ocli("check", "-t", "mine", "-t", "quickstart")
    assert done.rc == 0
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["ok       mine", "ok       quickstart"]
    assert "2 items, 0 shots" in done.out


@pytest.mark.parametrize(
    ("prompt", "task", "words"),
    [
        (
            PROMPT.replace("{{ target }}", "it is {{ target }} or C"),
            TASK,
            "the right answer scores 0 on 2 of 2 items; the first is 0",
        ),
        (PROMPT.replace("question", "questoin"), TASK, "did you mean 'question'"),
        (PROMPT, TASK.replace("metric: accuracy", "metric: acuracy"), "did you mean 'accuracy'"),
        (PROMPT, TASK.replace("['A', 'B']", "['A', 'C']"), "the answer 'B' is none of the choices"),
        (PROMPT, TASK.replace("rows.csv", "nothing.csv"), "no data for split 'test'"),
    ],
)
def test_wrong_task_says_what_is_wrong(prompt: str, task: str, words: str, ocli: Ocli, write: Write) -> None:
    mine(write, prompt, task)
    done = ocli("check", "-t", "mine", "-t", "quickstart")
    assert (done.rc, words in done.out.splitlines()[0]) == (1, True)
    assert done.out.splitlines()[1].startswith("ok       quickstart: 200 items")


def test_recipes_are_checked_by_their_tasks(ocli: Ocli, write: Write) -> None:
    mine(write)
    path = write("recipe.yaml", "models: [echo]\ntasks: [mine]\ntask: {choices: \"['B', 'C']\"}\n")
    done = ocli("check", path, "quickstart")
    assert (done.rc, done.out.count("\n")) == (1, 2)
    assert "wrong    mine: row 0: the answer 'A' is none of the choices" in done.out


def test_real_data_that_is_there_and_that_is_not(ocli: Ocli, shared_data: Path) -> None:
    done = ocli("check", "-t", "ceval_gen", "-t", "ceval_ppl", "-t", "race_ppl", "--offline", "--data-dir", shared_data)
    assert [line.split(":")[0] for line in done.out.splitlines()] == [
        "ok       ceval_gen",
        "ok       ceval_ppl",
        "no data  race_ppl",
    ]
    assert "1346 items, 52 subsets, 5 shots" in done.out
    assert done.rc == 1


def test_task_that_cannot_be_read_leaves_the_others_their_verdicts(ocli: Ocli, write: Write) -> None:
    mine(write, task=TASK.replace("prompt:", "promt:"))
    done = ocli("check", "-t", "mine", "-t", "quickstart")
    assert done.rc == 1
    assert "wrong    mine: " in done.out
    assert "unknown key 'promt'; did you mean 'prompt'" in done.out
    assert done.out.splitlines()[1].startswith("ok       quickstart")
