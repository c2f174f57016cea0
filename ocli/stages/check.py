"""Prove tasks without an engine: schema, data and prompts, that the right answers score 1 and that silence scores nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from ocli.engines import ask
from ocli.engines.echo import Engine
from ocli.errors import ConsentError, MissingDataError, OcliError
from ocli.items import Item
from ocli.plan import TaskPlan, plan_task
from ocli.recipe import ModelSpec, Recipe
from ocli.registry import extractor
from ocli.scoring import check_rules, find_rules, items_frame, replies_frame, score_replies
from ocli.task import SamplingSpec
from ocli.types import Reply


@dataclass(frozen=True)
class Verdict:
    """What was found of a task: ``ok``, ``no data``, ``unproven``, or ``wrong`` with the reason."""

    task: str
    word: str
    text: str


def check(name: str, load: Callable[[], Recipe]) -> Iterator[Verdict]:
    """Yield a verdict for each task of what ``load`` gives, as soon as it is found; ``name`` is what cannot be loaded at all."""
    try:
        recipe = load()
    except OcliError as error:
        yield Verdict(name, "wrong", _without(name, error))
        return
    for task, spec in recipe.tasks.items():
        try:
            find_rules(spec)
            plan = plan_task(task, spec, recipe)
        except OcliError as error:
            yield Verdict(task, "no data" if isinstance(error, MissingDataError) else "wrong", _without(task, error))
            continue
        try:
            problem = problem_of(plan)
        except ConsentError:
            yield Verdict(task, "unproven", f"{_described(plan)}; its right answers are programs: --allow-code-exec runs them")
            continue
        yield Verdict(task, "wrong" if problem else "ok", problem or _described(plan))


def _without(task: str, error: OcliError) -> str:
    """Return an error's words in one line, without the task's name, which stands before them already."""
    return " | ".join(str(error).removeprefix(f"{task}: ").splitlines())


def _has_oracle(plan: TaskPlan) -> bool:
    """Say whether the prompt has a right answer to say: without an assistant block, any reply may be right (IFEval)."""
    return plan.spec.mode != "generate" or "assistant" in plan.prompt.blocks


def _described(plan: TaskPlan) -> str:
    subsets = len(plan.shots)
    words = [f"{len(plan.items)} items", f"{subsets} subsets" if subsets > 1 else "", f"{plan.spec.fewshot.count} shots"]
    words += [] if _has_oracle(plan) else ["no right answer to try"]
    return ", ".join(word for word in (*words, *dict.fromkeys(plan.origin.values())) if word)


def problem_of(plan: TaskPlan) -> str | None:
    """Ask the echo engine for right answers and for silence; return what is wrong with their scores.

    Raises ConsentError where the right answers are programs and nobody has allowed them to run.
    """
    published = plan.spec.published
    if published not in (None, plan.total):
        return f"has {plan.total} items, but {published} are published; fetch the data again, or look at data.where"
    try:
        check_rules(plan)
        if plan.spec.mode == "perplexity" or not plan.spec.labels:
            return None  # there is no right answer: that every text is written is known from planning
        items = items_frame(plan)
        replies = asyncio.run(_asked(plan, ("oracle", "silent") if _has_oracle(plan) else ("silent",)))
        *right, silent = (score_replies(items, replies_frame(told, plan.spec), plan.spec) for told in replies)
    except ConsentError:
        raise
    except OcliError as error:
        return _without(plan.name, error)
    for said, scored in [*(("the right answer", scored) for scored in right), *_in_other_words(plan, items)]:
        missed = scored.filter((pl.col("score") != 1) | (pl.col("status") != "ok"))
        if not missed.is_empty():
            row = missed.row(0, named=True)
            return (
                f"{said} scores {row['score']:g} on {missed.height} of {scored.height} items; the first is {row['id']}, "
                f"where {row['answer']!r} is read and {row['target']!r} is right"
            )
    loud = silent.filter((pl.col("score") != 0) | (pl.col("status") != "unanswered"))
    if not loud.is_empty():
        row = loud.row(0, named=True)
        return f"silence scores {row['score']:g} on item {row['id']} ({row['status']}); it must score 0 and be unanswered"
    return None


def _in_other_words(plan: TaskPlan, items: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the scores of right answers in each form that the headline rule's extractor promises to read."""
    extract = plan.spec.score[0].extract
    forms = extractor.promises(extract.name) if extract else ()
    answers = [(item.id, _said(plan, item)) for item in plan.items] if forms else []
    headline = plan.spec.model_copy(update={"score": plan.spec.score[:1]})
    for form in forms:
        told = [(key, Reply(form.replace("{}", answer))) for key, answer in answers]
        yield f"the right answer as {form!r}", score_replies(items, replies_frame(told, headline), headline)


def _said(plan: TaskPlan, item: Item) -> str:
    """Return the right answer; of a target with parts, which a metric reads as a JSON object, what the prompt answers."""
    parts = item.target.startswith('{"') and item.target.endswith("}")
    return plan.prompt.render("assistant", item.values) if parts else item.target


async def _asked(plan: TaskPlan, saying: Sequence[str]) -> list[list[tuple[str, Reply]]]:
    """Return what the echo engine replies to every item, for each of the things that it can say."""
    engines = [Engine(ModelSpec(engine="echo", path=says)) for says in saying]
    replies: list[list[tuple[str, Reply]]] = [[] for _ in engines]
    for request in plan.requests(engines[0].spec, engines[0].chat, SamplingSpec()):
        for engine, told in zip(engines, replies, strict=True):
            told.append((request.id, await ask(engine, request)))
    return replies
