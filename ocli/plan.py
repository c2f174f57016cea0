"""From tasks to requests: read the data, render every prompt once, and give each request its key.

A mistake in a template or a row is found here, before a model is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ocli import data
from ocli.errors import DataError, MissingDataError, PromptError
from ocli.items import Item, RowReader, examples, limited
from ocli.prompts import Prompt, Shot
from ocli.recipe import ModelSpec, Recipe
from ocli.task import SamplingSpec, TaskSpec
from ocli.types import MODEL_PART, Choice, Context, Request, Row, Sampling

Shots = dict[str | None, list[Shot]]
Fits = Callable[[Request], bool]


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
    data_sha256: dict[str, str] = field(default_factory=dict)
    """Per split, the sum of the files that were read."""

    def share(self, shard: str | None) -> TaskPlan:
        """Return the plan with only one share of its items: ``2/4`` is every fourth one, from the second on."""
        part, parts = map(int, shard.split("/")) if shard else (1, 1)
        return replace(self, items=self.items[part - 1 :: parts])

    def requests(
        self, model: ModelSpec, chat: bool, sampling: SamplingSpec, identity: Sequence[Any] = (), fits: Fits = lambda _: True
    ) -> Iterator[Request]:
        """Yield the requests subset by subset, so that shared prefixes stay together.

        ``sampling`` is the recipe's own layer; the model's and the task's lie below it. ``identity`` is the engine's: what
        decides a reply beside the prompt. ``fits`` says whether the model's context holds a request: where the task says
        ``on_overflow: drop_shots``, examples are dropped until it does, the last one first, as OpenCompass drops them.
        """
        settings = settled(sampling, model, self.spec)
        model_part = _sha(json.dumps([*identity, chat], ensure_ascii=False))[:MODEL_PART]
        render = _Rendering(self, model.system, chat, settings, model_part, needs_of(self.spec))
        for item in self.items:
            shots = self.shots[item.subset]
            request = render.request(item, shots)
            while shots and self.spec.on_overflow == "drop_shots" and not fits(request):
                shots = shots[:-1]
                request = render.request(item, shots)
            yield from render.samples(request)


@dataclass(frozen=True)
class _Rendering:
    """How one task's items become requests to one model."""

    plan: TaskPlan
    system: str | None
    chat: bool
    settings: Sampling
    model_part: str
    needs: dict[str, bool]

    def request(self, item: Item, shots: list[Shot]) -> Request:
        """Render an item after these examples. The first 8 digits of its key are the model's, the others the question's."""
        plan, spec = self.plan, self.plan.spec
        context: Context | None = None
        choices: tuple[Choice, ...] = ()
        if spec.mode == "generate":
            context = self._context(item.values, shots)
            oracle = plan.prompt.render("assistant", item.values)
            asked = _asked(self.settings, context)
        else:
            choices = self._choices(item, shots)
            oracle = choices[item.right].text if item.right is not None else ""
            asked = json.dumps([spec.mode, *self.needs.values(), spec.window, *_told(choices)], ensure_ascii=False)
        return Request(
            self.model_part + _sha(asked)[:24], plan.name, item.id, item.subset, 0, self.settings,
            messages=context if isinstance(context, tuple) else None,
            prompt=context if isinstance(context, str) else None,
            choices=choices, **self.needs, rolling=spec.mode == "perplexity", window=spec.window,
            shots_dropped=len(plan.shots[item.subset]) - len(shots), oracle=oracle, right=item.right,
        )  # fmt: skip

    def samples(self, request: Request) -> Iterator[Request]:
        """Yield a request as often as the task asks it, each time with a seed of its own: the sampling's (or 0), and one more."""
        count, first = self.plan.spec.samples, self.settings.seed or 0
        if count == 1:
            yield request
            return
        context: Context = request.messages if request.messages is not None else request.prompt or ""
        for sample in range(count):
            settings = replace(self.settings, seed=first + sample)
            key = self.model_part + _sha(_asked(settings, context))[:24]
            yield replace(request, key=key, sample=sample, sampling=settings)

    def _context(self, values: Row, shots: list[Shot]) -> Context:
        prompt, spec = self.plan.prompt, self.plan.spec
        if self.chat:
            return prompt.messages(values, shots, self.system, spec.fewshot.as_ == "text")
        return prompt.text(values, shots, self.system, spec.join) + (spec.join.reply if spec.mode == "generate" else "")

    def _choices(self, item: Item, shots: list[Shot]) -> tuple[Choice, ...]:
        """Render the prompt once for each choice, which it calls ``target``. A text for perplexity stands alone."""
        spec = self.plan.spec
        if spec.mode == "perplexity":
            return (Choice("", self.plan.prompt.text(item.values, (), join=spec.join)),)
        made: list[Choice] = []
        for choice in item.choices:
            values = {**item.values, "target": choice}
            context = self._context(values, shots)
            if made and made[-1].context == context:
                context = made[-1].context  # one text in memory, not one a choice
            joint = "" if self.chat or not context else spec.join.answer
            made.append(Choice(context, joint + self.plan.prompt.render("assistant", values), item.baseline))
        return tuple(made)


def settled(sampling: SamplingSpec, model: ModelSpec, task: TaskSpec) -> Sampling:
    """Return how a model's replies to a task are drawn: the recipe's settings over the model's over the task's."""
    return sampling.over(model.sampling.over(task.sampling)).resolve(model.generation_config)


def needs_of(spec: TaskSpec) -> dict[str, bool]:
    """Return what a task's rules need of its choices' likelihoods, under the names that a request has for it."""
    return {
        "whole": any(rule.by == "sequence_mean" for rule in spec.score),
        "single": any(rule.by == "clp" for rule in spec.score),
        "greedy": any(rule.metric.name == "greedy" for rule in spec.score),
    }


def plan_tasks(recipe: Recipe, note: Callable[[str], None] = lambda _: None) -> list[TaskPlan]:
    """Read and check the data of every task; ``note`` is told what was found. All tasks without data are one error."""
    plans: list[TaskPlan] = []
    missing: dict[str, MissingDataError] = {}
    for name, spec in recipe.tasks.items():
        try:
            plan = plan_task(name, spec, recipe)
        except MissingDataError as error:
            missing[name] = error
            continue
        picked = f"{len(plan.items)} of {plan.total} items" if recipe.limit else f"{plan.total} items"
        note(f"{name}: {picked} from {', '.join(dict.fromkeys(plan.origin.values()))}")
        if spec.published not in (None, plan.total):
            note(f"{name}: the data has {plan.total} items, but {spec.published} are published: fetch it again, or mend 'items'")
        plans.append(plan)
    if missing:
        names, [first, *_] = ",".join(missing), missing.values()
        lead = f"{len(missing)} of {len(recipe.tasks)} tasks have no data ({names}); --set skip=[{names}] leaves them out. "
        raise MissingDataError(f"{lead if plans else ''}{first}")
    return plans


def plan_task(name: str, spec: TaskSpec, recipe: Recipe) -> TaskPlan:
    """Read one task's data, evaluate its fields and render its prompts; what goes wrong names its row."""
    prompt = Prompt(spec.prompt)
    rows = data.load(name, spec, recipe.data_dir, recipe.offline)
    reader = RowReader(name, spec)
    splits = spec.data.splits
    asked = {subset: reader.questions(subset, part, splits.test) for subset, part in rows.test.items()}
    items = [reader.item(subset, index, row, spec.labels) for subset, part in asked.items() for index, row in part]
    if not items:
        raise DataError(f"{name}: no question is left of {', '.join(dict.fromkeys(rows.origin.values()))}")
    shots: Shots = {subset: [] for subset in asked}
    for subset, part in rows.fewshot.items():
        shown = reader.questions(subset, part, splits.fewshot or "")
        chosen = examples(name, spec, subset, shown, asked[subset], recipe.seed)
        shots[subset] = [prompt.shot(reader.example(subset, index, row)) for index, row in chosen]
    sampling = recipe.sampling.over(spec.sampling).model_dump(exclude_none=True) if spec.mode == "generate" else {}
    join = spec.join.model_dump(exclude=None if spec.join.reply else {"reply"})
    protocol = [sampling, spec.fewshot.as_, spec.mode, join, spec.window, spec.on_overflow]
    digest = _digest(prompt, spec, items, shots, protocol)
    picked = limited(items, recipe.limit, f"{recipe.seed}/{name}")
    return TaskPlan(name, spec, prompt, picked, shots, len(items), rows.origin, digest, rows.sha256)


def _digest(prompt: Prompt, spec: TaskSpec, items: list[Item], shots: Shots, protocol: list[Any]) -> str:
    """Hash every item as it is asked. The same questions give the same digest wherever their rows come from."""
    whole = hashlib.sha256(json.dumps([protocol, [[subset, shots[subset]] for subset in shots]], sort_keys=True).encode())
    for item in items:
        # Likelihoods: the prompt is rendered once for each choice, and a text for perplexity has no answer.
        values = [{**item.values, "target": choice} for choice in item.choices] if spec.mode == "loglikelihood" else [item.values]
        blocks = ("user", "system") if spec.mode == "perplexity" else ("user", "system", "assistant")
        try:
            rendered = [[prompt.render(block, one) for block in blocks] for one in values]
        except PromptError as error:
            raise PromptError(f"{error} (item {item.id})") from None
        if len(set(item.choices)) > 1 and spec.mode == "loglikelihood" and all(one == rendered[0] for one in rendered):
            raise PromptError(f"{prompt.path}: writes the same for every choice of item {item.id}; it must show {{{{ target }}}}")
        if spec.mode == "perplexity" and not any(rendered[0]):
            raise PromptError(f"{prompt.path}: writes nothing for item {item.id}, so there is no text to score")
        whole.update(
            json.dumps([item.id, rendered, item.accepted or item.target, item.choices, item.right, item.baseline]).encode()
        )
    return whole.hexdigest()


def version(spec: TaskSpec, digest: str) -> str:
    """Return six hex digits over all that a score depends on, but for the model: what is asked, and the rules."""
    rules = [rule.model_dump(mode="json", exclude_none=True) for rule in spec.score]
    return _sha(json.dumps([digest, spec.version, rules], sort_keys=True))[:6]


def _sha(text: str) -> str:
    # Half a surrogate pair can stand in JSON data, and must not stop a run.
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _asked(settings: Sampling, context: Context) -> str:
    return f"{json.dumps(vars(settings), ensure_ascii=False)}\n{_dump(context)}"


def _told(choices: Sequence[Choice]) -> Iterator[list[Any]]:
    """Yield what is asked of each choice; a context that is the one before is not repeated."""
    before: Context | None = None
    for choice in choices:
        yield [None if choice.context is before else choice.context, choice.text, choice.baseline]
        before = choice.context


def _dump(context: Context) -> str:
    return context if isinstance(context, str) else json.dumps(context, ensure_ascii=False)


def describe(request: Request) -> dict[str, Any]:
    """Return the prompt part of a prediction line: ``messages`` for a chat model, ``prompt`` for a base model.

    Where choices stand after different contexts, it is a list with one for each of them, and ``contexts`` counts them.
    """
    contexts: list[Context | None] = [choice.context for choice in request.choices]
    if not contexts:
        contexts = [request.messages if request.messages is not None else request.prompt]
    name = "messages" if isinstance(contexts[0], tuple) else "prompt"
    if all(context == contexts[0] for context in contexts):
        return {name: contexts[0]}
    return {"contexts": len(contexts), name: contexts}
