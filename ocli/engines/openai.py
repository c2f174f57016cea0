"""Any OpenAI-compatible server, through AsyncOpenAI on its aiohttp transport.

Chat models are asked at ``/chat/completions``, base models (``chat: false``) at ``/completions``. ``path: auto`` asks the
server which model it serves. The key comes from the environment variable that ``api_key_env`` names and is kept nowhere.
Servers differ in what they send: what is not of the API's shape is mended or is that request's error.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ocli.engines import chosen, number, refuse_unknown
from ocli.errors import EngineError
from ocli.recipe import ModelSpec, TaskSpec
from ocli.types import Reply, Request, Sampling, Usage

DEFAULT_KEY = "OPENAI_API_KEY"
DEFAULT_URL = "https://api.openai.com/v1"
REPLY_ARGS = ("extra_body",)
"""Arguments that change replies and so belong to a request's key."""

_SECRET_HEADER = re.compile(r"authorization|api[-_]?key|(access|auth)[-_]?token|secret|password|^cookie$", re.IGNORECASE)


class MalformedError(ValueError):
    """A reply that is not what the API promises."""


class Engine:
    """One server, one model."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, ["timeout", "max_retries", "headers", "extra_body"], "openai")
        self.timeout = number(spec.args, "timeout", 600, least=0.001, whole=False)
        self.max_retries = int(number(spec.args, "max_retries", 2))
        self.headers = _headers(_mapping(spec.args, "headers"))
        self.extra_body = _mapping(spec.args, "extra_body")
        self.spec = spec
        self.model = spec.path or ""
        # Always said: the client would else take OPENAI_BASE_URL, which no recipe shows.
        self.base_url = _normalise(spec.base_url or DEFAULT_URL)
        self.chat = spec.chat is not False
        self.concurrency = spec.concurrency or 16
        self.identity: list[Any] = []
        self.record: dict[str, Any] = {"base_url": self.base_url}
        self._key = _key(spec)
        self._client: Any = None

    def check(self, tasks: Mapping[str, TaskSpec]) -> None:
        """Any task can be asked."""

    async def start(self) -> None:
        """Open the client; with ``path: auto`` ask for the model's name."""
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

    async def generate(self, request: Request) -> Reply:
        """Send one request; what the server refuses for this request alone is its ``error``."""
        import openai

        began = time.perf_counter()
        try:
            reply = await (self._ask_chat(request) if request.messages is not None else self._ask_text(request))
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise EngineError(f"{self._place()} refuses: {_message(error)}") from None
        except openai.APIStatusError as error:
            return Reply(error=f"HTTP {error.status_code}: {_message(error)}", seconds=time.perf_counter() - began)
        except MalformedError as error:
            return Reply(error=f"the server's reply {error}", seconds=time.perf_counter() - began)
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:  # the client's own, on what is no JSON
            return Reply(error=f"{type(error).__name__}: {_message(error)}", seconds=time.perf_counter() - began)
        return Reply(**{**reply, "seconds": time.perf_counter() - began})

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def _ask_chat(self, request: Request) -> dict[str, Any]:
        answer = await self._client.chat.completions.create(
            model=self.model,
            messages=list(request.messages or ()),
            **_settings(request.sampling),
            **self._extra(request.sampling),
        )
        choice = _first_choice(answer)
        message = _get(choice, "message")
        if message is None:
            raise MalformedError("has no message")
        reasoning = _get(message, "reasoning_content") or _get(message, "reasoning")
        return {
            "text": _text(_get(message, "content")),
            "reasoning": reasoning if isinstance(reasoning, str) else None,
            **_common(answer, choice),
        }

    async def _ask_text(self, request: Request) -> dict[str, Any]:
        answer = await self._client.completions.create(
            model=self.model, prompt=request.prompt, **_settings(request.sampling), **self._extra(request.sampling)
        )
        choice = _first_choice(answer)
        return {"text": _text(_get(choice, "text")), **_common(answer, choice)}

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
            raise EngineError(f"{self._place()} does not say which models it serves: {_message(error)}") from None
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list) or not all(isinstance(_get(model, "id"), str) for model in data):
            seen = " ".join(str(answer).split())[:80]
            raise EngineError(
                f"{self._place()} does not say which models it serves: no list of models, but {seen!r}; name one as 'path'"
            )
        names = [str(_get(model, "id")) for model in data]
        if len(names) != 1:
            raise EngineError(
                f"{self._place()} serves {len(names)} models ({', '.join(names)}): name one as 'path' instead of auto"
            )
        return names[0]

    def _place(self) -> str:
        return f"{self.base_url} (model {self.model})"


def _key(spec: ModelSpec) -> str:
    name = spec.api_key_env or (DEFAULT_KEY if spec.base_url is None else None)
    if name is None:
        return "none"  # a server of one's own rarely asks for a key, but the client insists on a string
    key = os.environ.get(name)
    if not key:
        raise EngineError(f"the environment variable {name} is not set: export {name}=... (the key never goes into a recipe)")
    return key


def _normalise(url: str) -> str:
    """Accept a server's address with or without ``/v1`` and with the endpoint's path still on it."""
    url = url.strip().rstrip("/")
    for ending in ("/chat/completions", "/completions"):
        url = url.removesuffix(ending)
    advice = "it must be like http://host:8000/v1"
    try:
        parts = urlsplit(url)
        if "@" in (parts.netloc or url):  # not repeated here: this line may be logged
            raise EngineError("base_url holds a user or password: export the key, write 'api_key_env: NAME'")
        _ = parts.port  # parsed only when it is read
    except ValueError as error:
        raise EngineError(f"base_url {url!r} is not an address ({error}): {advice}") from None
    if parts.scheme not in ("http", "https"):
        raise EngineError(f"base_url {url!r} is not an address: it must begin with http:// or https://")
    if not parts.hostname or re.search(r"\s", url):
        raise EngineError(f"base_url {url!r} is not an address: {advice}")
    if parts.query or parts.fragment:
        raise EngineError(
            f"base_url {url.split('?')[0].split('#')[0]!r} has a '?' or '#' part, which has no place in it: {advice}"
        )
    return url if parts.path.strip("/") else f"{url}/v1"


def _mapping(args: dict[str, Any], name: str) -> dict[str, Any]:
    value = args.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise EngineError(f"args.{name} must be a mapping, not {type(value).__name__}")
    return value


def _headers(headers: dict[str, Any]) -> dict[str, str]:
    """Refuse headers that a recipe must not hold, and values that no header can have."""
    for name, value in headers.items():
        if _SECRET_HEADER.search(name):
            raise EngineError(f"args.headers.{name}: a key does not belong in a recipe: export it and write 'api_key_env: NAME'")
        if not isinstance(value, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\r\n]", value):
            raise EngineError(f"args.headers.{name}: must be a header's name and a string, not {type(value).__name__}")
    return headers


def _settings(sampling: Sampling) -> dict[str, Any]:
    """Say what the recipe says under the API's names; what it leaves out is the server's own."""
    said = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
    settings: dict[str, Any] = {"max_tokens": sampling.max_tokens}
    settings |= {name: value for name, value in said.items() if value is not None}
    if sampling.stop:
        settings["stop"] = list(sampling.stop)
    return settings


def _get(value: Any, name: str) -> Any:
    """Read a part of a reply: the client makes objects of what it knows and leaves the rest as it came."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _first_choice(answer: Any) -> Any:
    if isinstance(answer, str):
        raise MalformedError(f"is no JSON, but {' '.join(answer.split())[:80]!r}")
    choices = _get(answer, "choices")
    if not isinstance(choices, list) or not choices or choices[0] is None:
        raise MalformedError("has no choices")
    return choices[0]


def _text(content: Any) -> str:
    """Return a reply's text, which some servers send in parts; thoughts among them are no text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part if isinstance(part, str) else _get(part, "text") for part in content if _is_text(part)]
        if all(isinstance(text, str) for text in texts):
            return "".join(texts)
    raise MalformedError(f"has a text that is no string: {str(content)[:80]}")


def _is_text(part: Any) -> bool:
    return isinstance(part, str) or _get(part, "type") in (None, "text", "output_text")


def _common(answer: Any, choice: Any) -> dict[str, Any]:
    usage, reason = _get(answer, "usage"), _get(choice, "finish_reason")
    cached = _get(_get(usage, "prompt_tokens_details"), "cached_tokens")
    counts = Usage(_count(_get(usage, "prompt_tokens")), _count(cached), _count(_get(usage, "completion_tokens")))
    return {"finish_reason": reason if isinstance(reason, str) else None, "usage": counts}


def _count(value: Any) -> int | None:
    """Return a count of tokens; what is none is not known."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or not 0 <= value < 1 << 53:
        return None
    return int(value)


def _message(error: Exception) -> str:
    """Return the server's own words in one line."""
    body = getattr(error, "body", None)
    text = body.get("message") if isinstance(body, dict) else None
    cause = f" ({error.__cause__})" if error.__cause__ and not text else ""
    return " ".join(str(text or error).split())[:500] + cause
