"""How much is sent to one server at once and a second: a concurrency that is found by trying, and rates that a recipe names."""

from __future__ import annotations

from collections import deque
from statistics import median

LEAST_ROUND = 16
"""Outcomes that a round has at least: fewer say little about a share."""
ROUNDS_KEPT = 16
"""Rounds of which the fastest says how long a reply takes when nothing stands in a queue."""
SLOWER = 2.0
"""A round this many times as slow as the fastest one means that requests wait at the server."""
CUT, GROW = 1 / 3, 1 / 8
"""The shares of refusals above which less is asked, and below which more. Some servers refuse at random, and asking them less
would not lessen that."""
FARTHEST, NEAREST, CLOSER = 0.5, 0.001, 0.9
"""The greatest distance between requests and the smallest one (seconds), and what is left of it after a good round."""
SLOWED, AS_MANY, HOPELESS = 4.0, 0.8, 0.9
"""Refusals are random that are still this share of what they were when so many times less is asked; all of them never are."""
STEP = 16
"""After the first setback a clean round adds a sixteenth, at least one."""
SLACK = 0.02
"""Seconds that a rate may run ahead: timers are no finer."""


class Concurrency:
    """How many requests may be on their way at once, found by trying, as TCP does.

    The number is looked at after each round, that is after as many outcomes as requests may be on their way. It doubles with
    every round until the first setback and grows slowly afterwards, as long as replies take no longer than before. Where many
    requests are refused it is cut by half their share (RFC 8257), that is by half when all are.

    A server may count requests a second instead: to such a one even a single request at a time can be too much. So after a cut
    requests also keep the distance in time that those had which got through, and come a little closer with every good round.
    """

    def __init__(self, most: int, start: int | None = None) -> None:
        self.most = most
        self.size = min(most, start or most)
        self.distance = 0.0
        """Seconds between requests; 0: as they come."""
        self._doubling = True
        self._began: float | None = None
        self._seconds: list[float] = []
        self._refused = 0
        self._full = False
        self._medians: deque[float] = deque(maxlen=ROUNDS_KEPT)
        self._borne = CUT
        """The share of refusals that is borne."""
        self._before: tuple[int, float, float] | None = None
        """Size, distance and share of refusals when a row of cuts began."""

    def entered(self, inside: int, now: float) -> None:
        """Note how many are on their way: where there are never as many as may be, nothing is learned of more."""
        self._began = now if self._began is None else self._began
        self._full = self._full or inside >= self.size

    def replied(self, seconds: float, now: float) -> None:
        """Count a reply."""
        self._seconds.append(seconds)
        self._count(now)

    def refused(self, now: float) -> None:
        """Count a request that the server was too busy for."""
        self._refused += 1
        self._count(now)

    def _count(self, now: float) -> None:
        outcomes = len(self._seconds) + self._refused
        if outcomes < max(self.size, LEAST_ROUND):
            return
        share = self._refused / outcomes
        if self._seconds:
            self._medians.append(median(self._seconds))
        holds = bool(self._seconds) and self._medians[-1] <= SLOWER * min(self._medians)
        self._doubling = self._doubling and not share and holds
        if share > self._borne:
            self._less(share, (now - (self._began or now)) / max(1, len(self._seconds)))
        else:
            self._more(fine=share <= GROW and holds)
        self._seconds.clear()
        self._refused, self._full, self._began = 0, False, now

    def _more(self, fine: bool) -> None:
        """Ask at shorter distances, and once there are none, more at once where all is fine."""
        self._before = None
        if self.distance:
            self.distance = self.distance * CLOSER if self.distance > NEAREST else 0.0
        elif fine and self._full:
            self.size = min(self.most, self.size + (self.size if self._doubling else max(1, self.size // STEP)))

    def _less(self, share: float, distance: float) -> None:
        """Ask less; but as before where that has changed nothing: then refusals do not come from how much is asked."""
        self._before = self._before or (self.size, distance, share)
        size, first, then = self._before
        if distance >= SLOWED * first and AS_MANY * then <= share < HOPELESS:
            self.size, self.distance, self._before = size, 0.0, None
            self._borne = min(HOPELESS, share / AS_MANY)
        else:
            self.size = max(1, int(self.size * (1 - share / 2)))
            self.distance = min(FARTHEST, distance)


class Rate:
    """So many requests or tokens a second, evenly spaced: no span of time ever sees a burst."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._free = 0.0

    def book(self, now: float, amount: float = 1.0) -> float:
        """Take the next free moment and return how many seconds from now it is."""
        moment = max(self._free, now - SLACK)
        self._free = moment + amount / self.per_second
        return max(0.0, moment - now)

    def correct(self, amount: float) -> None:
        """Book more, or less, than was thought."""
        self._free += amount / self.per_second


class TokenRate:
    """So many tokens a second. What a request will take is guessed from its size and from what others took."""

    def __init__(self, per_second: float) -> None:
        self._rate = Rate(per_second)
        self._bytes = 0
        self._tokens = 0

    def book(self, now: float, size: int) -> float:
        """Book what a request of so many bytes will take and return the seconds to wait."""
        return self._rate.book(now, self._guess(size))

    def took(self, size: int, tokens: int) -> None:
        """Learn what it took."""
        self._rate.correct(tokens - self._guess(size))
        self._bytes += size
        self._tokens += tokens

    def _guess(self, size: int) -> float:
        return size * (self._tokens / self._bytes if self._bytes else 0.5)
