"""What a run would ask, estimated before anything is: requests, tokens, money, and the first prompt."""

from __future__ import annotations

from collections.abc import Iterator

from ocli.cost import Spent, estimate_tokens
from ocli.paired import USUAL_SPREAD, smallest_difference
from ocli.plan import TaskPlan
from ocli.recipe import ModelSpec, Recipe
from ocli.stages.infer import prepare
from ocli.stages.show import show_request
from ocli.stages.tables import Row, aligned
from ocli.task import SamplingSpec
from ocli.types import Request, Usage


def dry_run(recipe: Recipe) -> Iterator[str]:
    """Yield the lines: a table of requests, estimated tokens, the difference they can show, and the cost; then a prompt.

    The difference is the smallest true one, in points, that two models' replies to these questions show with 80 % power. No
    engine is started, so that a model which does not say ``chat`` is taken for a chat model. Prompts are counted without the
    model's own tokenizer and chat template, completions as long as the settings allow.
    """
    plans, _ = prepare(recipe, lambda _: None)
    shares = [plan.share(recipe.shard) for plan in plans]
    rows: list[Row] = [("model", "task", "requests", "prompt tokens", "completion tokens", "can show", "")]
    for name, model in recipe.models.items():
        counts = [_count(plan, model, recipe.sampling) for plan in shares]
        rows += [_row(name, plan.name, spent, _can_show(plan)) for plan, spent in zip(shares, counts, strict=True)]
        if len(counts) > 1:
            whole = Spent(model.price)
            for spent in counts:
                whole.include(spent)
            rows.append(_row(name, "all", whole, ""))
    yield from aligned(rows, right=(2, 3, 4, 5, 6))
    name, model = next(iter(recipe.models.items()))
    yield f"\nthe first prompt of {plans[0].name}, as {name} gets it:"
    yield from show_request(next(_requests(shares[0], model, recipe.sampling)))


def _requests(plan: TaskPlan, model: ModelSpec, sampling: SamplingSpec) -> Iterator[Request]:
    return plan.requests(model, model.chat is not False, sampling)


def _count(plan: TaskPlan, model: ModelSpec, sampling: SamplingSpec) -> Spent:
    """Count what one task would use: prompts about, completions at most."""
    spent = Spent(model.price)
    for request in _requests(plan, model, sampling):
        if not request.choices:
            asked = request.messages if request.messages is not None else request.prompt or ""
            spent.add(Usage(estimate_tokens(asked), None, request.sampling.max_tokens))
        elif model.engine == "openai":  # a server is asked each choice with its whole context
            spent.add_all(Usage(estimate_tokens(one.context) + estimate_tokens(one.text), None, 1) for one in request.choices)
        else:
            contexts = {id(one.context): one.context for one in request.choices}
            texts = [*contexts.values(), *(one.text for one in request.choices)]
            spent.add(Usage(sum(map(estimate_tokens, texts)), None, 0))
    return spent


def _can_show(plan: TaskPlan) -> str:
    """Return the smallest difference between two models that so many questions can be expected to show."""
    if plan.spec.mode == "perplexity" or not plan.spec.labels:
        return ""
    return f"{100 * smallest_difference(USUAL_SPREAD / len(plan.items) ** 0.5):.1f} points"


def _row(model: str, task: str, spent: Spent, can_show: str) -> Row:
    least = Spent(spent.price, prompt=spent.prompt)
    cost = f"{least.bill} to {spent.bill}" if spent.price else ""
    return model, task, f"{spent.requests:,}", f"about {spent.prompt:,}", f"at most {spent.completion:,}", can_show, cost
