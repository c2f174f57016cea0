"""Which way of an extractor read the answer: the column ``pattern``."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Ocli, Write

from ocli.catalog import load_tasks
from ocli.extract.ways import ByWays, reading
from ocli.registry import extractor
from ocli.scoring import ITEM_SCHEMA, reply_schema, score_replies

CASES = Path(__file__).parent / "cases"

BY_REGEX = {"first_option", "mbpp"}
"""Twins of OpenCompass whose many ways have no other name than their regular expression."""
CHINESE = {"charges", "law_articles", "prison_months"}
"""Extractors of LawBench, which knows no other language."""

Case = dict[str, Any]


def table(path: Path) -> list[Case]:
    """Read a table of replies; rows of the choice table leave out what is the same for nearly all of them."""
    usual = {"extractor": "choice", "options": {}, "choices": "ABCD" if path.parent.name == "extract" else ""}
    return [usual | case for case in json.loads(path.read_text(encoding="utf-8"))]


def readings(cases: list[Case]) -> list[tuple[str | None, str | None]]:
    """Return answer and pattern of every case, read in one frame for each extractor, options and choices."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, case in enumerate(cases):
        groups[json.dumps([case["extractor"], case["options"], case["choices"]])].append(place)
    found: dict[int, tuple[str | None, str | None]] = {}
    for key, places in groups.items():
        name, options, choices = json.loads(key)
        frame = pl.DataFrame({"reply": [cases[place]["reply"] for place in places]}, schema={"reply": pl.String})
        read = reading(extractor.get(name, options), pl.col("reply"), tuple(choices), **options)
        rows = frame.select(read.alias("read")).unnest("read").select("answer", "pattern").rows()
        found |= dict(zip(places, rows, strict=True))
    return [found[place] for place in range(len(cases))]


TABLE = table(CASES / "patterns.json")
READ = [case for path in sorted((CASES / "extract").glob("*.json")) for case in table(path)]


def label(case: Case) -> str:
    return f"{case['extractor']}-{case['reply']}"[:60]


@pytest.mark.parametrize(("case", "found"), list(zip(TABLE, readings(TABLE), strict=True)), ids=map(label, TABLE))
def test_way_that_read_the_answer(case: Case, found: tuple[str | None, str | None]) -> None:
    answer, pattern = found
    assert pattern == case["pattern"], answer


def test_pattern_is_told_of_every_answer_and_of_nothing_else() -> None:
    ways = {name: {case["pattern"] for case in TABLE if case["extractor"] == name} - {None} for name in extractor.names()}
    ways["stated"] |= ways["choice"] | ways["yes_no"]
    ways["gaokao"] |= ways["choice"] | ways["option_set"]
    for case, (answer, pattern) in zip(READ, readings(READ), strict=True):
        name = case["extractor"]
        assert answer == case["answer"], case
        free = name == "bbh" and (not case["choices"] or len(case["choices"][0]) > 1)  # bbh_freeform has one way
        if answer is None or not ways[name] or free:
            assert pattern is None, case
        else:
            assert pattern in ways[name] or (pattern and name in BY_REGEX), (case, pattern)


def test_every_extractor_with_several_ways_has_cases_in_both_languages() -> None:
    for name in {case["extractor"] for case in READ if isinstance(extractor.get(case["extractor"], case["options"]), ByWays)}:
        told = [case["reply"] for case in TABLE if case["extractor"] == name and case["pattern"]]
        assert name in CHINESE or any(reply.isascii() for reply in told), name
        assert not all(reply.isascii() for reply in told), name


REPLIES = ["The answer is 1.", "#### 1", "so 1", "no idea", None]
RULES = """
data: {local: ./sums.jsonl, fields: {target: answer}}
prompt: plain
score: [{extract: %s, metric: accuracy}, {name: further, extract: number, metric: accuracy}]
"""


@pytest.mark.parametrize(
    ("extract", "patterns"), [("number", ["answer phrase", "behind ####", "last number", None, None]), ("text", [None] * 5)]
)
def test_results_of_a_run_tell_the_pattern(ocli: Ocli, write: Write, extract: str, patterns: list[str | None]) -> None:
    write("recipes/tasks/math/sums.yaml", RULES % extract)
    write(
        "recipes/tasks/math/sums.jsonl", "\n".join(json.dumps({"question": reply, "answer": "1"}) for reply in map(str, REPLIES))
    )
    write("prompts/plain.jinja", "{% block user %}{{ question }}{% endblock %}{% block assistant %}{{ target }}{% endblock %}")
    said = [{"id": str(place), "text": reply} for place, reply in enumerate(REPLIES) if reply]
    write("said/sums.jsonl", "\n".join(map(json.dumps, said)))
    run = ocli("eval", "-m", "replay:said", "-t", "sums").run  # the last item has no reply, and has failed
    [path] = run.glob("results/*/sums.parquet")
    results = pl.read_parquet(path)
    assert results.columns[-3:] == ["cluster", "pattern", "offset"]
    assert results["pattern"].to_list() == patterns
    assert results.schema["pattern"] == pl.String


def test_likelihoods_and_tasks_without_rows_have_the_column_too() -> None:
    for name in ("ceval_ppl", "gsm8k_gen"):
        [(_, task)] = load_tasks(name)
        replies = pl.DataFrame(schema=reply_schema(task))
        results = score_replies(pl.DataFrame(schema=ITEM_SCHEMA), replies, task)
        assert results.schema["pattern"] == pl.String
