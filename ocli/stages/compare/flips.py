"""Items that one model has right and the other has not: how many, in which subsets, and what both said to some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ocli.stages.browse.lines import Key, asked_last
from ocli.stages.browse.parts import Part
from ocli.stages.compare.difference import Pairs
from ocli.stages.compare.sides import Side
from ocli.stages.report import Source


@dataclass(frozen=True)
class Said:
    """What one model said to an item; ``reply`` is None where likelihoods were asked, or the line is gone."""

    score: float | None
    status: str
    answer: str | None
    reply: str | None


@dataclass(frozen=True)
class Flip:
    """An item whose score differs, with what both said; of several samples the first that differ."""

    id: str
    sample: int
    subset: str | None
    target: str | None
    question: str
    said: tuple[Said, Said]


@dataclass(frozen=True)
class Flips:
    """The ids of items on which B is worse or better than A, how many of each subset has, and some of them read."""

    worse: list[str]
    better: list[str]
    subsets: dict[str, tuple[int, int]]
    shown: list[Flip]


def find(a: Side, b: Side, task: str, results: tuple[pl.DataFrame, pl.DataFrame], pairs: Pairs, most: int) -> Flips:
    """Return the flipped items; ``most`` of them are read, of both directions in turn, those that changed most first."""
    changed = pairs.frame.with_columns(by=pl.col("y_b") / pl.col("x_b") - pl.col("y") / pl.col("x")).filter(pl.col("by") != 0)
    changed = changed.sort(pl.col("by").abs(), descending=True, maintain_order=True)
    directions = [changed.filter(pl.col("by") < 0)["id"].to_list(), changed.filter(pl.col("by") > 0)["id"].to_list()]
    counts = changed.group_by("subset", maintain_order=True).agg(worse=(pl.col("by") < 0).sum(), better=(pl.col("by") > 0).sum())
    several = pairs.frame["subset"].n_unique() > 1
    subsets = {row[0]: (row[1], row[2]) for row in counts.sort("subset").iter_rows()} if several else {}
    return Flips(directions[0], directions[1], subsets, _read(a, b, task, results, _some(directions, most)))


def _some(directions: Sequence[Sequence[str]], most: int) -> list[str]:
    """Take items in turn from those that got worse and those that got better."""
    longest = max(map(len, directions))
    turns = [ids[number] for number in range(longest) for ids in directions if number < len(ids)]
    return turns[:most]


def _read(a: Side, b: Side, task: str, results: tuple[pl.DataFrame, pl.DataFrame], ids: list[str]) -> list[Flip]:
    if not ids:
        return []
    columns = ["id", "subset", "sample", "answer", "target", "score", "status", "offset"]
    frames = [
        frame.filter(pl.col("id").is_in(ids)).select(columns).with_columns(pl.col("sample").cast(pl.Int64)) for frame in results
    ]
    both = frames[0].join(frames[1], on=["id", "sample"], suffix="_b", maintain_order="left")
    both = both.sort((pl.col("score") != pl.col("score_b")).fill_null(value=False), descending=True, maintain_order=True)
    rows = {row["id"]: row for row in reversed(both.to_dicts())}
    keys = [(item, rows[item]["sample"]) for item in ids if item in rows]
    lines = [
        Part(Source(side.run, side.model), task, side.recipe.tasks[task]).lines(
            {key: rows[key[0]][f"offset{end}"] for key in keys}
        )
        for side, end in ((a, ""), (b, "_b"))
    ]
    return [_flip(rows[key[0]], key, lines) for key in keys]


def _flip(row: Mapping[str, Any], key: Key, lines: Sequence[Mapping[Key, dict[str, Any]]]) -> Flip:
    one, other = (
        Said(row[f"score{end}"], row[f"status{end}"], row[f"answer{end}"], _reply(told.get(key)))
        for end, told in zip(("", "_b"), lines, strict=True)
    )
    asked = next((told[key] for told in lines if key in told), {})
    return Flip(key[0], key[1], row["subset"], row["target"], asked_last(asked), (one, other))


def _reply(line: Mapping[str, Any] | None) -> str | None:
    return None if line is None or line.get("choices") is not None else str(line.get("text") or "")
