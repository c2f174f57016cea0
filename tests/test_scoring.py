"""From reply lines to rows: statuses, nulls, several rules, and the means and intervals of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli.catalog import load_tasks
from ocli.errors import RecipeError, RunError
from ocli.scoring import CHUNK, ITEM_SCHEMA, read_replies, score_replies
from ocli.stages.averages import MeanScore, cells_of, per_item
from ocli.stages.report import RowMaker
from ocli.stats import Stratum, macro_mean, wilson
from ocli.task import TaskSpec

[(_, CEVAL)] = load_tasks("ceval_gen")


def items(count: int, choices: tuple[str, ...] = ("A", "B", "C", "D")) -> pl.DataFrame:
    rows = {"id": [f"s/{i}" for i in range(count)], "subset": "s", "groups": [["g"]] * count, "choices": [list(choices)] * count}
    return pl.DataFrame(
        {
            **rows,
            "target": ["A"] * count,
            "accepted": [["A"]] * count,
            "right": [None] * count,
            "weights": [[]] * count,
            "cluster": None,
        },
        schema=ITEM_SCHEMA,
    )


def write(path: Path, lines: list[dict[str, Any]], end: str = "") -> Path:
    whole = [
        {"key": f"k{line['id']}", "sample": 0, "finish_reason": "stop", "error": None, "messages": [], **line} for line in lines
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in whole) + end, encoding="utf-8")
    return path


def scored(tmp_path: Path, lines: list[dict[str, Any]], count: int | None = None) -> list[dict[str, Any]]:
    frame = score_replies(items(count or len(lines)), read_replies(write(tmp_path / "p.jsonl", lines), CEVAL), CEVAL)
    return frame.to_dicts()


def test_each_zero_is_told_apart(tmp_path: Path) -> None:
    rows = scored(
        tmp_path,
        [
            {"id": "s/0", "text": "A"},
            {"id": "s/1", "text": "B"},
            {"id": "s/2", "text": ""},
            {"id": "s/3", "text": "A, because", "finish_reason": "length"},
            {"id": "s/4", "text": "well, let us see", "finish_reason": "length"},
            {"id": "s/5", "text": "<think>A or B? A looks"},
            {"id": "s/6", "text": "", "error": "HTTP 500", "finish_reason": None},
        ],
        count=8,
    )
    assert [(row["status"], row["answer"], row["score"]) for row in rows] == [
        ("ok", "A", 1.0),
        ("ok", "B", 0.0),
        ("unanswered", None, 0.0),
        ("truncated", "A", 1.0),
        ("truncated", None, 0.0),
        ("truncated", None, 0.0),
        ("failed", None, None),
        ("failed", None, None),
    ]


def test_further_rules_stand_beside_the_headline(tmp_path: Path) -> None:
    [row] = scored(tmp_path, [{"id": "s/0", "text": "The answer is A"}])
    assert (row["score"], row["opencompass"]) == (1.0, 0.0)


def test_last_line_of_an_item_counts_and_lines_of_other_items_do_not(tmp_path: Path) -> None:
    rows = scored(tmp_path, [{"id": "s/0", "text": "B"}, {"id": "s/9", "text": "A"}, {"id": "s/0", "text": "A"}], count=1)
    assert [row["score"] for row in rows] == [1.0]


def test_torn_last_line_is_a_reply_that_never_came(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{"id": "s/0", "text": "A"}], end='{"key": "x", "id": "s/1", "te')
    assert read_replies(path, CEVAL)["id"].to_list() == ["s/0"]


def test_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "s/0", "text": "A"}\n{"id": "s/1" "text"}\n{"id": "s/2"}\n', encoding="utf-8")
    with pytest.raises(RunError, match=r"p.jsonl:2: not a whole prediction line"):
        read_replies(path, CEVAL)


def test_questions_with_other_options_are_read_with_theirs(tmp_path: Path) -> None:
    both = pl.concat([items(1), items(1, ("A", "B")).with_columns(pl.lit("s/1").alias("id"))])
    replies = read_replies(write(tmp_path / "p.jsonl", [{"id": "s/0", "text": "D"}, {"id": "s/1", "text": "D"}]), CEVAL)
    assert score_replies(both, replies, CEVAL)["answer"].to_list() == ["D", None]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"extract": "choise", "metric": "accuracy"}, "unknown extractor 'choise'; did you mean 'choice'"),
        ({"extract": "choice", "metric": "acuracy"}, "unknown metric 'acuracy'; did you mean 'accuracy'"),
        (
            {"extract": {"name": "match_answer", "patern": "x"}, "metric": "accuracy"},
            "no option 'patern'; did you mean 'pattern'",
        ),
    ],
)
def test_unknown_rule_or_option_is_named(tmp_path: Path, rule: dict[str, Any], message: str) -> None:
    task = TaskSpec.model_validate({**CEVAL.model_dump(by_alias=True), "score": [rule]})
    with pytest.raises(RecipeError, match=message):
        score_replies(items(1), read_replies(write(tmp_path / "p.jsonl", [{"id": "s/0", "text": "A"}]), CEVAL), task)


def test_wilson_gives_the_reference_values(golden: Path) -> None:
    reference = json.loads((golden / "stats" / "stats_ref.json").read_text(encoding="utf-8"))
    cases = [case for name, case in reference.items() if name.startswith("binomial_")]
    assert len(cases) >= 4
    for case in cases:
        assert wilson(case["k"] / case["n"], case["n"]) == pytest.approx(case["wilson"], abs=1e-9)


def test_one_sample_has_wilsons_interval_and_the_usual_standard_error() -> None:
    estimate = macro_mean([Stratum(10, 7, 7)], binary=True)
    assert (estimate.low, estimate.high) == pytest.approx(wilson(0.7, 10))
    assert estimate.stderr == pytest.approx((0.7 * 0.3 / 9) ** 0.5)


def test_macro_mean_weighs_subsets_alike_and_its_interval_is_wider_than_the_pooled_one() -> None:
    strata = [Stratum(1000, 900, 900), Stratum(10, 1, 1)]
    estimate = macro_mean(strata, binary=True)
    assert estimate.mean == pytest.approx((0.9 + 0.1) / 2)
    low, high = wilson(901 / 1010, 1010)
    assert estimate.high - estimate.low > high - low


def test_ten_of_ten_is_not_certainty() -> None:
    estimate = macro_mean([Stratum(10, 10, 10)], binary=True)
    assert (estimate.mean, estimate.high) == pytest.approx((1.0, 1.0))
    assert estimate.low == pytest.approx(0.722, abs=1e-3)


def test_group_means_equal_opencompass_summaries(golden: Path) -> None:
    """Their per-subject accuracies, averaged over our groups, give their printed group rows."""
    table = (golden / "opencompass" / "summary_golden" / "summary" / "summary_T.csv").read_text(encoding="utf-8")
    printed = {line.split(",")[0]: float(line.split(",")[4]) for line in table.splitlines()[1:] if ",-,naive_average" in line}
    subjects = {
        line.split(",")[0]: float(line.split(",")[4])
        for line in table.splitlines()[1:]
        if ",accuracy," in line and ",-," not in line
    }
    frame = pl.DataFrame(
        [
            {
                "id": name,
                "subset": name,
                "groups": fields["group"],
                "score": subjects[f"ceval-{name}"] / 100,
                "status": "ok",
                "answer": "A",
            }
            for name, fields in CEVAL.data.subsets.items()
        ]
    )
    frame = per_item(frame.with_columns(shots_dropped=0, sample=0, cluster=None))
    kind = MeanScore(frame, "score")
    make = RowMaker("model-a", "ceval_gen", "abc123", "gen", "accuracy", True, kind)
    groups = sorted({group for fields in CEVAL.data.subsets.values() for group in fields["group"]})
    assert len(groups) == 5
    for group in groups:
        members = frame.filter(pl.col("groups").list.contains(group))
        score = make.mean(f"ceval-{group}", cells_of(kind, members)).score or 0
        assert score == pytest.approx(printed[f"ceval-{group}"], abs=0.006)
    assert make.mean("ceval", cells_of(kind, frame)).score == pytest.approx(printed["ceval"], abs=0.006)


def test_subset_without_any_score_marks_the_mean_as_incomplete() -> None:
    frame = pl.DataFrame(
        {
            "id": ["a", "b"],
            "subset": ["x", "y"],
            "groups": [["g"], ["g"]],
            "score": [1.0, None],
            "status": ["ok", "failed"],
            "answer": ["A", None],
            "shots_dropped": [0, 0],
            "sample": [0, 0],
            "cluster": [None, None],
        }
    )
    frame = per_item(frame)
    kind = MeanScore(frame, "score")
    row = RowMaker("m", "t", "abc123", "gen", "accuracy", True, kind).mean("t", cells_of(kind, frame))
    assert (row.score, row.n, row.failed, row.subsets) == (100.0, 1, 1, [1, 2])
    assert row.floor == 50.0


def test_file_larger_than_a_piece_is_read_whole_with_its_longest_line(tmp_path: Path) -> None:
    sizes = [100_000] * 120 + [CHUNK + 1] + [100_000] * 120
    lines = [{"id": f"s/{i}", "text": "A", "messages": ["x" * size]} for i, size in enumerate(sizes)]
    path = write(tmp_path / "p.jsonl", lines, end='{"id": "s/999", "te')
    assert read_replies(path, CEVAL)["id"].to_list() == [line["id"] for line in lines]


def test_each_reply_tells_where_its_line_begins(tmp_path: Path) -> None:
    sizes = [10, CHUNK - 50, 7, CHUNK + 1, 3]
    lines = [{"id": f"s/{i}", "text": "答案是 A", "messages": ["x" * size]} for i, size in enumerate(sizes)]
    path = write(tmp_path / "p.jsonl", lines)
    replies = read_replies(path, CEVAL)
    with open(path, "rb") as file:
        for item, offset in replies.select("id", "offset").iter_rows():
            file.seek(offset)
            assert json.loads(file.readline())["id"] == item
