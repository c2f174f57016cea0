"""The files that docs/adding-a-benchmark.md shows make a benchmark that works, and the pages list the catalog as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Ocli, Write

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding-a-benchmark.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`((?:prompts|recipes)/\S+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(autouse=True)
def _as_the_page_says(write: Write) -> None:
    [row] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    question = json.loads(row)
    rows = [{**question, "question": f"{question['question']} ({number})", "label": number % 3} for number in range(240)]
    write("data/tides/test.jsonl", "\n".join(map(json.dumps, rows)))
    for name, text in FILES.items():
        write(name, text)


def test_page_shows_two_tasks_and_their_prompts() -> None:
    assert sorted(FILES) == [f"{a}/knowledge/tides_{b}" for a, b in (
        ("prompts", "gen.jinja"), ("prompts", "ppl.jinja"), ("recipes/tasks", "gen.yaml"), ("recipes/tasks", "ppl.yaml"),
    )]  # fmt: skip


def test_commands_of_the_page_do_what_it_says(ocli: Ocli) -> None:
    shown = ocli("show", "tides_gen", "--row", 3, "--data-dir", "data").out
    assert "When is the tide higher than usual? (3)\nA. At half moon\nB. At full moon\nC. At noon\nAnswer:" in shown
    for name in ("tides_gen", "tides_ppl"):
        checked = ocli("check", "-t", name, "--data-dir", "data")
        assert (checked.rc, checked.out.split(",")[0]) == (0, f"ok       {name}: 240 items")
        done = ocli("eval", "-m", "echo:oracle", "-t", name, "--data-dir", "data")
        assert (done.rc, "100.00" in done.out) == (0, True)


def test_check_says_how_many_items_are_missing(ocli: Ocli, write: Write) -> None:
    write("data/tides/test.jsonl", (Path("data/tides/test.jsonl").read_text().rsplit("\n", 1)[0]))
    done = ocli("check", "-t", "tides_gen", "--data-dir", "data")
    assert done.rc == 1
    assert "has 239 items, but 240 are published" in done.out
    done = ocli("eval", "-m", "echo:oracle", "-t", "tides_gen", "--data-dir", "data")
    assert "PARTIAL: tides_gen was asked 239 of 240 items only" in done.out
    assert "the data has 239 items, but 240 are published" in done.err


def test_pages_list_the_catalog_as_it_is() -> None:
    script = ROOT / "scripts" / "catalog_table.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
