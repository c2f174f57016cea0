"""Ask every request of a recipe and keep every reply: one asyncio loop a model, all its tasks as one stream."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product

from ocli import engines
from ocli.cost import Account, Purse
from ocli.engines import Engine
from ocli.errors import EngineError, RecipeError, RunError
from ocli.plan import TaskPlan, plan_tasks, settled
from ocli.recipe import ModelSpec, Recipe
from ocli.runs import Run, keep_valid, usages, versions, write_whole
from ocli.scoring import check_rules, find_rules, items_frame
from ocli.stages import record
from ocli.stages.progress import Screen
from ocli.stages.quiet import diverted, last_error
from ocli.stages.stream import Stream
from ocli.types import Request

Say = Callable[[str], None]
Done = dict[str, set[tuple[str, int]]]
"""Per task, the (id, sample) pairs that need not be asked again."""


@dataclass
class Outcome:
    """How many requests a stage asked, found already answered, and saw fail; and which models could not be asked at all."""

    asked: int = 0
    kept: int = 0
    failed: int = 0
    broken: int = 0
    unpaid: int = 0
    """Left unasked because the budget was spent."""


def prepare(recipe: Recipe, say: Say) -> tuple[list[TaskPlan], Purse]:
    """Find and check all that can be wrong before an engine is loaded: rules, budget, data, prompts."""
    for task in recipe.tasks.values():
        find_rules(task)
    purse = _open_purse(recipe)
    plans = plan_tasks(recipe, say)
    for plan in plans:
        check_rules(plan)
    for (model, spec), (name, task) in product(recipe.models.items(), recipe.tasks.items()):
        if task.samples > 1 and settled(recipe.sampling, spec, task).temperature == 0:
            say(
                f"{model}, {name}: {task.samples} samples at temperature 0 are all the same; --set sampling.temperature=0.7 draws"
            )
    return plans, purse


def infer(
    recipe: Recipe, run: Run | None, say: Say, debug: bool = False, began: Callable[[Run], None] = lambda _: None
) -> tuple[Run, Outcome]:
    """Ask what is not answered yet. With ``run`` that run is resumed, else a new one is made once the data is found.

    ``began`` is told the run before its first model is started.
    """
    if recipe.offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
        _refuse_servers(recipe)
    if run is not None:
        _refuse_another_recipe(run, recipe)
    loaded = {name: engines.load(spec) for name, spec in recipe.models.items()}
    for engine in loaded.values():
        engine.check(recipe.tasks)
    plans, purse = prepare(recipe, say)
    models = run.recipe().record.get("models", {}) if run is not None else {}
    known = {"models": dict(models), "tasks": {plan.name: record.of_task(plan) for plan in plans}}
    recipe = recipe.model_copy(update={"record": known, "versions": versions(record.PACKAGES)})
    resumed = run is not None
    if run is None:
        run = Run.create(recipe)
        run.save(recipe)
    say(f"run: {run.path}")
    began(run)
    outcome = Outcome()
    for name, engine in loaded.items():
        account = purse.open(recipe.models[name].price)
        asking = Asking(name, engine, recipe, plans, run, resumed, debug, account)
        try:
            if not purse.empty:
                _ask_model(asking, outcome)
            else:
                say(f"{name}: not asked, for the budget is spent")
                outcome.unpaid += 1
        except EngineError as error:
            outcome.broken += 1
            if outcome.broken == len(loaded) or debug:
                raise
            say(f"ocli: {name}: {error}")  # the other models are worth their table
    return run, outcome


@dataclass(frozen=True)
class Asking:
    """One model to be asked all tasks of a run."""

    model: str
    engine: Engine
    recipe: Recipe
    plans: list[TaskPlan]
    run: Run
    resumed: bool
    debug: bool
    account: Account

    @property
    def spec(self) -> ModelSpec:
        """The model as the recipe has it."""
        return self.recipe.models[self.model]

    def requests(self, plan: TaskPlan) -> Iterator[Request]:
        """All requests of one task, as this engine is asked them."""
        engine = self.engine
        identity = engine.identity + (engine.likelihood_identity if plan.spec.mode != "generate" else [])
        return plan.requests(self.spec, engine.chat, self.recipe.sampling, identity, engine.fits)

    def save_record(self) -> None:
        """Write into the run's recipe what the engine has decided, and how the first request of each task is sent."""
        firsts = (next(self.requests(plan)) for plan in self.plans)
        models = self.recipe.record["models"]
        models[self.model] = record.of_model(self.engine, firsts, models.get(self.model, {}))
        self.run.save(self.recipe)

    @property
    def shares(self) -> list[TaskPlan]:
        """The tasks with the items that this process is to ask."""
        return [plan.share(self.recipe.shard) for plan in self.plans]

    def left(self, done: Done) -> Iterator[Request]:
        """The requests of all tasks that are not answered yet."""
        for plan in self.shares:
            for request in self.requests(plan):
                if (request.id, request.sample) not in done[plan.name]:
                    yield request


def _ask_model(asking: Asking, outcome: Outcome) -> None:
    """Run one model with everything but ocli's own lines going into the log."""
    log = asking.run.path / "logs" / "infer.log"
    live = sys.stdout.isatty() and sys.stderr.isatty()
    try:
        with nullcontext(sys.stderr) if asking.debug else diverted(log) as stream:
            interrupted = asyncio.run(_infer(asking, outcome, Screen(stream, live)))
        if interrupted:
            raise KeyboardInterrupt
    except BaseException as error:
        asking.run.log("infer", f"{asking.model}: stopped: {type(error).__name__}: {error}")
        reason = last_error(log) if isinstance(error, EngineError) and asking.spec.engine == "vllm" else ""
        if reason and reason not in str(error):
            raise EngineError(f"{error} ({reason}); the whole story is in {log}") from error
        raise


async def _infer(asking: Asking, outcome: Outcome, screen: Screen) -> bool:
    """Ask one model; return whether the user stopped it."""
    engine, run, model = asking.engine, asking.run, asking.model
    try:
        await engine.start()
        screen.say(f"{model}: {record.describe(asking.spec, engine)}")
        run.log("infer", f"{model}: engine {asking.spec.engine} started: {engine.record}")
        done = {plan.name: _already_done(asking, plan, screen) for plan in asking.shares}
        for plan in asking.plans:
            _save_items(run, model, plan)
        asking.save_record()
        kept = sum(map(len, done.values()))
        if asking.resumed:
            for plan in asking.shares:
                asking.account.add_all(usages(run.predictions(model, plan.name)))
        stream = Stream(model, run, asking.shares, kept, asking.account, screen, asking.debug)
        try:
            await stream.drain(engine, asking.left(done))
        finally:
            asking.save_record()  # engines learn while they answer which settings take effect
            for line in stream.notes():
                screen.say(f"{model}: {line}")
            outcome.asked += stream.asked
            outcome.failed += stream.progress.errors
            outcome.kept += kept
            run.log("infer", f"{model}: {stream.asked} asked, {stream.progress.errors} failed, {kept} kept")
        left = 0 if stream.interrupted else stream.progress.total - stream.progress.done
        outcome.unpaid += left
        if left:
            screen.say(f"{model}: the budget is spent, {left} questions are not asked; {asking.account.describe()}")
        return stream.interrupted
    finally:
        await engine.close()


def _open_purse(recipe: Recipe) -> Purse:
    """Return what the run may spend; raise RecipeError where its money cannot be counted."""
    if recipe.budget.cost is not None:
        for name, spec in recipe.models.items():
            if spec.price is None:
                raise RecipeError(
                    f"budget.cost: model {name} has no 'price'; say it (price: {{input: ..., output: ...}} per million tokens)"
                )
        if len({spec.price.currency for spec in recipe.models.values() if spec.price}) > 1:
            raise RecipeError("budget.cost: the models' prices are in several currencies; write them in one")
    return Purse(recipe.budget)


def _refuse_servers(recipe: Recipe) -> None:
    for name, spec in recipe.models.items():
        if spec.engine == "openai":
            raise EngineError(f"--offline opens no socket, but model {name} is a server at {spec.base_url or 'api.openai.com'}")


def _refuse_another_recipe(run: Run, recipe: Recipe) -> None:
    """Going on must not make models or tasks of a run vanish from its report."""
    before = run.recipe()
    for kind, old, new in (("model", before.models, recipe.models), ("task", before.tasks, recipe.tasks)):
        gone = [name for name in old if name not in new]
        if gone:
            raise RunError(f"{run.path} has the {kind} {', '.join(gone)}, this command has not; -r goes on with the same command")


def _save_items(run: Run, model: str, plan: TaskPlan) -> None:
    buffer = io.BytesIO()
    items_frame(plan).write_parquet(buffer)
    write_whole(run.items(model, plan.name), [buffer.getvalue()])


def _already_done(asking: Asking, plan: TaskPlan, screen: Screen) -> set[tuple[str, int]]:
    """Keep the replies to exactly what would be asked now; a changed prompt, model or setting is asked again."""
    path = asking.run.predictions(asking.model, plan.name)
    if not asking.resumed or not path.is_file():
        return set()
    planned = {(request.id, request.sample): request.key for request in asking.requests(plan)}
    kept, stale = keep_valid(path, planned)
    if stale:
        screen.say(f"{asking.model}, {plan.name}: {stale} replies were to another question and are now in {path.name}.old")
    return kept
