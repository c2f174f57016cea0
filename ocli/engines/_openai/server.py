"""What a recipe says of an OpenAI-compatible server, checked: its address, the key's name, headers and mappings."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ocli.errors import EngineError
from ocli.recipe import ModelSpec

DEFAULT_KEY = "OPENAI_API_KEY"
DEFAULT_URL = "https://api.openai.com/v1"

_SECRET_HEADER = re.compile(r"authorization|api[-_]?key|(access|auth)[-_]?token|secret|password|^cookie$", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """Where a server is and what it needs to be told with every request."""

    url: str
    key: str = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    api_version: str | None = None
    proxy: str | None = field(default=None, repr=False)
    ca: str | None = None


def api_key(spec: ModelSpec) -> str:
    """Return the key that the environment holds, under the name that the model says."""
    name = spec.api_key_env or (DEFAULT_KEY if spec.base_url is None else None)
    if name is None:
        return "none"  # a server of one's own rarely asks for a key, but the client insists on a string
    key = os.environ.get(name, "").strip()
    if not key:
        raise EngineError(f"the environment variable {name} is not set: export {name}=... (the key never goes into a recipe)")
    if not re.fullmatch(r"[!-~]+", key):
        raise EngineError(f"the environment variable {name} holds something that is no key: it has spaces or other characters")
    return key


def address(url: str, azure: bool = False) -> str:
    """Accept a server's address with or without ``/v1`` and with the endpoint's path still on it.

    Azure's classic API lies under ``/openai``; the client adds the deployment, which is the model's name.
    """
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
            f"base_url {url.split('?')[0].split('#')[0]!r} has a '?' or '#' part, which has no place in it: {advice} "
            "(write args.query or, for Azure, args.api_version)"
        )
    if azure:
        return url if parts.path.strip("/") else f"{url}/openai"
    return url if parts.path.strip("/") else f"{url}/v1"


def addresses(spec: ModelSpec) -> list[Address]:
    """Return all servers of a model, with what they need to be told; raise EngineError on what a recipe cannot say of them."""
    args = spec.args
    urls = [spec.base_url] if isinstance(spec.base_url, str) else spec.base_url
    query = {name: str(value) for name, value in mapping(args, "query").items()}
    for name in query:
        if _SECRET_HEADER.search(name):
            raise EngineError(f"args.query.{name}: a key does not belong in a recipe: export it and write 'api_key_env: NAME'")
    key, headers = api_key(spec), checked_headers(mapping(args, "headers"))
    version, proxy, ca = text(args, "api_version"), _proxy(text(args, "proxy")), _certificates(text(args, "ca"))
    # Always said: the client would else take OPENAI_BASE_URL, which no recipe shows.
    return [Address(address(url, bool(version)), key, headers, query, version, proxy, ca) for url in urls or [DEFAULT_URL]]


def text(args: dict[str, Any], name: str) -> str | None:
    """Return a text among the engine's arguments; a date such as an API's version may have been read as one."""
    value = args.get(name)
    if value is None or isinstance(value, (str, date)):
        return None if value is None else str(value)
    raise EngineError(f"args.{name} must be a text, not {type(value).__name__}")


def _proxy(url: str | None) -> str | None:
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or "@" in url):
        raise EngineError("args.proxy must be like http://host:3128; one with a password goes into HTTPS_PROXY instead")
    return url


def _certificates(path: str | None) -> str | None:
    if path is None:
        return None
    file = str(Path(path).expanduser())
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # no such file, or nothing in it
        raise EngineError(f"args.ca: {path!r} holds no certificates ({error.strerror or error})") from None
    return file


def mapping(args: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a mapping among the engine's arguments."""
    value = args.get(name, {})
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise EngineError(f"args.{name} must be a mapping, not {type(value).__name__}")
    return value


def checked_headers(headers: dict[str, Any]) -> dict[str, str]:
    """Refuse headers that a recipe must not hold, and values that no header can have."""
    for name, value in headers.items():
        if _SECRET_HEADER.search(name):
            raise EngineError(f"args.headers.{name}: a key does not belong in a recipe: export it and write 'api_key_env: NAME'")
        if not isinstance(value, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\r\n]", value):
            raise EngineError(f"args.headers.{name}: must be a header's name and a string, not {type(value).__name__}")
    return headers
