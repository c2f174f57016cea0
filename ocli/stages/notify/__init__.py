"""Notifications: who is told that a run has started, finished or failed.

A notification that cannot be delivered is one line on stderr and changes nothing else. The webhook's URL is a secret: whoever has
it can write to the group. It comes out of the environment and goes nowhere but into the request itself.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ocli.errors import OcliError, RecipeError
from ocli.recipe import NotifySpec, Recipe
from ocli.stages.notify.delivery import deliver
from ocli.stages.notify.services import SERVICES, Notice, one_line

if TYPE_CHECKING:
    from ocli.runs import Run
    from ocli.stages.report import Summary

DEADLINE = 10.0
"""Seconds that one notification may hold a run up, all services together."""


@dataclass(frozen=True)
class Receiver:
    """A webhook with its secrets, which no ``repr`` shows."""

    spec: NotifySpec
    url: str
    secret: str | None

    def __repr__(self) -> str:
        return f"Receiver({self.spec.to}, {self.spec.url_env})"


class Notifier:
    """Tells a recipe's receivers how its run goes."""

    def __init__(self, recipe: Recipe, say: Callable[[str], None]) -> None:
        """Find the URLs; raise RecipeError where one is missing, or where nothing may be told."""
        self.receivers = [_receiver(spec) for spec in recipe.notify]
        if recipe.offline and recipe.notify:
            raise RecipeError("notify: --offline opens no socket; leave it out for this run with --set notify=[]")
        self._recipe, self._say = recipe, say
        self._begun = time.monotonic()
        self._run: Run | None = None

    def started(self, run: Run) -> None:
        """Tell that the models are about to be asked."""
        self._run = run
        self._tell(self._notice("started", "started"))

    def finished(self, run: Run, unscored: int, summary: Summary | None = None) -> None:
        """Tell the scores, how many items have none, and how long it took."""
        self._run = run
        words = f"finished, INCOMPLETE: {unscored} without {'a score' if summary else 'a reply'}" if unscored else "finished"
        self._tell(self._notice("finished", words, unscored, summary))

    def failed(self, error: Exception) -> None:
        """Tell why a run has ended early."""
        self._tell(self._notice("failed", "failed", error=_reason(error)))

    def _notice(
        self, event: str, words: str, unscored: int = 0, summary: Summary | None = None, error: str | None = None
    ) -> Notice:
        return Notice(
            event, words, self._recipe.name, list(self._recipe.models), list(self._recipe.tasks),
            run=str(self._run.path) if self._run else None, seconds=time.monotonic() - self._begun,
            unscored=unscored, error=error, summary=summary,
        )  # fmt: skip

    def _tell(self, notice: Notice) -> None:
        """Tell all who want to know, at the same time; threads that hang are left behind."""
        wanted = [receiver for receiver in self.receivers if notice.event in receiver.spec.when]
        problems: dict[int, str | None] = {}

        def send(number: int, receiver: Receiver) -> None:
            try:
                message = SERVICES[receiver.spec.to](notice, receiver.secret, time.time())
                problems[number] = deliver(receiver.spec.to, receiver.url, message, (receiver.secret,))
            except Exception as error:  # noqa: BLE001 - a thread's traceback could show the URL
                problems[number] = f"ocli failed to ({type(error).__name__})"

        threads = [Thread(target=send, args=pair, daemon=True) for pair in enumerate(wanted)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + DEADLINE
        for number, (thread, receiver) in enumerate(zip(threads, wanted, strict=True)):
            thread.join(max(0.0, end - time.monotonic()))
            problem = problems.get(number, f"no answer within {DEADLINE:.0f} s")
            if problem:
                spec = receiver.spec
                self._say(f"notify: {spec.to} ({spec.url_env}) was not told that the run has {notice.event}: {problem}")


def _receiver(spec: NotifySpec) -> Receiver:
    for name in (spec.url_env, spec.secret_env):
        if name and not os.environ.get(name, "").strip():
            what = "URL of the webhook" if name == spec.url_env else "secret it is signed with"
            raise RecipeError(f"notify: {name} is not set; export it: the {what} for {spec.to}")
    url = os.environ[spec.url_env].strip()
    if not _is_url(url):
        raise RecipeError(f"notify: {spec.url_env} holds no URL (https://...) for {spec.to}")
    return Receiver(spec, url, os.environ[spec.secret_env].strip() if spec.secret_env else None)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0 and not re.search(r"[\x00-\x20]", text)
        )
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    """Say in one line why; a bug is named with its kind."""
    return one_line(str(error) if isinstance(error, OcliError) else f"{type(error).__name__}: {error}")
