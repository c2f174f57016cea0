"""From replies to scores: a task's rules as polars expressions over a frame of replies. Needs no model and no network."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

import polars as pl

from ocli.errors import OcliError, RecipeError, RunError
from ocli.extract.thoughts import unclosed_thought
from ocli.extract.ways import reading
from ocli.metrics.likelihood import CHOICES, PERPLEXITIES, score_choices, units_of
from ocli.plan import TaskPlan
from ocli.registry import extractor, metric
from ocli.task import Rule, TaskSpec
from ocli.terminal import unbroken
from ocli.types import Reply, Request

Schema = dict[str, pl.DataType | type[pl.DataType]]
ITEM_SCHEMA: Schema = {
    "id": pl.String,
    "subset": pl.String,
    "groups": pl.List(pl.String),
    "choices": pl.List(pl.String),
    "target": pl.String,
    "accepted": pl.List(pl.String),
    "right": pl.Int64,
    "weights": pl.List(pl.Float64),
    "cluster": pl.String,
}
USAGE = ("prompt", "cached", "completion")
"""What a prediction line's ``usage`` counts; results have a column of each, ``prompt_tokens`` and so on."""
REPLY_SCHEMA: Schema = {
    "key": pl.String,
    "id": pl.String,
    "sample": pl.Int64,
    "text": pl.String,
    "finish_reason": pl.String,
    "error": pl.String,
    "shots_dropped": pl.Int64,
    "usage": pl.Struct(dict.fromkeys(USAGE, pl.Int64)),
    "offset": pl.Int64,
}
LIKELIHOOD_SCHEMA = {**REPLY_SCHEMA, "choices": CHOICES, "contexts": pl.Int64}
CHUNK = 8 << 20
"""Bytes of predictions parsed at once: bounds memory, and small enough for malloc to use the same pages again."""

Piece = tuple[int, bytes, int]
"""Where in the file a block of bytes begins, the block, and where the last whole line in it ends."""

COLUMNS = ("id", "subset", "sample", "answer", "target", "score", "status")
LATER: Schema = {**{f"{name}_tokens": pl.Int64 for name in USAGE}, "cluster": pl.String, "pattern": pl.String, "offset": pl.Int64}
"""Columns that results of an older ocli do not have."""

NOT_ASKED = "not answered yet"


def items_frame(plan: TaskPlan) -> pl.DataFrame:
    """Return what scoring needs of the items, one row each, in the data's order."""
    items = plan.items
    return pl.DataFrame(
        {
            "id": [item.id for item in items],
            "subset": [item.subset for item in items],
            "groups": [list(item.groups) for item in items],
            "choices": [list(item.choices) for item in items],
            "target": [item.target for item in items],
            "accepted": [list(item.accepted) for item in items],
            "right": [item.right for item in items],
            "weights": [list(item.weights) for item in items],
            "cluster": [item.cluster for item in items],
        },
        schema=ITEM_SCHEMA,
    )


def reply_schema(task: TaskSpec) -> Schema:
    """Return the fields of a prediction line that a task's rules read."""
    return REPLY_SCHEMA if task.mode == "generate" else LIKELIHOOD_SCHEMA


def read_replies(path: Path, task: TaskSpec) -> pl.DataFrame:
    """Read a predictions file without its prompts; a torn last line is a reply that never arrived whole.

    ``offset`` is the byte in the file at which a reply's line begins.
    """
    schema = reply_schema(task)
    if not path.is_file():
        return pl.DataFrame(schema=schema)
    frames: list[pl.DataFrame] = []
    workers = os.cpu_count() or 1
    try:
        with open(path, "rb", buffering=0) as file, ThreadPoolExecutor(workers) as pool:
            chunks = whole_lines(file)
            while window := list(islice(chunks, 2 * workers)):  # a few at a time: the file may be larger than memory
                frames += pool.map(partial(read_lines, schema=schema), window)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    except pl.exceptions.PolarsError:
        raise RunError(_first_bad_line(path)) from None
    replies = pl.concat(frames) if frames else pl.DataFrame(schema=schema)
    return replies.unique(["id", "sample"], keep="last", maintain_order=True)


def read_lines(piece: Piece, schema: Schema) -> pl.DataFrame:
    """Parse the whole lines of a piece of a predictions file, each with its ``offset``; raise PolarsError where one is torn."""
    start, block, end = piece
    frame = pl.read_ndjson(io.BytesIO(memoryview(block)[:end]), schema=schema)
    offsets, begin = [], 0
    while begin < end:
        offsets.append(start + begin)
        begin = block.find(b"\n", begin) + 1
    return frame.with_columns(offset=pl.Series(offsets, dtype=pl.Int64))


def whole_lines(file: IO[bytes], chunk: int = CHUNK) -> Iterator[Piece]:
    """Yield the file in pieces of about ``chunk`` bytes, from where it stands to its last line end."""
    size = chunk
    while block := file.read(size):
        start = file.tell() - len(block)
        end = block.rfind(b"\n") + 1
        if end:
            yield start, block, end
            size = chunk
        elif len(block) < size:
            return
        else:
            size *= 2  # a line longer than a chunk
        file.seek(end - len(block), os.SEEK_CUR)


def _first_bad_line(path: Path) -> str:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                json.loads(line)
            except ValueError:
                return f"{path}:{number}: not a whole prediction line; 'ocli infer ... -r' drops it and asks that item again"
    return f"{path}: cannot be read as predictions (a field has another type than the contract says)"


def score_replies(items: pl.DataFrame, replies: pl.DataFrame, task: TaskSpec, samples: int = 1) -> pl.DataFrame:
    """Score each item's reply, or its ``samples``, by every rule of the task.

    Returns one row an item and sample, in the items' order: ``id, subset, sample, answer, target, score, status``, one column for
    each further rule, then ``groups``, ``key``, ``shots_dropped``, the tokens that the reply used (``USAGE``), ``cluster``,
    ``pattern``, the way of the first rule's extractor that read the answer (null where it has only one), and ``offset``, where
    the reply's line begins in the predictions file. ``score`` is the first rule's (0 to 1; of a perplexity the nats per unit,
    with a column of units beside it), null where the request failed.
    """
    replies = replies.rename({"choices": "likelihoods"}, strict=False).with_columns(pl.col("sample").fill_null(0))
    if "cluster" not in items.columns:  # asked by an older ocli
        items = items.with_columns(cluster=pl.lit(None, pl.String))
    asked = items.join(pl.DataFrame({"sample": range(samples)}, schema={"sample": pl.Int64}), how="cross", maintain_order="left")
    asked = asked.with_row_index("position").join(replies, on=["id", "sample"], how="left", maintain_order="left")
    asked = asked.with_columns(
        pl.col("shots_dropped").fill_null(0),
        pl.when(pl.col("key").is_null()).then(pl.lit(NOT_ASKED)).otherwise(pl.col("error")).alias("error"),
    )
    scored = _score_texts(asked, task) if task.mode == "generate" else _score_likelihoods(asked, task)
    scored = scored.with_columns(
        pl.when(pl.col("score" if number == 0 else rule.label).is_not_null())
        .then(pl.col("weights").list.get(number))
        .alias(units_of(rule))
        for number, rule in enumerate(task.score)
        if rule.weight
    )
    further = [column for rule in task.score[1:] for column in (rule.label, units_of(rule)) if column in scored.columns]
    units = [units_of(task.score[0])] if units_of(task.score[0]) in scored.columns else []
    told = [column for number in range(len(task.score)) for column in told_columns(task, number).values()]
    used = [pl.col("usage").struct.field(name).alias(f"{name}_tokens") for name in USAGE]
    return scored.select(
        *COLUMNS, *units, *further, *told, "groups", "key", "shots_dropped", *used, "cluster", "pattern", "offset"
    )


def lacking(columns: Collection[str]) -> list[pl.Expr]:
    """Return as nulls what the results of an older ocli, which have these columns, do not have."""
    return [pl.lit(None, kind).alias(name) for name, kind in LATER.items() if name not in columns]


def _score_likelihoods(asked: pl.DataFrame, task: TaskSpec) -> pl.DataFrame:
    """Score items by the likelihoods of their choices; the answer is the text of the one that the first rule prefers."""
    failed = pl.col("error").is_not_null()
    likelihoods = pl.when(~failed).then(pl.col("likelihoods"))
    scored = score_choices(asked.with_columns(likelihoods.alias("likelihoods")), task.score)
    compared = "answer0" in scored.columns
    answer = pl.col("choices").list.get(pl.col("answer0")) if compared else pl.lit(None, pl.String)
    told = pl.col("likelihoods").list.eval(pl.element().struct.field("logprob").is_not_null()).list.any()
    unanswered = pl.col("answer0").is_null() if compared else pl.col("score0").is_null() | ~told  # a server may tell of none
    status = pl.when(failed).then(pl.lit("failed")).when(unanswered).then(pl.lit("unanswered")).otherwise(pl.lit("ok"))
    labels = {"score" if number == 0 else rule.label: pl.col(f"score{number}") for number, rule in enumerate(task.score)}
    return scored.with_columns(answer.alias("answer"), pl.lit(None, pl.String).alias("pattern"), status.alias("status"), **labels)


def _score_texts(asked: pl.DataFrame, task: TaskSpec) -> pl.DataFrame:
    parts = [_score_part(part, tuple(part["choices"][0]), task) for part in _by_choices(asked)]
    return pl.concat(parts).sort("position") if parts else _score_part(asked, (), task)


def _by_choices(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """Split by what the questions offer: an extractor's patterns are built once for each set of choices."""
    offered = pl.col("choices").list.join("\n").alias("_offered")
    return [part.drop("_offered") for part in frame.with_columns(offered).partition_by("_offered", maintain_order=True)]


def _score_part(frame: pl.DataFrame, choices: tuple[str, ...], task: TaskSpec) -> pl.DataFrame:
    """Score the replies to questions that offer the same choices; where several answers are right, by the best of them."""
    failed = pl.col("error").is_not_null()
    text = pl.when(~failed).then(pl.col("text").fill_null(""))
    for number, rule in enumerate(task.score):
        # Answers first, as columns of their own: a metric may read its answer several times.
        read = _read(frame, text, choices, rule)
        frame = frame.with_columns(read["answer"].alias(f"_answer{number}"), read["pattern"].alias(f"_pattern{number}"))
    truncated = (pl.col("finish_reason") == "length").fill_null(value=False) | unclosed_thought(text).fill_null(value=False)
    status = (
        pl.when(failed)
        .then(pl.lit("failed"))
        .when(truncated)
        .then(pl.lit("truncated"))
        .when(pl.col("_answer0").is_null())
        .then(pl.lit("unanswered"))
        .otherwise(pl.lit("ok"))
    )
    frame = frame.with_columns(pl.col("_answer0").alias("answer"), pl.col("_pattern0").alias("pattern"), status.alias("status"))
    # A run of an older ocli has one target an item, and nearly every task has.
    several = "accepted" in frame.columns and bool((frame["accepted"].list.len() > 1).any())
    if several:
        frame = frame.explode("accepted")
    columns: dict[str, pl.Expr] = {}
    target = "accepted" if several else "target"
    for number, rule in enumerate(task.score):
        measure = metric.get(rule.metric.name, rule.metric.options)
        if metric.promises(rule.metric.name):
            told = measure(frame[f"_answer{number}"], frame[target], **rule.metric.options).rename({"score": f"_score{number}"})
            frame = frame.hstack(told.rename(names := told_columns(task, number)))
            columns |= {name: pl.when(~failed).then(pl.col(name)) for name in names.values()}
            score = pl.col(f"_score{number}")
        else:
            score = measure(pl.col(f"_answer{number}"), pl.col(target), **rule.metric.options)
        score = pl.when(~failed & pl.lit(task.labels)).then(score).cast(pl.Float64)  # what is right may not be public
        columns["score" if number == 0 else rule.label] = score.max().over("position") if several else score
    try:
        frame = frame.with_columns(**columns)
    except OcliError as error:  # a metric's own words, to which polars adds the expression that it stood in
        raise type(error)(str(error).partition("\n\n")[0]) from None
    return frame.unique("position", keep="first", maintain_order=True) if several else frame


def _read(frame: pl.DataFrame, text: pl.Expr, choices: tuple[str, ...], rule: Rule) -> pl.DataFrame:
    """Return what a rule's extractor reads of the replies: the columns ``answer`` and ``pattern``."""
    assert rule.extract is not None  # the schema's word for a generated reply
    extract = extractor.get(rule.extract.name, rule.extract.options)
    read = frame.select(reading(extract, text, choices, **rule.extract.options).alias("read")).unnest("read")
    return read.select("answer", "pattern")


def told_columns(task: TaskSpec, number: int) -> dict[str, str]:
    """Return what a rule's metric tells beside its score, and the columns of the results that it stands in."""
    rule = task.score[number]
    return {name: name if number == 0 else f"{rule.label}_{name}" for name in metric.promises(rule.metric.name)}


def runs_code(task: TaskSpec) -> bool:
    """Say whether the task is scored by running what the model wrote."""
    return any("verdict" in metric.promises(rule.metric.name) for rule in task.score)


def find_rules(task: TaskSpec) -> None:
    """Raise RecipeError when a rule names an extractor, a metric or an option that does not exist."""
    for rule in task.score:
        if rule.extract is not None:
            extractor.get(rule.extract.name, rule.extract.options)
            metric.get(rule.metric.name, rule.metric.options)


def check_rules(plan: TaskPlan) -> None:
    """Score silence once for each set of choices, so that a rule's mistake shows before a model is asked."""
    if plan.spec.mode != "generate":
        return
    first = {item.choices: item for item in reversed(plan.items)}
    for item in first.values():
        one = items_frame(replace(plan, items=[item]))
        silence = {"key": "", "id": item.id, "sample": 0, "text": "", "finish_reason": "stop", "error": None}
        try:
            score_replies(one, pl.DataFrame([silence], schema=REPLY_SCHEMA), plan.spec)
        except RecipeError as error:
            raise RecipeError(f"{plan.name}: {error} (row {item.id})") from None
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise RecipeError(f"{plan.name}: score: a rule cannot be used: {str(error).splitlines()[0]}") from None


class RunningScore:
    """The mean score of the replies so far, for the progress line: scored in small frames, not one by one.

    Perplexities are no part of it: they are on another scale; nor is what has no labels, or takes its time to score.
    """

    def __init__(self, plans: Sequence[TaskPlan]) -> None:
        plans = [plan for plan in plans if plan.spec.labels and plan.spec.score[0].metric.name not in PERPLEXITIES]
        plans = [plan for plan in plans if not any(metric.promises(rule.metric.name) for rule in plan.spec.score)]
        self._plans = {plan.name: plan for plan in plans}
        self._items = {plan.name: {item.id: item for item in plan.items} for plan in plans}
        self._fresh: dict[str, list[tuple[str, int, Reply]]] = {plan.name: [] for plan in plans}
        self._sum = 0.0
        self._count = 0

    def add(self, request: Request, reply: Reply) -> None:
        """Remember a good reply."""
        if request.task in self._fresh:
            self._fresh[request.task].append((request.id, request.sample, reply))

    def mean(self) -> float | None:
        """Return the mean of the headline scores, 0 to 100, of all replies so far (micro, over all tasks)."""
        for name, fresh in self._fresh.items():
            if fresh:
                plan, known = self._plans[name], self._items[name]
                items = items_frame(replace(plan, items=[known[item] for item in dict.fromkeys(item for item, *_ in fresh)]))
                replies = replies_frame([(item, reply) for item, _, reply in fresh], plan.spec)
                replies = replies.with_columns(pl.Series("sample", [sample for _, sample, _ in fresh], dtype=pl.Int64))
                scored = score_replies(items, replies, plan.spec, plan.spec.samples)
                scores = scored.filter(pl.col("key").is_not_null())["score"]  # other samples are still on their way
                self._sum += float(scores.sum())
                self._count += scores.len()
                fresh.clear()
        return 100 * self._sum / self._count if self._count else None


def replies_frame(replies: Sequence[tuple[str, Reply]], task: TaskSpec) -> pl.DataFrame:
    """Return good replies, each with its item's id, as ``read_replies`` would read them."""
    texts = [unbroken(reply.text) for _, reply in replies]
    columns = {"id": [item for item, _ in replies], "text": texts, "key": "", "sample": 0}
    if task.mode != "generate":
        columns["choices"] = [[scored.line() for scored in reply.choices or ()] for _, reply in replies]
    schema = reply_schema(task)
    return pl.DataFrame(columns, schema_overrides=schema).select(
        pl.col(name) if name in columns else pl.lit(None, kind).alias(name) for name, kind in schema.items()
    )
