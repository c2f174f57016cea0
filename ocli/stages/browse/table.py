"""One task's items as rows, the replies of all models side by side: filtered, searched and paged through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import polars as pl

from ocli.errors import OcliError, did_you_mean
from ocli.stages.averages import unanswered
from ocli.stages.browse.lines import Key, Stopped, asked_last, search
from ocli.stages.browse.parts import KINDS, STATUS, Part, keys_frame

FILTERS = (*KINDS, "differ")
SEARCHES = 8
"""So many searches of a task are remembered, for one is asked again for each page of what it found."""
REPLY = ("text", "reasoning", "finish_reason", "error", "seconds", "usage", "choices", "messages", "prompt")
"""What is shown of a prediction line."""
LOST = "its reply is not in the predictions file"
Details = list[dict[int, dict[str, Any]]]


@dataclass(frozen=True)
class Query:
    """Which rows are asked for; ``model`` and ``subset`` None: any."""

    filter: str = "all"
    model: str | None = None
    subset: str | None = None
    words: str = ""
    offset: int = 0
    limit: int = 100


class Table:
    """A task's rows: ``id, subset, sample`` and of the model number i its score, its status, whether it is unanswered, its
    row in its results (``at<i>``).

    Scores are 0 to 1; a perplexity is none.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.models, self.parts = list(parts), list(parts.values())
        self.rows = _aligned(self.parts)
        self._found: dict[str, tuple[pl.Series, bool]] = {}

    def page(self, query: Query, stopped: Stopped = lambda: False) -> dict[str, Any]:
        """Return ``total`` and the ``items`` of a page; ``more`` is there where a search was ended before it was through."""
        meets = self.meets(query.filter, query.model)
        if query.subset is not None:
            meets &= pl.col("subset") == query.subset
        whole, words = True, query.words.strip()
        chosen = self.rows.lazy().with_row_index("row").filter(meets)
        if words:
            found, whole = self._search(words, stopped)
            chosen = chosen.filter(pl.col("row").is_in(found.implode()))
        numbers = chosen.select("row").collect()["row"]
        picked, details = self._read(numbers.slice(query.offset, query.limit))
        rows = [{**row, "question": question(line)} for row, line in self._with_lines(picked, details)]
        return {"total": numbers.len(), "items": rows} | ({} if whole else {"more": True})

    def meets(self, name: str, model: str | None = None) -> pl.Expr:
        """Return the condition of a filter: that a model's reply is so, or any model's."""
        if name not in FILTERS:
            raise OcliError(f"no filter is called {name!r}{did_you_mean(name, FILTERS)} (there are: {', '.join(FILTERS)})")
        if model is not None and model not in self.models:
            raise OcliError(f"no model is called {model!r}{did_you_mean(model, self.models)}")
        every = range(len(self.parts))
        numbers = every if model is None else [self.models.index(model)]
        if name == "all":
            return pl.lit(value=True)
        if name == "differ":
            return reduce(or_, (pl.col("score0").ne_missing(pl.col(f"score{number}")) for number in every))
        return reduce(or_, (_is(name, number).fill_null(value=False) for number in numbers))

    def items(self, numbers: pl.Series) -> list[dict[str, Any]]:
        """Return the rows of these numbers with all that is known of them: prompts, replies, what was asked and is right."""
        picked, details = self._read(numbers)
        asked: dict[str, dict[str, Any]] = {}
        for part in reversed(self.parts):
            asked |= part.asked(picked["id"].to_list())
        lines = [part.lines(_places(picked, number, details)) for number, part in enumerate(self.parts)]
        items = []
        for row, place in zip(self._tell(picked, details), picked.iter_rows(named=True), strict=True):
            key, known = (row["id"], row["sample"]), asked.get(row["id"], {})
            replies = {}
            for number, label in enumerate(self.models):
                detail = details[number].get(place[f"at{number}"])
                if detail is not None:
                    replies[label] = _reply(lines[number].get(key), self.parts[number].scores(detail))
            accepted = known.get("accepted") or ([] if row["target"] is None else [row["target"]])
            items.append({**row, "choices": known.get("choices") or None, "accepted": accepted, "replies": replies})
        return items

    def position(self, key: Key) -> int | None:
        """Return the number of an item's row."""
        for number in (self.rows["id"] == key[0]).arg_true():
            if self.rows["sample"][number] == key[1]:
                return int(number)
        return None

    def _read(self, numbers: pl.Series) -> tuple[pl.DataFrame, Details]:
        picked = self.rows[numbers.cast(pl.Int64)]
        return picked, [part.rows(picked[f"at{number}"].to_list()) for number, part in enumerate(self.parts)]

    def _tell(self, picked: pl.DataFrame, details: Details) -> list[dict[str, Any]]:
        told = []
        for row in picked.iter_rows(named=True):
            mine = [details[number].get(row[f"at{number}"]) for number in range(len(self.parts))]
            targets = [detail["target"] for detail in mine if detail and detail["target"] is not None]
            answers = {label: _answer(part, one) for label, part, one in zip(self.models, self.parts, mine, strict=True)}
            names = {name: row[name] for name in ("id", "subset", "sample")}
            told.append({**names, "target": targets[0] if targets else None, "answers": answers})
        return told

    def _with_lines(self, picked: pl.DataFrame, details: Details) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return rows, each with a prediction line where one is at its place: what models are asked differs in nothing here."""
        rows = self._tell(picked, details)
        lines: dict[Key, dict[str, Any]] = {}
        for number, part in enumerate(self.parts):
            places = {key: place for key, place in _places(picked, number, details).items() if key not in lines}
            lines |= part.lines(places, look=False)
        return [(row, lines.get((row["id"], row["sample"]), {})) for row in rows]

    def _search(self, words: str, stopped: Stopped) -> tuple[pl.Series, bool]:
        """Return the numbers of the rows that hold a text in any case, and whether all was looked through."""
        found = self._found.get(words)
        if found is None:
            found = self._look(words, stopped)
            if not stopped():
                self._found[words] = found
            while len(self._found) > SEARCHES:
                self._found.pop(next(iter(self._found)))
        return found

    def _look(self, words: str, stopped: Stopped) -> tuple[pl.Series, bool]:
        """Look into ids, targets and answers, then through the predictions files."""
        rows, holds = self.rows.lazy().with_row_index("row"), _contains(words)
        found, whole = [rows.filter(holds("id"))], True
        for number, part in enumerate(self.parts):
            scan = part.scan().with_row_index("at")
            at = part.collect(scan.filter(holds("answer") | holds("target")).select("at"))["at"]
            found.append(rows.filter(pl.col(f"at{number}").is_in(at.implode())))
            keys, through = search(part.predictions, words, stopped)
            found.append(rows.join(keys_frame(keys).lazy(), on=["id", "sample"], how="semi"))
            whole &= through
        return pl.concat([frame.select("row") for frame in found]).unique().collect()["row"], whole


def _is(name: str, number: int) -> pl.Expr:
    score = pl.col(f"score{number}")
    kinds = {"right": score >= 1, "wrong": score < 1, "unanswered": pl.col(f"unanswered{number}")}
    return kinds.get(name, pl.col(f"status{number}") == name)


def _contains(words: str) -> Callable[[str], pl.Expr]:
    pattern = f"(?i){pl.escape_regex(words)}"
    return lambda name: pl.col(name).str.contains(pattern).fill_null(value=False)


def _places(picked: pl.DataFrame, number: int, details: Details) -> dict[Key, int | None]:
    """Return where the prediction lines of one model begin."""
    rows = picked.select("id", "sample", f"at{number}").iter_rows()
    return {(item, sample): details[number][at]["offset"] for item, sample, at in rows if at is not None}


def _answer(part: Part, detail: dict[str, Any] | None) -> dict[str, Any]:
    if detail is None:
        return {"answer": None, "score": None, "status": "missing", "pattern": None, "tokens": None}
    score = detail["score"] if part.judged else None
    told = {name: detail[name] for name in ("answer", "status", "pattern")}
    return {**told, "score": score, "tokens": detail["completion_tokens"]}


def _reply(line: dict[str, Any] | None, rules: dict[str, Any]) -> dict[str, Any]:
    told = {name: (line or {}).get(name) for name in REPLY}
    return {**told, "rules": rules} if line else {**told, "rules": rules, "error": LOST}


def question(line: Mapping[str, Any]) -> str:
    """Return the beginning of what was asked, for a list: of a text its last lines, of turns the last one of the user."""
    rows = asked_last(line).strip().splitlines()
    return " ".join(rows if line.get("messages") else rows[-6:])[:240]


def _aligned(parts: Sequence[Part]) -> pl.DataFrame:
    """Put the parts side by side. As a rule they have the same items in the same order, and nothing need be joined."""
    whole: pl.DataFrame | None = None
    for number, part in enumerate(parts):
        names = {name: f"{name}{number}" for name in ("score", "status", "unanswered", "at")}
        score = pl.col("score") if part.judged else pl.lit(None, pl.Float64).alias("score")
        status = pl.col("status").cast(STATUS, strict=False)
        kinds = (pl.col("sample").cast(pl.UInt32), score, status, unanswered().alias("unanswered"))
        mine = part.collect(part.scan().select("id", "subset", *kinds)).with_row_index("at").rename(names)
        if whole is None:
            whole = mine
        elif whole["id"].equals(mine["id"]) and whole["sample"].equals(mine["sample"]):
            whole = whole.hstack(mine.select(names.values()))
        else:
            joined = whole.join(mine, on=["id", "sample"], how="full", coalesce=True, maintain_order="left_right", suffix="_more")
            whole = joined.with_columns(pl.coalesce("subset", "subset_more").alias("subset")).drop("subset_more")
    assert whole is not None
    return whole.with_columns(pl.col("subset").cast(pl.Categorical))
