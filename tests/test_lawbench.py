"""LawBench: numerals, and the lists of labels in its tasks against those in its own data."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from ocli import catalog
from ocli.errors import RecipeError
from ocli.extract.numerals import to_digits
from ocli.registry import extractor

NUMERALS = {
    "一": "1", "十": "10", "十一": "11", "二十": "20", "二十四": "24", "一百": "100", "一百零二": "102",
    "一百一十": "110", "二百六十四": "264", "三百四十七": "347", "一千零五": "1005", "一千二百": "1200", "一万": "10000",
    "十万": "100000", "三万五千": "35000", "一百二十万": "1200000", "一亿": "100000000", "一亿零三万": "100030000",
    "两千": "2000", "二〇一六": "2016", "一九九八": "1998", "〇": "0", "零": "0", "叁拾": "30", "伍佰": "500",
    "三年六个月": "3年6个月", "第二百六十四条": "第264条", "3.5万": "3.5万", "万元": "万元", "百分之五": "百分之5",
    "八千五百元": "8500元", "无": "无", "": "", "abc 12": "abc 12", "千万别": "千万别", "十个月": "10个月",
    "十二月三日": "12月3日", "九十九": "99", "二万零一": "20001", "五十万零六百": "500600",
}  # fmt: skip


@pytest.mark.parametrize("text", NUMERALS)
def test_numerals_are_written_as_digits(text: str) -> None:
    assert to_digits(text) == NUMERALS[text]


@pytest.mark.parametrize("name", ["labels", "lawbench_labels", "charges"])
@pytest.mark.parametrize("labels", [(), "盗窃", [""], [1], [[]]])
def test_labels_must_be_a_list_of_texts(name: str, labels: object) -> None:
    with pytest.raises(RecipeError, match=rf"{name!r} needs the option labels"):
        extractor.get(name, {})(pl.col("reply"), (), labels=labels)


def offered(task: str, rule: int) -> list[str]:
    """Return the labels that a rule of a task looks for, in one list."""
    [(_, spec)] = catalog.load_tasks(task)
    extract = spec.score[rule].extract
    assert extract is not None
    return [label for part in extract.options["labels"] for label in (part if isinstance(part, list) else [part])]


def rows(shared_data: Path, name: str) -> list[dict[str, str]]:
    """Return the questions of a set."""
    found: list[dict[str, str]] = json.loads(
        (shared_data / "lawbench" / "zero_shot" / f"{name}.json").read_text(encoding="utf-8")
    )
    return found


@pytest.mark.parametrize(
    ("task", "name", "separator"), [("lawbench_marriage_gen", "2-3", "、"), ("lawbench_events_gen", "2-9", "，")]
)
def test_labels_are_those_that_the_question_offers(task: str, name: str, separator: str, shared_data: Path) -> None:
    assert offered(task, 0) == offered(task, 1)
    assert all(f"包括：{separator.join(offered(task, 0))}。" in row["instruction"] for row in rows(shared_data, name))


def test_charges_hold_every_right_answer_and_lawbench_knows_189_of_them(shared_data: Path) -> None:
    ours, theirs = offered("lawbench_charges_gen", 0), offered("lawbench_charges_gen", 1)
    right = {charge for row in rows(shared_data, "3-3") for charge in row["answer"].removeprefix("罪名:").split(";")}
    assert len(ours) == len(set(ours)) == 202
    assert ours[: len(theirs)] == theirs
    assert len(theirs) == 189
    assert right <= set(ours)
    assert right & set(ours[189:]) == set(ours[189:])
