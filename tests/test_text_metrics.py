"""Metrics of the extra ``text`` against their case tables; they are skipped where it is not installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli.errors import PackageError, RecipeError
from ocli.extras import package
from ocli.registry import metric

CASES = Path(__file__).parent / "cases" / "text"
PACKAGES = ("rouge_score", "rouge_chinese", "jieba", "sacrebleu", "rapidfuzz")
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_text = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install 'ocli[text]'")


def scores(name: str, options: dict[str, Any], pairs: list[tuple[str | None, str]]) -> list[float]:
    """Score pairs of answer and target in one frame."""
    frame = pl.DataFrame(pairs, schema={"answer": pl.String, "target": pl.String}, orient="row")
    measure = metric.get(name, options)
    return frame.select(measure(pl.col("answer"), pl.col("target"), **options)).to_series().to_list()


def target_of(case: dict[str, Any]) -> str:
    """Return a case's target; one that has parts is written as JSON, as a task's ``tojson`` writes it."""
    return case["target"] if isinstance(case["target"], str) else json.dumps(case["target"], ensure_ascii=False)


@needs_text
@pytest.mark.parametrize("path", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_answer_gets_score(path: Path) -> None:
    cases = json.loads(path.read_text(encoding="utf-8"))
    assert len(cases) >= 40
    keys = [json.dumps([case["metric"], case["options"]]) for case in cases]
    for key in dict.fromkeys(keys):
        part = [case for case, its in zip(cases, keys, strict=True) if its == key]
        found = scores(*json.loads(key), [(case["answer"], target_of(case)) for case in part])
        assert [(case, score) for case, score in zip(part, found, strict=True) if score != pytest.approx(case["score"])] == []


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("rouge", {"kind": "3"}, "kind must be 1, 2 or l"),
        ("rouge_chinese", {"kind": "L"}, "kind must be 1, 2 or l"),
        ("rouge", {"language": "de"}, "language must be en or zh"),
        ("bleu", {"tokenize": "words"}, "tokenize must be one of"),
    ],
)
def test_options_are_checked(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        scores(name, options, [("a", "a")])


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(PackageError, match=r"needs no_such_package: pip install 'ocli\[text\]'"):
        package("metric 'rouge'", "text", "no_such_package")
