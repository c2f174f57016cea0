"""IFEval's checks against their case table, strict and loose, and the 541 items' instructions; needs nltk and langdetect."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Ocli, Write

from ocli.errors import DataError, RecipeError
from ocli.metrics.ifeval import english, instructions, variants
from ocli.metrics.ifeval.checks import CHECKS
from ocli.registry import metric

pytest.importorskip("nltk")
pytest.importorskip("langdetect")

HERE = Path(__file__).parent
Case = dict[str, Any]
TABLE: list[Case] = json.loads((HERE / "cases" / "ifeval.json").read_text(encoding="utf-8"))
"""``instruction`` and its ``kwargs``, a ``reply``, and whether it follows ``strict`` and ``loose``."""


def target(*instructions: tuple[str, Case], key: int = 7) -> str:
    """Write an item as the task's ``target`` does."""
    names, arguments = [name for name, _ in instructions], [given for _, given in instructions]
    return json.dumps({"key": key, "instruction_id_list": names, "kwargs": arguments})


def score(replies: list[str | None], targets: list[str], **options: Any) -> list[float]:
    frame = pl.DataFrame({"reply": replies, "target": targets}, schema={"reply": pl.String, "target": pl.String})
    return frame.select(score=metric.get("ifeval", options)(pl.col("reply"), pl.col("target"), **options))["score"].to_list()


def scores() -> list[tuple[float, float]]:
    replies = [case["reply"] for case in TABLE]
    targets = [target((case["instruction"], case["kwargs"])) for case in TABLE]
    return list(zip(score(replies, targets), score(replies, targets, loose=True), strict=True))


def label(case: Case) -> str:
    return f"{case['instruction']}-{case['reply'][:40]}"


@pytest.mark.parametrize(("case", "found"), list(zip(TABLE, scores(), strict=True)), ids=map(label, TABLE))
def test_reply_follows_instruction(case: Case, found: tuple[float, float]) -> None:
    assert found == (case["strict"], case["loose"])


def test_every_check_has_cases_that_follow_and_that_do_not() -> None:
    cases = Counter((case["instruction"], case["loose"]) for case in TABLE)
    assert len(CHECKS) == 25
    assert {name for name, _ in cases} == set(CHECKS)
    assert all(cases[name, True] >= 2 and cases[name, False] >= 1 for name in CHECKS)


TWO = target(("punctuation:no_comma", {}), ("startend:quotation", {}), ("keywords:existence", {"keywords": ["tea"]}))


@pytest.mark.parametrize(
    ("reply", "prompt", "instruction", "loose_prompt", "loose_instruction"),
    [
        ('"Green tea"', 1, 1, 1, 1),
        ('Sure, here:\n"Green tea"', 0, 1 / 3, 1, 1),
        ('"Green, tea"', 0, 2 / 3, 0, 2 / 3),
        ("绿茶", 0, 1 / 3, 0, 1 / 3),
        (" \n", 0, 0, 0, 0),
        ("", 0, 0, 0, 0),
        (None, 0, 0, 0, 0),
    ],
)
def test_levels(reply: str | None, prompt: float, instruction: float, loose_prompt: float, loose_instruction: float) -> None:
    assert score([reply], [TWO]) == [prompt]
    assert score([reply], [TWO], level="instruction") == [pytest.approx(instruction)]
    assert score([reply], [TWO], loose=True) == [loose_prompt]
    assert score([reply], [TWO], level="instruction", loose=True) == [pytest.approx(loose_instruction)]


def test_loose_looks_at_eight_texts() -> None:
    assert variants("*a*\nb\n\nc") == ["*a*\nb\n\nc", "b\n\nc", "*a*\nb", "b", "a\nb\n\nc", "a\nb"]
    assert variants("a") == ["a", ""]


@pytest.mark.parametrize(("options", "words"), [({"level": "word"}, "level prompt or instruction"), ({"loose": "yes"}, "'yes'")])
def test_unknown_options_are_refused(options: Case, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        score(["a"], [TWO], **options)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (
            target(("punctuation:no_coma", {})),
            "item 7: unknown instruction 'punctuation:no_coma'; did you mean 'punctuation:no_comma'",
        ),
        (target(("keywords:existence", {})), "item 7: keywords:existence: kwargs: keywords: Missing required"),
        (target(("startend:quotation", {"relation": "at least"})), "item 7: startend:quotation: kwargs: relation: Unexpected"),
        (
            target(("length_constraints:number_paragraphs", {"num_paragraphs": "3"})),
            "num_paragraphs: Input should be a valid integer",
        ),
        (target(("length_constraints:number_words", {"num_words": 3, "relation": "at most"})), "'at least' or 'less than'"),
        (target(("keywords:existence", {"keywords": ["("]})), "item 7: keywords:existence: kwargs: not a regular expression"),
        (target(), "the target must be JSON"),
        ("tea", "the target must be JSON"),
        ('{"key": 7, "instruction_id_list": ["punctuation:no_comma"], "kwargs": []}', "the target must be JSON"),
    ],
)
def test_item_that_cannot_be_checked_is_named(item: str, words: str) -> None:
    with pytest.raises(DataError, match="metric 'ifeval'") as error:
        instructions(item)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_check_names_the_item_in_one_line(ocli: Ocli, write: Write) -> None:
    rows = [
        {"key": 1, "prompt": "a", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {"key": 2, "prompt": "b", "instruction_id_list": ["punctuation:no_point"], "kwargs": [{}]},
    ]
    write("data/ifeval/input_data.jsonl", "\n".join(map(json.dumps, rows)))
    write("recipes/tasks/mine.yaml", "extends: ifeval\nitems: null\n")
    done = ocli("check", "-t", "mine", "--offline")
    assert done.rc == 1
    [line] = [line for line in done.out.splitlines() if line.startswith("wrong")]
    assert line.startswith("wrong    mine: metric 'ifeval': item 2: unknown instruction 'punctuation:no_point'")
    assert "This error" not in line


def test_arguments_of_other_instructions_are_null_on_the_hub() -> None:
    item = target(("startend:quotation", {"keywords": None, "num_words": None}))
    assert score(['"a"', "a"], [item] * 2) == [1, 0]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("No point at the end", 1),
        ("One. Two! Three? Four", 4),
        ("Mr. Smith and Mrs. Jones met Dr. Lee in the U.S. Senate on Jan. 5 at 3 p.m. sharp.", 1),
        ("He has a Ph.D. The end.", 2),
        ("Ask J. Smith. He has plan B. It helps. The lists know vitamin C. It does too.", 4),
        ("It costs $3.50, i.e. little.", 2),  # Punkt's English model does not know the abbreviation
        ("Well... maybe. Well... The end.", 3),
        ("7. Review it\n8. Send it", 2),
        ("1. Wash\n2. Dry", 3),  # the point after the second number ends a sentence, that after the first does too
        ('"Stop!" he said. (Then he left.) We stayed.', 4),
        ("你好。今天天气很好。", 1),
        ("First line\n\nSecond line.", 1),
    ],
)
def test_sentences_are_those_of_punkt(text: str, count: int) -> None:
    assert len(english.sentences(text)) == count


def test_language_is_the_same_whenever_it_is_asked() -> None:
    text = "ok total hotel menu taxi"  # langdetect takes it for another language from draw to draw
    assert len({english.language(text) for _ in range(20)}) == 1
    assert english.language("12 + 3 = 15") is None


def test_instructions_of_all_real_items_are_known(shared_data: Path) -> None:
    rows = [json.loads(line) for line in (shared_data / "ifeval/input_data.jsonl").read_text(encoding="utf-8").splitlines()]
    checks = [instructions(json.dumps(row)) for row in rows]
    assert (len(rows), sum(map(len, checks))) == (541, 834)
    assert {name for row in rows for name in row["instruction_id_list"]} == set(CHECKS)
