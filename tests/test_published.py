"""Replies of real models with published verdicts: the published rule gives the published number, ours differs where it is said.

What lies in ``tests/data/published`` is told in its README. ``tests/cases/published.json`` has for each file the published
mean in per cent, the published rule, the task of the catalog whose headline rule is ours, and the items, with the reason,
where ours says something else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Ocli, Write

from ocli import catalog

FOLDER = Path(__file__).parent / "data" / "published"
CASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "cases" / "published.json").read_text(encoding="utf-8"))
PROMPT = "{% block user %}{{ id }}{% endblock %}\n{% block assistant %}{{ target }}{% endblock %}\n"


def test_every_file_has_its_case() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.jsonl")) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_published_mean_and_verdicts(name: str, ocli: Ocli, write: Write) -> None:
    case = CASES[name]
    summary, results = replayed(name, case, ocli, write)
    assert summary["published"] == pytest.approx(case["published"], abs=0.005)
    if "right" in results.columns:
        assert results.filter(pl.col("published") != pl.col("right")).is_empty()


@pytest.mark.parametrize("name", CASES)
def test_our_rule_differs_where_it_is_said(name: str, ocli: Ocli, write: Write) -> None:
    case = CASES[name]
    _, results = replayed(name, case, ocli, write)
    odd = results.filter(pl.col("score") != pl.col("published"))
    assert odd["id"].to_list() == list(case["differences"]), odd


def replayed(name: str, case: dict[str, Any], ocli: Ocli, write: Write) -> tuple[dict[str, float], pl.DataFrame]:
    """Score a file by our rule and the published one; return their means by name, and the items with their verdicts."""
    [(_, ours)] = catalog.load_tasks(case["ours"])
    headline = ours.score[0].model_dump(exclude_defaults=True)
    write("prompts/published.jinja", PROMPT)
    task = {
        "data": {"local": str(FOLDER / f"{name}.jsonl"), "fields": {"target": "target", **case.get("fields", {})}},
        "prompt": "published",
        "choices": case.get("choices", "[]"),
        "score": [{**headline, "name": "ours"}, {**case["rule"], "name": "published"}],
    }
    write("task.yaml", json.dumps(task))
    done = ocli("eval", "-m", f"replay:{FOLDER / name}.jsonl", "-t", "task.yaml")
    assert done.rc == 0, done.err
    summary = json.loads((done.run / "summary" / "summary.json").read_text(encoding="utf-8"))
    [results] = [pl.read_parquet(path) for path in (done.run / "results").rglob("*.parquet")]
    return {row["metric"]: row["score"] for row in summary["rows"]}, results.join(
        pl.read_ndjson(FOLDER / f"{name}.jsonl"), on="id"
    )
