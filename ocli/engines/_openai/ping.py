"""What a server can do, tried with one small request for each thing. Nothing is asked twice, and nothing is waited for long."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ocli.cost import Spent
from ocli.engines._openai.client import Client
from ocli.engines._openai.dialects import Dialect
from ocli.engines._openai.echo import EchoWay
from ocli.engines._openai.letters import MOST, LetterWay
from ocli.engines._openai.reply import MalformedError, chat_fields, get, text_fields, usage_of, words_of
from ocli.engines._openai.retries import failure, hide, named_in
from ocli.engines._openai.server import Address, addresses
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.types import Sampling, Usage

PATIENCE = 60.0
"""Seconds that one request may take."""
ASKED = "Reply with the word ok."
REFUSED = (401, 403)


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: whether the server can do it, after how many seconds, and its words."""

    name: str
    can: bool
    seconds: float
    words: str


@dataclass
class Ping:
    """Tries one server of a model."""

    address: Address
    model: str
    spent: Spent
    dialect: Dialect = field(default_factory=Dialect)

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what was found, one thing after the other; raise EngineError where the key is refused or nobody is there."""
        self._client = Client(self.address, PATIENCE)
        turns = {"messages": [{"role": "user", "content": ASKED}]}
        system = {"messages": [{"role": "system", "content": "You are terse."}, *turns["messages"]]}
        try:
            yield await self._try("models", self._models)
            if self.model == "auto":
                raise EngineError(f"{self.address.url} does not say which one model it serves: name one as 'path'")
            yield await self._try("chat", lambda: self._chat(turns))
            yield await self._try("completions", lambda: self._ask("/completions", {"prompt": "One, two,"}, text_fields))
            yield await self._try("system role", lambda: self._chat(system))
            yield await self._try("seed", lambda: self._chat({**turns, "seed": 1}))
            yield await self._try("stop", lambda: self._chat({**turns, "stop": ["\n\n"]}))
            yield await self._try("n = 2", lambda: self._ask("/chat/completions", {**turns, "n": 2, "temperature": 1}, _two))
            yield await self._try("next tokens' log-probabilities", self._letters)
            yield await self._try("prompts' log-probabilities (echo)", lambda: self._way(EchoWay(self._post_text)))
        finally:
            await self._client.close()

    async def _try(self, name: str, ask: Callable[[], Awaitable[str]]) -> Finding:
        began = time.perf_counter()
        try:
            words, can = await ask(), True
        except Exception as error:
            failed = failure(error)
            if failed is None:
                raise
            words, can = hide(failed.words, self.address.key), False
            if not failed.reached:
                raise EngineError(f"{self.address.url}: {words}; is it running, and is base_url right?") from None
            if getattr(error, "status_code", None) in REFUSED:
                raise EngineError(f"{self.address.url} refuses: {words}") from None
        return Finding(name, can, time.perf_counter() - began, words)

    async def _models(self) -> str:
        answer = await self._client.get("/models")
        names = [str(get(model, "id")) for model in get(answer, "data") or ()]
        if not names:
            raise MalformedError("lists no models")
        if self.model == "auto" and len(names) == 1:
            self.model = names[0]
        return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")

    async def _chat(self, body: dict[str, Any]) -> str:
        return await self._ask("/chat/completions", body, chat_fields)

    async def _ask(self, path: str, body: dict[str, Any], read: Callable[[Any], dict[str, Any]]) -> str:
        """Send one request, once more in other words where the server asks for them; return the reply in a few words."""
        import openai

        while True:
            settings = self.dialect.settings(Sampling(temperature=0.0, max_tokens=16))
            try:
                answer = await self._post(path, {**settings, **body})
                break
            except openai.APIStatusError as error:
                ours = {name: value for name, value in settings.items() if name not in body}
                if error.status_code not in (400, 422) or not self.dialect.learn(ours, words_of(error), named_in(error)):
                    raise
        fields = read(answer)
        said = fields["text"] or fields.get("reasoning") or ""
        usage = fields["usage"]
        return f"{' '.join(said.split())[:40]!r} ({usage.prompt} prompt tokens, {usage.completion} completion tokens)"

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = await self._client.post(path, {"model": self.model, **body}, PATIENCE)
        self.spent.add(usage_of(answer))
        return answer

    async def _post_text(self, body: dict[str, Any]) -> Any:
        return await self._post("/completions", body)

    async def _post_chat(self, body: dict[str, Any]) -> Any:
        return await self._post("/chat/completions", body)

    async def _letters(self) -> str:
        return await self._way(LetterWay(self._post_chat, True, MOST[-1]))

    async def _way(self, way: EchoWay | LetterWay) -> str:
        await way.probe()
        return ""


def pings(spec: ModelSpec) -> list[Ping]:
    """Return a ping of each of a model's servers."""
    return [Ping(address, spec.path or "auto", Spent(spec.price)) for address in addresses(spec)]


def _two(answer: Any) -> dict[str, Any]:
    choices = get(answer, "choices")
    if not isinstance(choices, list) or len(choices) != 2:
        raise MalformedError(f"has {len(choices) if isinstance(choices, list) else 'no'} choices")
    return {**chat_fields(answer), "usage": usage_of(answer) or Usage()}
