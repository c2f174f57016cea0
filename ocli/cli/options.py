"""The options that several commands share, as typer reads them."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

from ocli.errors import OcliError

# Optional[...] and not X | None: typer reads the annotations at run time, on Python 3.10 too.
RecipeArg = Annotated[
    Optional[str],
    typer.Argument(metavar="RECIPE", help="A recipe: a YAML or TOML file, or a name from 'ocli list'.", show_default=False),
]
Models = Annotated[
    list[str],
    typer.Option("-m", "--model", metavar="MODEL", help="A model: name, file, or engine:path. Repeatable.", show_default=False),
]
Tasks = Annotated[
    list[str],
    typer.Option(
        "-t",
        "--task",
        metavar="TASK",
        help="A task or suite: name, file, or a CSV of questions. Repeatable.",
        show_default=False,
    ),
]
Limit = Annotated[
    Optional[int],
    typer.Option(
        "--limit",
        metavar="N",
        help="Ask only N items of each task, spread over its subsets.",
        min=1,
        show_default=False,
    ),
]
Shard = Annotated[
    Optional[str],
    typer.Option("--shard", metavar="I/N", help="Ask only the I-th of N shares of the items.", show_default=False),
]
DataDir = Annotated[
    Optional[str],
    typer.Option("--data-dir", metavar="DIR", help="Where the data is: a directory or a zip.", show_default=False),
]
WorkDir = Annotated[
    Optional[str],
    typer.Option("-w", "--work-dir", metavar="DIR", help="Where runs are written (default: outputs).", show_default=False),
]
Resume = Annotated[
    bool, typer.Option("-r", "--resume", help="Go on with the latest run of this recipe; -r TIMESTAMP names another.")
]
Sets = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="K=V",
        help="Change one key of the recipe, as sampling.max_tokens=64. Repeatable.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Ask nothing: print requests, estimated tokens and cost, and the first prompt.")
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code-exec", help="Let code benchmarks run the model's programs, in a sandbox, to score them.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Open no socket: what is not on this machine is an error.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
RunArg = Annotated[
    Optional[str],
    typer.Argument(metavar="RUN", help="A run directory; left out: the latest below ./outputs.", show_default=False),
]
RunsArg = Annotated[
    Optional[list[str]],
    typer.Argument(metavar="RUN...", help="Run directories; left out: the latest.", show_default=False),
]


def overrides(sets: list[str]) -> dict[str, Any]:
    """Turn ``a.b=1`` into nested mappings, values read as YAML."""
    from ocli.documents import merge, parse_value

    whole: dict[str, Any] = {}
    for item in sets:
        path, equals, text = item.partition("=")
        if not equals or not path:
            raise OcliError(f"--set {item}: must be KEY=VALUE, as in --set sampling.max_tokens=64")
        value = parse_value(text)
        for key in reversed(path.split(".")):
            value = {key: value}
        whole = merge(whole, value)
    return whole
