"""What a recipe says of an OpenAI-compatible server, checked: its address, the key's name, headers and mappings."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

from ocli.errors import EngineError
from ocli.recipe import ModelSpec

DEFAULT_KEY = "OPENAI_API_KEY"
DEFAULT_URL = "https://api.openai.com/v1"

_SECRET_HEADER = re.compile(r"authorization|api[-_]?key|(access|auth)[-_]?token|secret|password|^cookie$", re.IGNORECASE)


def api_key(spec: ModelSpec) -> str:
    """Return the key that the environment holds, under the name that the model says."""
    name = spec.api_key_env or (DEFAULT_KEY if spec.base_url is None else None)
    if name is None:
        return "none"  # a server of one's own rarely asks for a key, but the client insists on a string
    key = os.environ.get(name)
    if not key:
        raise EngineError(f"the environment variable {name} is not set: export {name}=... (the key never goes into a recipe)")
    return key


def address(url: str) -> str:
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
