"""The requests of one model on their way: bounded in flight, every reply in its file before the next one is asked."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from contextlib import suppress

from ocli.cost import Account
from ocli.engines import Engine, ask, waiting
from ocli.errors import EngineError, OcliError
from ocli.plan import TaskPlan
from ocli.runs import Predictions, Run, to_line
from ocli.scoring import RunningScore
from ocli.stages.progress import Progress, Screen
from ocli.types import Reply, Request

HOPELESS = 32
"""When the first so many replies are all the same failure, the run is stopped: the rest would fail too, and may cost money."""


NAMED = 5
"""So many failed items are named for each kind of error; the predictions file has them all."""


class Stream:
    """Asks the requests of all tasks and writes each reply the moment it arrives."""

    def __init__(
        self, model: str, run: Run, plans: list[TaskPlan], kept: int, account: Account, screen: Screen, debug: bool
    ) -> None:
        self.asked = 0
        self._account = account
        self.interrupted = False
        self._debug = debug
        self._first_errors: set[str | None] = set()
        self._adapted: dict[str, str] = {}
        self._failed: dict[str, list[tuple[str, str]]] = {}
        self._running = RunningScore(plans)
        self._files = {plan.name: Predictions(run.predictions(model, plan.name)) for plan in plans}
        total = sum(len(plan.items) * plan.spec.samples for plan in plans)
        self.progress = Progress(model, total, kept, self._running.mean, screen, account)

    async def drain(self, engine: Engine, requests: Iterator[Request]) -> None:
        """Answer all requests with as many workers as the engine can use, or until Ctrl-C (then ``interrupted`` is set)."""
        self._listen_for_interrupt()
        self.progress.waiting = lambda: waiting(engine)
        self._adapted = engine.record.get("adapted", {})
        try:
            with self.progress:
                ticker = asyncio.create_task(self._tick())
                workers = [asyncio.create_task(self._work(engine, requests)) for _ in range(engine.concurrency)]
                try:
                    await asyncio.gather(*workers)
                except asyncio.CancelledError:
                    if not self.interrupted:
                        raise
                finally:
                    for task in (ticker, *workers):
                        task.cancel()
                    await asyncio.gather(ticker, *workers, return_exceptions=True)
        finally:
            for file in self._files.values():
                file.close()

    def notes(self) -> Iterator[str]:
        """Name the settings that the server takes only in other words, and the items that failed, one line for each error."""
        for name, how in self._adapted.items():
            yield f"{name} {how}"
        for items in self._failed.values():
            named = ", ".join(item for item, _ in items[:NAMED]) + (", ..." if len(items) > NAMED else "")
            yield f"{len(items)} failed ({named}): {items[0][1]}"

    def _listen_for_interrupt(self) -> None:
        """Let Ctrl-C end the stream in good order, once: a second one must not tear what the first one closes."""
        task = asyncio.current_task()

        def stop() -> None:
            if not self.interrupted and task is not None:
                self.interrupted = True
                task.cancel()

        with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not in the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop)

    async def _tick(self) -> None:
        while True:  # the clock and the rates go on while nothing arrives
            await asyncio.sleep(0.5)
            self.progress.tick()

    async def _work(self, engine: Engine, requests: Iterator[Request]) -> None:
        # All workers pull from one iterator: what is rendered is what is in flight, and no more.
        while not self._account.purse.empty and (request := next(requests, None)) is not None:
            reply = await self._ask(engine, request)
            self._files[request.task].append(to_line(request, reply))
            self.asked += 1
            self._account.add(reply.usage)
            if reply.error is None:
                self._running.add(request, reply)
            else:  # errors that differ in their numbers only are one kind
                self._failed.setdefault(re.sub(r"\d+", "0", reply.error), []).append((request.id, reply.error))
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
            return await ask(engine, request)
        except OcliError:
            raise
        except Exception as error:
            if self._debug:
                raise
            return Reply(error=f"{type(error).__name__}: {error}")
