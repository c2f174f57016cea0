"""What a long run shows: one live line on a terminal, one plain line every few seconds anywhere else. All on stderr."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ocli.cost import Spent
from ocli.terminal import printable
from ocli.types import Reply

PLAIN_SECONDS = 5.0
WINDOW_SECONDS = 10.0
"""Rates are taken over the last seconds, so that they follow what happens now."""


@dataclass(frozen=True)
class Screen:
    """Where lines go, and whether a person watches: ``ocli eval | tee log`` gets plain lines."""

    stream: TextIO
    live: bool

    def say(self, text: str) -> None:
        """Print one line."""
        print(printable(text), file=self.stream, flush=True)


class Progress:
    """Counts replies and shows: done/total, replies/s, tokens/s, ETA, running score, what it cost so far, errors."""

    def __init__(
        self, title: str, total: int, done: int, score: Callable[[], float | None], screen: Screen, spent: Spent
    ) -> None:
        self.title = title
        self.total = total
        self.done = done
        self.errors = 0
        self.waiting: Callable[[], str] = str
        """Says what is waited for, where that is not simply the model."""
        self._score = score
        self._spent = spent
        self._ticks: deque[tuple[float, int, int]] = deque([(time.monotonic(), done, 0)])
        self._tokens = 0
        self._shown = 0.0
        self._stream = screen.stream
        console = Console(file=screen.stream, highlight=False)
        self._live = Live(console=console, auto_refresh=False) if screen.live else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        self.show()
        return self

    def __exit__(self, *_: object) -> None:
        self.show()
        if self._live:
            self._live.stop()

    def add(self, reply: Reply) -> None:
        """Count one reply, and show it when enough time has passed."""
        self.done += 1
        self.errors += reply.error is not None
        self._tokens += (reply.usage.prompt or 0) + (reply.usage.completion or 0)
        self.tick()

    def tick(self) -> None:
        """Show the line when it is due."""
        if time.monotonic() - self._shown >= (0.25 if self._live else PLAIN_SECONDS):
            self.show()

    def show(self) -> None:
        """Show the line now."""
        now = self._shown = time.monotonic()
        self._ticks.append((now, self.done, self._tokens))
        while len(self._ticks) > 2 and self._ticks[1][0] < now - WINDOW_SECONDS:
            self._ticks.popleft()
        line = self.line(now)
        if self._live:
            self._live.update(Text(line, overflow="ellipsis", no_wrap=True), refresh=True)
        else:
            print(line, file=self._stream, flush=True)

    def line(self, now: float) -> str:
        """Write the line; it fits 80 columns for a model's name of ordinary length."""
        then, done, tokens = self._ticks[0]
        seconds = max(now - then, 1e-9)
        rate, token_rate = (self.done - done) / seconds, (self._tokens - tokens) / seconds
        parts = [f"{self.title} {self.done}/{self.total}"]
        if self.done > done:
            parts += [f"{rate:.1f}/s" if rate < 100 else f"{rate:.0f}/s", f"{_short(token_rate)} tok/s"]
            if self.done < self.total:
                parts.append(f"ETA {_clock((self.total - self.done) / rate)}")
        mean = self._score()
        if mean is not None:
            parts.append(f"score {mean:.1f}")
        if self._spent.bill:
            parts.append(self._spent.bill)
        parts.append(f"{self.errors} error{'' if self.errors == 1 else 's'}")
        return "  ".join([*parts, *filter(None, [self.waiting()])])


def _short(number: float) -> str:
    return f"{number:.0f}" if number < 1000 else f"{number / 1000:.1f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
