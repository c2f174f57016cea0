"""Print one catalog thing: a model, a suite, a recipe, or a task with a prompt as the engine will see it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import yaml
from pydantic import BaseModel

from ocli import catalog, documents
from ocli.errors import NotFoundError, OcliError, did_you_mean
from ocli.plan import plan_task, version
from ocli.recipe import ModelSpec, Recipe
from ocli.rows import is_data_file
from ocli.task import SamplingSpec, TaskSpec
from ocli.types import Context, Request


def show_name(name: str, row: int, model: str | None, data_dir: str | None, offline: bool) -> Iterator[str]:
    """Yield the lines that describe a name, whatever kind it is."""
    kinds = [kind for kind in catalog.KINDS if name in {entry.name for entry in catalog.entries(kind)}]
    if is_data_file(name) or "tasks" in kinds:
        [(task, spec)] = catalog.load_tasks(name)
        yield from _task(task, spec, row, model, data_dir, offline)
    elif "models" in kinds or name.partition(":")[2]:
        yield from _yaml(catalog.load_model(name)[1])
    elif kinds:
        yield catalog.find(kinds[0], name).path.read_text(encoding="utf-8").rstrip()
    elif name.endswith(documents.SUFFIXES):
        yield yaml.safe_dump(catalog.read_document("tasks", name).data, allow_unicode=True, sort_keys=False).rstrip()
    else:
        known = [entry.name for kind in catalog.KINDS for entry in catalog.entries(kind)]
        raise NotFoundError(f"nothing is called {name!r}{did_you_mean(name, known)}; 'ocli list' shows everything")


def _yaml(spec: BaseModel) -> Iterator[str]:
    data = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    yield yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=120).rstrip()


def _task(name: str, spec: TaskSpec, row: int, model: str | None, data_dir: str | None, offline: bool) -> Iterator[str]:
    shown = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    subsets = shown["data"].pop("subsets", None)
    if subsets:
        shown["data"]["subsets"] = f"{len(subsets)}: {', '.join(list(subsets)[:3])}, ..."
    yield yaml.safe_dump({"name": name, **shown}, allow_unicode=True, sort_keys=False, width=120).rstrip()
    model_spec = catalog.load_model(model)[1] if model else ModelSpec(engine="echo")
    recipe = Recipe(name="show", models={"model": model_spec}, tasks={name: spec}, data_dir=data_dir, offline=offline)
    try:
        plan = plan_task(name, spec, recipe)
    except OcliError as error:
        yield f"\n(no prompt to show: {error})"
        return
    if row >= len(plan.items):
        raise OcliError(f"{name}: has no item {row}; it has {len(plan.items)} (0 to {len(plan.items) - 1})")
    chat = model_spec.chat is not False
    request = next(islice(plan.requests(model_spec, chat, SamplingSpec()), row, None))
    kind = "chat model: its turns before the model's own chat template" if chat else "base model"
    yield f"\nversion {version(spec, plan.digest)}; item {request.id} of {plan.total}, for a {kind}"
    if request.oracle:
        yield f"right answer: {request.oracle!r}"
    yield from show_request(request)


def show_request(request: Request) -> Iterator[str]:
    """Yield the lines of a prompt, as turns or as one text, and of the choices after it."""
    if not request.choices:
        yield from _context(request.messages if request.messages is not None else request.prompt or "")
    for number, choice in enumerate(request.choices):
        if number == 0 or choice.context != request.choices[number - 1].context:  # a common context is written once
            yield from _context(choice.context)
        baseline = f", and after {choice.baseline!r}" if choice.baseline is not None else ""
        right = " (right)" if number == request.right else ""
        yield f"\n--- choice {number}{right}{baseline}\n{choice.text!r}"


def _context(context: Context) -> Iterator[str]:
    if isinstance(context, str):
        yield f"\n---\n{context}"
        return
    for message in context:
        yield f"\n--- {message['role']}\n{message['content']}"
