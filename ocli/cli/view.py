"""view: runs item by item in the browser."""

from __future__ import annotations

import os
import platform
import sys
from typing import Annotated, Optional

import typer

from ocli.cli.app import app
from ocli.cli.options import Debug, RunsArg
from ocli.cli.printing import out, say


@app.command()
def view(
    runs: RunsArg = None,
    port: Annotated[
        Optional[int],
        typer.Option(help="The port (default: 8760, or the next free one).", min=0, max=65535, show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; with another than this one a token is asked for.")] = (
        "127.0.0.1"
    ),
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page where there is a display.")] = True,
    debug: Debug = False,
) -> None:
    """Show runs item by item in the browser, also while they are being made."""
    from ocli.runs import Run
    from ocli.stages.browse import Book
    from ocli.stages.view import view as serve

    found = Run.find_all(runs or [])
    for run in found:
        run.recipe()

    def ready(url: str, bound: int) -> None:
        out(url)
        if "?token=" not in url:
            here = f"[{host}]" if ":" in host else host
            say(f"from another machine: ssh -L {bound}:{here}:{bound} {platform.node()}, then http://localhost:{bound}/ there")
        say("Ctrl-C ends it")
        if browser and sys.stdout.isatty() and _has_display():
            import threading
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    serve(Book(found), host, port, ready)


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
