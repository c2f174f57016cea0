"""AsyncOpenAI over aiohttp, without the detours on the way that cost more than the request itself.

The SDK says how a request looks: address, headers, key, Azure's ways. To prepare one takes it twice as long as to send it, and
all requests to a path look alike but for their bodies. So it prepares one for each path, which is never sent, and all requests
are sent like that one.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import openai
from yarl import URL

from ocli.engines._openai.server import Address

# The SDK takes a client of the library that it is built on: httpx2 since its version 3. Both may be installed.
if int(openai.__version__.partition(".")[0]) >= 3:
    import httpx2 as httpx
else:  # pragma: no cover - an older SDK
    import httpx  # type: ignore[no-redef,import-not-found]

Headers = list[tuple[str, str]]

MARK = "x-ocli-prepare"
"""The header of a request that is prepared and not sent; it holds the path."""
OURS = ("host", "content-length", "connection", "accept-encoding")
"""Headers that aiohttp writes itself."""
CONNECT_SECONDS = 30.0
"""A server that takes longer to accept a connection is not there."""


class Client:
    """One server. It asks each request once, and gives it up when nothing comes for ``silence`` seconds."""

    def __init__(self, address: Address, silence: float) -> None:
        self._direct = _Direct(address, silence)
        common: dict[str, Any] = {
            "api_key": address.key,
            "base_url": address.url,
            "max_retries": 0,
            "timeout": silence,
            "default_headers": address.headers,
            "default_query": address.query,
            "http_client": self._direct,
        }
        azure = address.api_version
        self.sdk = openai.AsyncAzureOpenAI(api_version=azure, **common) if azure else openai.AsyncOpenAI(**common)

    async def post(self, path: str, body: dict[str, Any], seconds: float) -> Any:
        """Send a body and return what comes back: of JSON the value, of anything else the text; raise APIStatusError."""
        if path not in self._direct.prepared:
            await self.prepare(path, str(body["model"]))
        like = self._direct.prepared[path]
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        status, headers, content = await self._direct.fetch("POST", *like, content, seconds)
        value = _value(content)
        if status < 300:
            return value
        # As the SDK raises it.
        response = httpx.Response(status, headers=headers, content=content, request=httpx.Request("POST", str(like[0])))
        inner = value.get("error", value) if isinstance(value, dict) else value
        raise openai.APIStatusError(f"Error code: {status} - {value}", response=response, body=inner)

    async def prepare(self, path: str, model: str) -> None:
        """Have the SDK say how requests to a path look."""
        with suppress(_PreparedError):
            await self.sdk.post(path, cast_to=object, body={"model": model}, options={"headers": {MARK: path}})

    async def stream(self, path: str, body: dict[str, Any], seconds: float) -> AsyncIterator[Any]:
        """Send a body and yield the pieces of the reply."""
        options: Any = {"timeout": seconds}
        pieces = await self.sdk.post(
            path, cast_to=object, body=body, options=options, stream=True, stream_cls=openai.AsyncStream[object]
        )
        async for piece in pieces:
            yield piece

    async def get(self, path: str) -> Any:
        """Ask for what needs no body."""
        return await self.sdk.get(path, cast_to=object)

    async def close(self) -> None:
        """Close all connections."""
        await self.sdk.close()


class _PreparedError(BaseException):
    """A request is prepared. No Exception, for older SDKs take any for a lost connection."""


class _Direct(httpx.AsyncClient):
    """Sends what the SDK has prepared through one aiohttp session, as it is, and keeps it to send more like it."""

    def __init__(self, address: Address, silence: float) -> None:
        super().__init__(transport=httpx.AsyncHTTPTransport(), trust_env=False)  # neither is used
        self.prepared: dict[str, tuple[URL, Headers]] = {}
        """The address and the headers of requests to each path."""
        self._address = address
        self._silence = silence
        self._proxy = address.proxy or _proxy_of(address.url)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: httpx.Request, *, stream: bool = False, **_: Any) -> httpx.Response:
        """Send the SDK's request and read its reply; a streamed one is read by whoever asked for it."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        headers = [pair for pair in headers if pair[0].lower() not in OURS]
        url = URL(str(request.url), encoded=True)
        if MARK in request.headers:
            self.prepared[request.headers[MARK]] = url, [pair for pair in headers if pair[0].lower() != MARK]
            raise _PreparedError
        seconds = request.extensions.get("timeout", {}).get("read")
        if not stream:
            status, told, content = await self.fetch(request.method, url, headers, request.content, seconds)
            return httpx.Response(status, headers=told, content=content, request=request)
        reply = await self._request(request.method, url, headers, request.content, seconds)
        return httpx.Response(reply.status, headers=_told(reply), stream=_Body(reply), request=request)

    async def fetch(
        self, method: str, url: URL, headers: Headers, content: bytes, seconds: float | None
    ) -> tuple[int, Any, bytes]:
        """Send a request; return the reply's status, headers and body."""
        async with await self._request(method, url, headers, content, seconds) as reply:
            return reply.status, _told(reply), await reply.read()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
        await super().aclose()

    async def _request(
        self, method: str, url: URL, headers: Headers, content: bytes, seconds: float | None
    ) -> aiohttp.ClientResponse:
        if self._session is None:  # within the loop that uses it
            context = ssl.create_default_context(cafile=self._address.ca) if self._address.ca else True
            connector = aiohttp.TCPConnector(limit=0, ssl=context)  # how many there are is not decided here
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        timeout = aiohttp.ClientTimeout(seconds, sock_connect=CONNECT_SECONDS, sock_read=self._silence)
        return await self._session.request(method, url, headers=headers, data=content or None, proxy=self._proxy, timeout=timeout)


class _Body(httpx.AsyncByteStream):
    """A reply's body as it comes."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._reply = reply

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._reply.content.iter_any():
            yield chunk

    async def aclose(self) -> None:
        self._reply.close() if not self._reply.content.at_eof() else self._reply.release()


def _told(reply: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """Return a reply's headers. aiohttp has unpacked the body, so nothing may say that it is still packed."""
    return [(name, value) for name, value in reply.raw_headers if name.lower() != b"content-encoding"]


def _value(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment (HTTPS_PROXY, NO_PROXY) says for an address."""
    parts = httpx.URL(url)
    if proxy_bypass(parts.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy and proxy.startswith("http") else None
