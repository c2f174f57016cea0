"""Any OpenAI-compatible server, through AsyncOpenAI on its aiohttp transport.

Chat models are asked at ``/chat/completions``, base models (``chat: false``) at ``/completions``. ``path: auto`` asks the
server which model it serves. The key comes from the environment variable that ``api_key_env`` names and is kept nowhere.
Servers differ in what they send: what is not of the API's shape is mended or is that request's error.

Likelihoods come from echoed prompts (``_openai/echo.py``) or, where a server has none, from the most likely next tokens
(``_openai/letters.py``). Which of the two it can do is tried once, before any question is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any

from ocli.engines import chosen, number, refuse_unknown
from ocli.engines._openai.echo import EchoWay
from ocli.engines._openai.letters import MOST, LetterWay
from ocli.engines._openai.likelihood import Way
from ocli.engines._openai.needs import Tasks, advise, beyond_letters, instead, likelihood_tasks, refuse_for_chat
from ocli.engines._openai.reply import MalformedError, common, first_choice, get, text_of, words_of
from ocli.engines._openai.server import DEFAULT_URL, address, api_key, checked_headers, mapping
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.task import TaskSpec
from ocli.tokens import UnaskableError
from ocli.types import Reply, Request, Sampling

REPLY_ARGS = ("extra_body",)
"""Arguments that change replies and so belong to a request's key."""

LACKING = (400, 404, 405, 415, 422, 500, 501)
"""HTTP statuses with which servers answer what they cannot do; others (a wrong key, too many requests) say nothing of that."""


class Engine:
    """One server, one model."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, ["timeout", "max_retries", "headers", "extra_body"], "openai")
        self.timeout = number(spec.args, "timeout", 600, least=0.001, whole=False)
        self.max_retries = int(number(spec.args, "max_retries", 2))
        self.headers = checked_headers(mapping(spec.args, "headers"))
        self.extra_body = mapping(spec.args, "extra_body")
        self.spec = spec
        self.model = spec.path or ""
        # Always said: the client would else take OPENAI_BASE_URL, which no recipe shows.
        self.base_url = address(spec.base_url or DEFAULT_URL)
        self.chat = spec.chat is not False
        self.concurrency = spec.concurrency or 16
        self.identity: list[Any] = []
        self.likelihood_identity: list[Any] = []
        self.record: dict[str, Any] = {"base_url": self.base_url}
        self._key = api_key(spec)
        self._client: Any = None
        self._tasks: Tasks = {}
        self._way: Way | None = None
        self._places = asyncio.Semaphore(self.concurrency)

    def check(self, tasks: Mapping[str, TaskSpec]) -> None:
        """Refuse the likelihoods that no chat server tells; remember which tasks need any."""
        self._tasks = likelihood_tasks(tasks)
        if self.chat:
            refuse_for_chat(self._tasks, self._place())

    async def start(self) -> None:
        """Open the client; with ``path: auto`` ask for the model's name; where likelihoods are needed try how to get them."""
        import openai

        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self.base_url,
            timeout=self.timeout,
            max_retries=self.max_retries,
            default_headers=self.headers,
            http_client=openai.DefaultAioHttpClient(),
        )
        if self.model == "auto":
            self.model = await self._discover()
        self.identity = ["openai", self.model, self.chat, chosen(self.spec.args, REPLY_ARGS)]
        self.record["served_model"] = self.model
        if self._tasks:
            self._way = await self._find_way()
            self.likelihood_identity = [self._way.name]
            self.record["likelihoods"] = self._way.name

    async def generate(self, request: Request) -> Reply:
        """Send one request; what the server refuses for this request alone is its ``error``."""
        return await self._reply(self._ask_chat(request) if request.messages is not None else self._ask_text(request))

    async def loglikelihood(self, request: Request) -> Reply:
        """Score a request's choices, all at the same time; what cannot be told of one of them is the request's ``error``."""
        return await self._reply(self._score(request))

    def fits(self, request: Request) -> bool:
        """Not known before it is asked: a server refuses what is too long in words of its own."""
        return True

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def _reply(self, asking: Awaitable[dict[str, Any]]) -> Reply:
        """Wait for a reply's fields; tell what this request alone has met from what no other would survive."""
        import openai

        began = time.perf_counter()
        try:
            fields = await asking
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise EngineError(f"{self._place()} refuses: {words_of(error)}") from None
        except openai.APIStatusError as error:
            fields = {"error": f"HTTP {error.status_code}: {words_of(error)}"}
        except MalformedError as error:
            fields = {"error": f"the server's reply {error}"}
        except UnaskableError as error:
            fields = {"error": str(error)}
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:  # the client's own, on what is no JSON
            fields = {"error": f"{type(error).__name__}: {words_of(error)}"}
        return Reply(**{**fields, "seconds": time.perf_counter() - began})

    async def _ask_chat(self, request: Request) -> dict[str, Any]:
        async with self._places:
            answer = await self._client.chat.completions.create(
                model=self.model,
                messages=list(request.messages or ()),
                **_settings(request.sampling),
                **self._extra(request.sampling),
            )
        choice = first_choice(answer)
        message = get(choice, "message")
        if message is None:
            raise MalformedError("has no message")
        reasoning = get(message, "reasoning_content") or get(message, "reasoning")
        return {
            "text": text_of(get(message, "content")),
            "reasoning": reasoning if isinstance(reasoning, str) else None,
            **common(answer, choice),
        }

    async def _ask_text(self, request: Request) -> dict[str, Any]:
        async with self._places:
            answer = await self._client.completions.create(
                model=self.model, prompt=request.prompt, **_settings(request.sampling), **self._extra(request.sampling)
            )
        choice = first_choice(answer)
        return {"text": text_of(get(choice, "text")), **common(answer, choice)}

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
        """Send a likelihood's question and return the answer as it came: of long prompts the client's types would be slow."""
        path = "/chat/completions" if self.chat else "/completions"
        async with self._places:  # a request's choices are asked at once, but no more in all than the model's concurrency
            return await self._client.post(path, cast_to=object, body={"model": self.model, **body, **self.extra_body})

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
            if error.status_code not in LACKING:
                raise EngineError(f"{self._place()} refuses: {words_of(error)}") from None
            return f"HTTP {error.status_code}: {words_of(error)}"
        except openai.OpenAIError as error:
            raise EngineError(f"{self._place()} cannot be asked: {words_of(error)}") from None
        except (ValueError, TypeError, AttributeError) as error:  # the client's own, on what is no JSON
            return f"{type(error).__name__}: {words_of(error)}"
        return ""

    def _extra(self, sampling: Sampling) -> dict[str, Any]:
        # The API has no top_k; the servers that know it (vLLM, LMDeploy, SGLang) read it from the body.
        top_k = {} if sampling.top_k is None else {"top_k": sampling.top_k}
        body = {**top_k, **self.extra_body}
        return {"extra_body": body} if body else {}

    async def _discover(self) -> str:
        import openai

        try:
            answer = await self._client.get("/models", cast_to=object)  # as it is: the client's types would be assumed
        except (openai.OpenAIError, ValueError) as error:
            raise EngineError(f"{self._place()} does not say which models it serves: {words_of(error)}") from None
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list) or not all(isinstance(get(model, "id"), str) for model in data):
            seen = " ".join(str(answer).split())[:80]
            raise EngineError(
                f"{self._place()} does not say which models it serves: no list of models, but {seen!r}; name one as 'path'"
            )
        names = [str(get(model, "id")) for model in data]
        if len(names) != 1:
            raise EngineError(
                f"{self._place()} serves {len(names)} models ({', '.join(names)}): name one as 'path' instead of auto"
            )
        return names[0]

    def _place(self) -> str:
        return f"{self.base_url} (model {self.model})"


def _settings(sampling: Sampling) -> dict[str, Any]:
    """Say what the recipe says under the API's names; what it leaves out is the server's own."""
    said = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
    settings: dict[str, Any] = {"max_tokens": sampling.max_tokens}
    settings |= {name: value for name, value in said.items() if value is not None}
    if sampling.stop:
        settings["stop"] = list(sampling.stop)
    return settings
