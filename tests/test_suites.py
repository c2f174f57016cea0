"""Suites: every name that a shipped one lists is a task, none is asked twice, and a recipe takes it as it takes a task."""

from __future__ import annotations

import pytest
from conftest import Ocli

from ocli import catalog

SUITES = [entry.name for entry in catalog.entries("suites")]
TASKS = {entry.name for entry in catalog.entries("tasks")}


@pytest.mark.parametrize("name", SUITES)
def test_every_name_of_a_suite_is_a_task_and_is_there_once(name: str) -> None:
    names = [task for task, _ in catalog.load_tasks(name)]
    assert set(names) <= TASKS
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", SUITES)
def test_recipe_of_a_suite_has_its_tasks_in_their_order(name: str) -> None:
    recipe = catalog.load_recipe(None, ["echo"], [name], {})
    assert list(recipe.tasks) == [task for task, _ in catalog.load_tasks(name)]


def test_no_suite_is_called_like_a_task() -> None:
    assert not TASKS & set(SUITES)


@pytest.mark.parametrize("name", SUITES)
def test_suite_is_listed_with_what_it_is(ocli: Ocli, name: str) -> None:
    lines = ocli("list", "--kind", "suites").out.splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines if len(line.split()) > 1].count(name) == 1
