"""What the engines that run a model themselves share about decoding: the repository's suggestions, and where a reply ends."""

from __future__ import annotations

from typing import Any

from ocli.tokens import cut_at_stop
from ocli.types import Sampling

DRAWING = {"do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"}
"""Settings that mean nothing to a greedy reply."""


class Suggestion:
    """A model repository's ``generation_config``: what it says, whether it is used, and what of it took effect.

    ``applied`` holds what the model's own sampling leaves to it; from the first request on, what requests really left to it.
    """

    def __init__(self, says: dict[str, Any], used: bool, known: set[str]) -> None:
        self.says = {key: value for key, value in says.items() if key != "transformers_version"}
        self.used = used
        self._usable = {key: value for key, value in self.says.items() if used and key in known and value is not None}
        self.applied: dict[str, Any] = {}
        self._asked = False

    def record(self, sampling: Sampling) -> dict[str, Any]:
        """Return what the run keeps; ``applied`` in it follows the requests."""
        self.applied.update(self._left(sampling))
        return {"used": self.used, "says": self.says, "applied": self.applied}

    def temperature(self, sampling: Sampling) -> float:
        """Return the temperature of a request: its own, else the repository's, which draws only where it says so."""
        if sampling.temperature is not None:
            return sampling.temperature
        return float(self._usable.get("temperature", 1.0)) if self._usable.get("do_sample") else 0.0

    def settle(self, sampling: Sampling) -> dict[str, Any]:
        """Return the suggestions that this request leaves room for."""
        left = self._left(sampling)
        if not self._asked:
            self._asked = True
            self.applied.clear()
        self.applied.update(left)
        return left

    def _left(self, sampling: Sampling) -> dict[str, Any]:
        named = {"do_sample", "temperature"} if sampling.temperature is not None else set()
        named |= {key for key in ("top_p", "top_k") if getattr(sampling, key) is not None}
        if self.temperature(sampling) == 0:
            named |= DRAWING - {"do_sample"}
        return {key: value for key, value in self._usable.items() if key not in named}


class Halt:
    """A stopping criterion of transformers that reads generated tokens only, and ends at once when the engine is closed.

    ``stop_strings`` of transformers match text that begins in the prompt, so a prompt's last line break would end the reply.
    """

    def __init__(self, torch: Any, tokenizer: Any, stop: tuple[str, ...], eos: list[int], rows: int, width: int) -> None:
        self.closed = False
        self.ends: list[int | None] = [None] * rows
        """Per row, how many tokens were generated up to and with the one that completed a stop string."""
        self._torch, self._tokenizer, self._stop, self._eos = torch, tokenizer, stop, set(eos)
        self._width = width
        self._done = [False] * rows
        # A token holds a byte at least; the rest is for tokens that decode to nothing and for halves of characters.
        self._tail = max((len(word.encode("utf-8", "replace")) for word in stop), default=0) + 8

    def __call__(self, ids: Any, scores: Any = None, **_: Any) -> Any:
        """Say which rows are done; transformers asks after every token."""
        if self.closed:
            return self._torch.ones(ids.shape[0], dtype=self._torch.bool, device=ids.device)
        if self._stop:
            self._look(ids)
        return self._torch.tensor(self._done, dtype=self._torch.bool, device=ids.device)

    def _look(self, ids: Any) -> None:
        length = ids.shape[1] - self._width
        tails = ids[:, max(self._width, ids.shape[1] - self._tail) :].tolist()
        for row, tail in enumerate(tails):
            if self._done[row]:
                continue
            if tail[-1] in self._eos:  # what follows is padding, and no text
                self._done[row] = True
            elif self._stops(tail) and self._stops(ids[row, self._width :].tolist()):
                self._done[row], self.ends[row] = True, length

    def _stops(self, tokens: list[int]) -> bool:
        return cut_at_stop(self._tokenizer.decode(tokens, skip_special_tokens=True), self._stop)[1]
