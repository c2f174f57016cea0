"""The results page: one HTML file with everything in it, or the page that asks the server of ``ocli view``.

What models wrote is data here. It reaches the page as JSON and base64, is shown through ``textContent`` alone, and a
content security policy lets nothing run but the scripts below, by their hashes, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

WEB = Path(__file__).parents[1] / "web"
LIBRARIES = {"d3.min.js": "LICENSE.d3", "plot.umd.min.js": "LICENSE.plot"}
"""Vendored scripts with their licences; ``ocli/web/vendor/README.md`` says where they come from."""
PARTS = ("words", "dom", "source", "table", "charts", "outcomes", "prompt", "item", "items", "overview", "app")
"""Our own scripts, in the order in which they are joined."""
PLOT_STYLE = "sha256-+TfQir1nvDucAdvE6XUQBt4ayUjpAWkbw2kCdSfekHM="
"""The style element that the vendored Plot puts into each chart of class ``plot``; another version has another one."""


def render(page: Mapping[str, Any], blobs: Mapping[str, bytes] | None) -> str:
    """Return the page as HTML.

    ``page`` is what the page knows at once (``architecture.md`` has its keys). ``blobs`` holds each task's items as gzipped
    JSON; without blobs the page asks the server that it came from.
    """
    scripts, style = _scripts(), (WEB / "style.css").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    html = environment.from_string((WEB / "page.html").read_text("utf-8")).render(
        policy=_policy(scripts, style, asks=blobs is None),
        title=_plain(f"{page.get('title') or 'ocli'} · ocli"),
        ocli=page.get("ocli") or "",
        style=style,
        source="server" if blobs is None else "file",
        scripts=scripts,
        # ASCII, so that no half of a surrogate pair is left; no "<", so that no text ends its script element.
        data=json.dumps(page, allow_nan=False).replace("<", "\\u003c"),
        blobs=[(_plain(task), base64.b64encode(blob).decode()) for task, blob in (blobs or {}).items()],
    )
    return html + "\n"


@cache
def _scripts() -> tuple[str, ...]:
    """Return the scripts of the page: each library with its licence, then ours as one."""
    libraries = [
        f"/*\n{(WEB / 'vendor' / licence).read_text('utf-8')}*/\n{(WEB / 'vendor' / name).read_text('utf-8')}"
        for name, licence in LIBRARIES.items()
    ]
    ours = "\n".join((WEB / f"{part}.js").read_text("utf-8") for part in PARTS)
    return (*libraries, f'(() => {{\n"use strict";\n{ours}\n}})();\n')


def _policy(scripts: tuple[str, ...], style: str, asks: bool) -> str:
    """Return the content security policy: these scripts and styles alone, no markup from strings, no network."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(_hash(script) for script in scripts)}",
            f"style-src {_hash(style)} '{PLOT_STYLE}'",
            "img-src data:",
            f"connect-src {chr(39)}{'self' if asks else 'none'}{chr(39)}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _plain(text: str) -> str:
    """Return the text as UTF-8 can write it."""
    return text.encode("utf-8", "replace").decode()
