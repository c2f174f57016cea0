"""Any OpenAI-compatible server, through AsyncOpenAI on aiohttp (``_openai/client.py``).

Chat models are asked at ``/chat/completions``, base models (``chat: false``) at ``/completions``. ``path: auto`` asks the
server which model it serves. The key comes from the environment variable that ``api_key_env`` names and is kept nowhere.
Servers differ in what they take and send: settings that a server refuses are said otherwise, once (``_openai/dialects.py``);
what is not of the API's shape is mended or asked again (``_openai/retries.py``). How much is asked at once and a second is found
by trying, or said by the recipe (``_openai/limits.py``), for each of a model's servers (``_openai/endpoints.py``).

Likelihoods come from echoed prompts (``_openai/echo.py``) or, where a server has none, from the most likely next tokens
(``_openai/letters.py``). Which of the two it can do is tried once, before any question is asked.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from typing import Any

from ocli.engines import chosen, number, refuse_unknown
from ocli.engines._openai.dialects import Dialect, cut
from ocli.engines._openai.echo import EchoWay
from ocli.engines._openai.endpoints import MOST as MOST_AT_ONCE
from ocli.engines._openai.endpoints import Endpoint, Endpoints, Rates
from ocli.engines._openai.exchange import Exchange, RefusedError
from ocli.engines._openai.letters import MOST, LetterWay
from ocli.engines._openai.likelihood import Way
from ocli.engines._openai.needs import Tasks, advise, beyond_letters, instead, likelihood_tasks, refuse_for_chat
from ocli.engines._openai.reply import MalformedError, chat_fields, first_choice, get, is_blank, text_fields, words_of
from ocli.engines._openai.server import addresses, mapping
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.task import TaskSpec
from ocli.tokens import UnaskableError
from ocli.types import Reply, Request

ARGS = ["timeout", "deadline", "max_retries", "headers", "query", "extra_body", "stream", "api_version", "proxy", "ca"]
REPLY_ARGS = ("extra_body",)
"""Arguments that change replies and so belong to a request's key."""
TOLD = ("model", "system_fingerprint")
MOST_TOLD = 8
"""So many names are kept of a model that is served under several."""
BLANKS = 2
"""So often a reply that says nothing is asked for again."""


class Engine:
    """One model, on one server or several."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, ARGS, "openai")
        self.max_retries = int(number(spec.args, "max_retries", 6))
        self.timeout = number(spec.args, "timeout", 600, least=0.001, whole=False)
        self.deadline = number(spec.args, "deadline", 3600, least=0.001, whole=False)
        self.extra_body = mapping(spec.args, "extra_body")
        self.stream = spec.args.get("stream", False)
        if not isinstance(self.stream, bool):
            raise EngineError(f"args.stream must be true or false, not {self.stream!r}")
        self.spec = spec
        self.model = spec.path or ""
        self.chat = spec.chat is not False
        self._addresses = addresses(spec)
        self._urls = ", ".join(address.url for address in self._addresses)
        self.concurrency = (spec.concurrency or MOST_AT_ONCE) * len(self._addresses)
        self.identity: list[Any] = []
        self.likelihood_identity: list[Any] = []
        self.record: dict[str, Any] = {"base_url": self._urls}
        self._told: dict[str, list[str]] = {}
        self._tasks: Tasks = {}
        self._way: Way | None = None
        self._exchange: Exchange | None = None

    @property
    def waiting(self) -> str:
        """What is waited for, where nothing moves."""
        return self._exchange.waiting if self._exchange else ""

    def check(self, tasks: Mapping[str, TaskSpec]) -> None:
        """Refuse the likelihoods that no chat server tells; remember which tasks need any."""
        self._tasks = likelihood_tasks(tasks)
        if self.chat:
            refuse_for_chat(self._tasks, self._place())

    async def start(self) -> None:
        """Open the clients; with ``path: auto`` ask for the model's name; where likelihoods are needed try how to get them."""
        from ocli.engines._openai.client import Client

        spec = self.spec
        rates = Rates(spec.concurrency, spec.rpm, spec.tpm, spec.qps)
        servers = [Endpoint(address.url, Client(address, self.timeout), rates) for address in self._addresses]
        key = self._addresses[0].key
        exchange = Exchange(Endpoints(servers), Dialect(), key, self.model, self.timeout, self.deadline, self.max_retries)
        self._exchange = exchange
        if self.model == "auto":
            self.model = exchange.model = await self._discover(servers)
        for server in servers:
            await server.client.prepare(self._path(self.chat), self.model)
        self.identity = ["openai", self.model, self.chat, chosen(spec.args, REPLY_ARGS)]
        self.record["served_model"] = self.model
        self.record["adapted"] = exchange.dialect.record
        self.record["told"] = self._told
        if self._tasks:
            exchange.probing = True
            self._way = await self._find_way()
            exchange.probing = False
            self.likelihood_identity = [self._way.name]
            self.record["likelihoods"] = self._way.name

    async def generate(self, request: Request) -> Reply:
        """Send one request; what the server refuses for this request alone is its ``error``."""
        return await _timed(self._ask(request))

    async def loglikelihood(self, request: Request) -> Reply:
        """Score a request's choices, all at the same time; what cannot be told of one of them is the request's ``error``."""
        return await _timed(self._score(request))

    def fits(self, request: Request) -> bool:
        """Not known before it is asked: a server refuses what is too long in words of its own."""
        return True

    def sent(self, request: Request) -> dict[str, Any]:
        """Return the settings that are sent with a request, as the server wants to be told them."""
        if self._exchange is None or request.choices:
            return {"sampling": dict(self.extra_body)} if self.extra_body else {}
        dialect = self._exchange.dialect
        looked_for = {"stop": list(stops)} if (stops := dialect.cuts(request.sampling)) else {}
        return {"sampling": {**dialect.settings(request.sampling), **looked_for, **self.extra_body}}

    async def close(self) -> None:
        """Close the connections."""
        if self._exchange is not None:
            await self._exchange.endpoints.close()

    async def _ask(self, request: Request) -> dict[str, Any]:
        exchange, sampling = self._started, request.sampling
        chat = request.messages is not None
        prompt = {"messages": list(request.messages or ())} if chat else {"prompt": request.prompt}

        def write() -> dict[str, Any]:  # for each attempt: the dialect may have been learned meanwhile
            streamed = exchange.dialect.streamed() if self.stream else {}
            return {"model": self.model, **prompt, **exchange.dialect.settings(sampling), **streamed, **self.extra_body}

        fields = await exchange.send(self._path(chat), write, _Reader(chat, min(BLANKS, self.max_retries), self._told))
        text, ended = cut(fields["text"], exchange.dialect.cuts(sampling))
        return {**fields, "text": text, "finish_reason": "stop"} if ended else fields

    async def _score(self, request: Request) -> dict[str, Any]:
        if self._way is None:
            raise UnaskableError("the server was not asked how it tells likelihoods")
        try:
            choices, usage = await self._way.score(request)
        except UnaskableError as error:
            task = self._tasks.get(request.task)
            raise UnaskableError(f"{error}; {instead(task)}" if task else str(error)) from None
        return {"choices": choices, "finish_reason": "stop", "usage": usage}

    async def _post(self, body: dict[str, Any]) -> Any:
        """Send a likelihood's question and return the answer as it came."""

        def read(answer: Any) -> Any:
            _note(_as_is(answer), self._told)
            return answer

        return await self._started.send(self._path(self.chat), lambda: {"model": self.model, **body, **self.extra_body}, read)

    async def _find_way(self) -> Way:
        """Return the first way in which this server tells likelihoods; raise EngineError when a task has none."""
        words = ""
        if not self.chat:
            echo = EchoWay(self._post)
            words = await self._lacks(echo)
            if not words:
                return echo
            if long := beyond_letters(self._tasks):
                raise EngineError(f"{self._place()} gives no log-probabilities of prompts (echo; {words}); {advise(long)}")
        for most in MOST:
            letters = LetterWay(self._post, self.chat, most)
            words = await self._lacks(letters)
            if not words:
                return letters
        raise EngineError(f"{self._place()} gives no log-probabilities of next tokens ({words}); {advise(self._tasks)}")

    async def _lacks(self, way: Way) -> str:
        """Try a way; return why it does not work, in the server's words, or nothing."""
        import openai

        try:
            await way.probe()
        except MalformedError as error:
            return f"its reply {error}"
        except openai.APIStatusError as error:
            return f"HTTP {error.status_code}: {words_of(error)}"
        except RefusedError as error:
            raise EngineError(f"{self._place()} refuses: {error}") from None
        return ""

    async def _discover(self, servers: list[Endpoint]) -> str:
        """Return the name of the one model that all servers serve."""
        served = set()
        for server in servers:
            served |= set(_names(await self._started.listing(server), server.url))
        if len(served) != 1:
            raise EngineError(
                f"{self._place()} serves {len(served)} models ({', '.join(sorted(served))}): name one as 'path' instead of auto"
            )
        return served.pop()

    @property
    def _started(self) -> Exchange:
        if self._exchange is None:
            raise EngineError("the engine was not started")
        return self._exchange

    def _path(self, chat: bool) -> str:
        return "/chat/completions" if chat else "/completions"

    def _place(self) -> str:
        return f"{self._urls} (model {self.model})"


class _Reader:
    """Reads a reply; of one that says nothing it says so, for as many times as it may be asked again."""

    def __init__(self, chat: bool, blanks: int, told: dict[str, list[str]]) -> None:
        self._chat, self._blanks, self._told = chat, blanks, told

    def __call__(self, answer: Any) -> dict[str, Any]:
        fields = chat_fields(answer) if self._chat else text_fields(answer)
        if self._blanks and is_blank(fields, self._chat):
            self._blanks -= 1
            raise MalformedError("is empty")
        _note(answer, self._told)
        return fields


async def _timed(asking: Awaitable[dict[str, Any]]) -> Reply:
    """Wait for a reply's fields; what this request alone has met is its error."""
    began = time.perf_counter()
    try:
        fields = await asking
    except MalformedError as error:
        fields = {"error": f"the server's reply {error}"}
    except (RefusedError, UnaskableError) as error:
        fields = {"error": str(error)}
    return Reply(**{**fields, "seconds": time.perf_counter() - began})


def _note(answer: Any, told: dict[str, list[str]]) -> None:
    """Keep what a server says of the model that has answered: its exact name, and the state that it is in."""
    for name in TOLD:
        value, known = get(answer, name), told.setdefault(name, [])
        if isinstance(value, str) and value and value[:200] not in known and len(known) < MOST_TOLD:
            known.append(value[:200])


def _as_is(answer: Any) -> Any:
    """Read no further than a reply must be to be one."""
    first_choice(answer)
    return answer


def _names(answer: Any, place: str) -> list[str]:
    """Return the models that a server lists."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(get(model, "id"), str) for model in data):
        seen = " ".join(str(answer).split())[:80]
        raise EngineError(f"{place} does not say which models it serves: no list of models, but {seen!r}; name one as 'path'")
    return [str(get(model, "id")) for model in data]
