"""From tasks to requests: read the data, render every prompt once, and give each request its key.

A mistake in a template or a row is found here, before a model is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ocli import data
from ocli.errors import PromptError
from ocli.items import Item, RowReader, examples, limited
from ocli.prompts import Prompt, Shot
from ocli.recipe import ModelSpec, Recipe, SamplingSpec, TaskSpec
from ocli.types import Request

Shots = dict[str | None, list[Shot]]


@dataclass(frozen=True)
class TaskPlan:
    """A task with its items and, per subset, the rendered examples. ``total`` counts the items before ``limit``."""

    name: str
    spec: TaskSpec
    prompt: Prompt
    items: list[Item]
    shots: Shots
    total: int
    origin: dict[str, str]
    digest: str
    """SHA-256 over all that is asked and what is right: every rendered question, example, answer, and the sampling."""

    def requests(self, model: ModelSpec, chat: bool, sampling: SamplingSpec, identity: Sequence[Any] = ()) -> Iterator[Request]:
        """Yield the requests subset by subset, so that shared prefixes stay together.

        ``sampling`` is the recipe's own layer; the model's and the task's lie below it. ``identity`` is the engine's: what
        decides a reply beside the prompt. The first 8 digits of a key are the model's, the other 24 the question's.
        """
        settings = sampling.over(model.sampling.over(self.spec.sampling)).resolve(model.generation_config)
        model_part = _sha(json.dumps([*identity, chat], ensure_ascii=False))[:8]
        head = json.dumps(asdict(settings), ensure_ascii=False)
        as_text = self.spec.fewshot.as_ == "text"
        for item in self.items:
            shots = self.shots[item.subset]
            messages, prompt = None, None
            if chat:
                messages = self.prompt.messages(item.values, shots, model.system, as_text)
                rendered = json.dumps(messages, ensure_ascii=False)
            else:
                prompt = rendered = self.prompt.text(item.values, shots, model.system)
            oracle = self.prompt.render("assistant", item.values)
            key = model_part + _sha(f"{head}\n{rendered}")[:24]
            yield Request(key, self.name, item.id, item.subset, 0, settings, messages, prompt, oracle)


def plan_tasks(recipe: Recipe, note: Callable[[str], None] = lambda _: None) -> list[TaskPlan]:
    """Read and check the data of every task; ``note`` is told what was found."""
    plans = []
    for name, spec in recipe.tasks.items():
        plan = plan_task(name, spec, recipe)
        picked = f"{len(plan.items)} of {plan.total} items" if recipe.limit else f"{plan.total} items"
        note(f"{name}: {picked} from {', '.join(dict.fromkeys(plan.origin.values()))}")
        plans.append(plan)
    return plans


def plan_task(name: str, spec: TaskSpec, recipe: Recipe) -> TaskPlan:
    """Read one task's data, evaluate its fields and render its prompts; what goes wrong names its row."""
    prompt = Prompt(spec.prompt)
    rows = data.load(name, spec, recipe.data_dir, recipe.offline)
    reader = RowReader(name, spec)
    items = [reader.item(subset, index, row) for subset, part in rows.test.items() for index, row in enumerate(part)]
    shots: Shots = {subset: [] for subset in rows.test}
    for subset, part in rows.fewshot.items():
        chosen = examples(name, spec, subset, part, rows.test[subset], recipe.seed)
        shots[subset] = [prompt.shot(reader.values(subset, index, row)) for index, row in chosen]
    settings = recipe.sampling.over(spec.sampling)
    digest = _digest(prompt, items, shots, [settings.model_dump(exclude_none=True), spec.fewshot.as_])
    picked = limited(items, recipe.limit, f"{recipe.seed}/{name}")
    return TaskPlan(name, spec, prompt, picked, shots, len(items), rows.origin, digest)


def _digest(prompt: Prompt, items: list[Item], shots: Shots, settings: list[Any]) -> str:
    """Hash every item as it is asked. The same questions give the same digest wherever their rows come from."""
    whole = hashlib.sha256(json.dumps([settings, [[subset, shots[subset]] for subset in shots]], sort_keys=True).encode())
    for item in items:
        try:
            rendered = prompt.text(item.values, ()), prompt.render("assistant", item.values)
        except PromptError as error:
            raise PromptError(f"{error} (item {item.id})") from None
        whole.update(json.dumps([item.id, *rendered, item.target, item.choices]).encode())
    return whole.hexdigest()


def version(spec: TaskSpec, digest: str) -> str:
    """Return six hex digits over all that a score depends on, but for the model: what is asked, and the rules."""
    rules = [rule.model_dump(mode="json") for rule in spec.score]
    return _sha(json.dumps([digest, spec.version, rules], sort_keys=True))[:6]


def _sha(text: str) -> str:
    # Half a surrogate pair can stand in JSON data, and must not stop a run.
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def describe(request: Request) -> dict[str, Any]:
    """Return the prompt part of a prediction line: ``messages`` for a chat model, ``prompt`` for a base model."""
    return {"messages": list(request.messages)} if request.messages is not None else {"prompt": request.prompt}
