"""A reply that comes in pieces, put together into the shape of one that comes whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ocli.engines._openai.reply import MalformedError, get


async def joined(pieces: AsyncIterator[Any]) -> dict[str, Any]:
    """Return the whole reply; raise MalformedError for one that breaks off."""
    whole = Whole()
    async for piece in pieces:
        whole.add(piece)
    return whole.answer()


class Whole:
    """The pieces so far. ``None`` is not the same as empty: it is what was never there."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._chat = False
        self._reason: str | None = None
        self._usage: Any = None
        self._model: dict[str, Any] = {}

    def add(self, chunk: Any) -> None:
        """Take one piece; servers send the usage in one without choices, or in every one."""
        self._usage = get(chunk, "usage") or self._usage
        self._model |= {name: value for name in ("model", "system_fingerprint") if (value := get(chunk, name))}
        choices = get(chunk, "choices")
        if not isinstance(choices, list) or not choices:
            return
        choice = choices[0]
        self._reason = get(choice, "finish_reason") or self._reason
        delta = get(choice, "delta")
        self._chat = self._chat or delta is not None
        names = ("content", "reasoning_content", "reasoning", "refusal") if delta is not None else ("text",)
        for name in names:
            piece = get(delta if delta is not None else choice, name)
            if isinstance(piece, str):
                self._texts.setdefault(name, []).append(piece)

    def answer(self) -> dict[str, Any]:
        """Return the reply as ``/chat/completions`` or ``/completions`` sends it whole."""
        if self._reason is None:
            raise MalformedError("broke off before its end")
        texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
        choice: dict[str, Any] = {"message": texts} if self._chat else {"text": texts.get("text", "")}
        return {"choices": [{"index": 0, "finish_reason": self._reason, **choice}], "usage": self._usage, **self._model}
