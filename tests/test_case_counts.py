"""Every extractor and metric has at least 40 cases in the tables below ``tests/cases``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ocli.registry import extractor, metric

CASES = Path(__file__).parent / "cases"


def subject_of(path: Path, case: Any) -> tuple[str, str]:
    """Return what a case is of: it says so, or lies among the extractors (by default ``choice``), or its file has that name."""
    if "metric" in case:
        return "metric", case["metric"]
    if path.parent.name == "extract":
        return "extractor", case.get("extractor", "choice")
    return "metric", path.stem


TABLES = {path: json.loads(path.read_text(encoding="utf-8")) for path in CASES.rglob("*.json")}
COUNTS = Counter(subject_of(path, case) for path, table in TABLES.items() if isinstance(table, list) for case in table)


@pytest.mark.parametrize(
    ("kind", "name"), [("extractor", name) for name in extractor.names()] + [("metric", name) for name in metric.names()]
)
def test_has_forty_cases(kind: str, name: str) -> None:
    assert COUNTS[kind, name] >= 40
