"""Any OpenAI-compatible server, through AsyncOpenAI on its aiohttp transport.

Chat models are asked at ``/chat/completions``, base models (``chat: false``) at ``/completions``. ``path: auto`` asks the
server which model it serves. The key comes from the environment variable that ``api_key_env`` names and is kept nowhere.
"""

from __future__ import annotations

import os
import time
from typing import Any
from urllib.parse import urlsplit

from ocli.engines import refuse_unknown
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.types import Reply, Request, Sampling, Usage

DEFAULT_KEY = "OPENAI_API_KEY"


class Engine:
    """One server, one model."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, ["timeout", "max_retries", "headers", "extra_body"], "openai")
        self.spec = spec
        self.model = spec.path or ""
        self.base_url = _normalise(spec.base_url)
        self.chat = spec.chat is not False
        self.concurrency = spec.concurrency or 16
        self.record: dict[str, Any] = {"base_url": self.base_url}
        self._key = _key(spec)
        self._client: Any = None

    async def start(self) -> None:
        """Open the client; with ``path: auto`` ask for the model's name."""
        import openai

        args = self.spec.args
        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self.base_url,
            timeout=args.get("timeout", 600),
            max_retries=args.get("max_retries", 2),
            default_headers=args.get("headers"),
            http_client=openai.DefaultAioHttpClient(),
        )
        if self.model == "auto":
            self.model = await self._discover()
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
        except openai.OpenAIError as error:
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
        message = choice.message
        extra = message.model_extra or {}
        reasoning = extra.get("reasoning_content") or extra.get("reasoning")
        return {"text": message.content or "", "reasoning": reasoning, **_common(answer, choice)}

    async def _ask_text(self, request: Request) -> dict[str, Any]:
        answer = await self._client.completions.create(
            model=self.model, prompt=request.prompt, **_settings(request.sampling), **self._extra(request.sampling)
        )
        choice = _first_choice(answer)
        return {"text": choice.text or "", **_common(answer, choice)}

    def _extra(self, sampling: Sampling) -> dict[str, Any]:
        # The API has no top_k; the servers that know it (vLLM, LMDeploy, SGLang) read it from the body.
        top_k = {} if sampling.top_k is None else {"top_k": sampling.top_k}
        body = {**top_k, **self.spec.args.get("extra_body", {})}
        return {"extra_body": body} if body else {}

    async def _discover(self) -> str:
        import openai

        try:
            names = [model.id for model in (await self._client.models.list()).data]
        except openai.OpenAIError as error:
            raise EngineError(f"{self._place()} does not say which models it serves: {_message(error)}") from None
        if len(names) != 1:
            raise EngineError(
                f"{self._place()} serves {len(names)} models ({', '.join(names)}): name one as 'path' instead of auto"
            )
        return str(names[0])

    def _place(self) -> str:
        return f"{self.base_url or 'https://api.openai.com/v1'} (model {self.model})"


def _key(spec: ModelSpec) -> str:
    name = spec.api_key_env or (DEFAULT_KEY if spec.base_url is None else None)
    if name is None:
        return "none"  # a server of one's own rarely asks for a key, but the client insists on a string
    key = os.environ.get(name)
    if not key:
        raise EngineError(f"the environment variable {name} is not set: export {name}=... (the key never goes into a recipe)")
    return key


def _normalise(url: str | None) -> str | None:
    """Accept a server's address with or without ``/v1`` and with the endpoint's path still on it."""
    if url is None:
        return None
    url = url.rstrip("/")
    for ending in ("/chat/completions", "/completions"):
        url = url.removesuffix(ending)
    if urlsplit(url).scheme not in ("http", "https"):
        raise EngineError(f"base_url {url!r} is not an address: it must begin with http:// or https://")
    return url if urlsplit(url).path.strip("/") else f"{url}/v1"


def _settings(sampling: Sampling) -> dict[str, Any]:
    """Say what the recipe says under the API's names; what it leaves out is the server's own."""
    settings: dict[str, Any] = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens}
    if sampling.top_p is not None:
        settings["top_p"] = sampling.top_p
    if sampling.seed is not None:
        settings["seed"] = sampling.seed
    if sampling.stop:
        settings["stop"] = list(sampling.stop)
    return settings


def _first_choice(answer: Any) -> Any:
    choices = getattr(answer, "choices", None)
    if not choices:
        from openai import OpenAIError

        raise OpenAIError("the server's reply has no choices")
    return choices[0]


def _common(answer: Any, choice: Any) -> dict[str, Any]:
    usage = answer.usage
    details = getattr(usage, "prompt_tokens_details", None)
    counts = Usage(usage.prompt_tokens, getattr(details, "cached_tokens", None), usage.completion_tokens) if usage else Usage()
    return {"finish_reason": choice.finish_reason, "usage": counts}


def _message(error: Exception) -> str:
    """Return the server's own words in one line."""
    body = getattr(error, "body", None)
    text = body.get("message") if isinstance(body, dict) else None
    cause = f" ({error.__cause__})" if error.__cause__ and not text else ""
    return " ".join(str(text or error).split())[:500] + cause
