"""Write into the pages what the code and the catalog say, between the comments that mark its place: ``make tables``.

The tables of tasks, suites and conditions are written whole; of the READMEs' table of capabilities only the counts are.
A test holds the pages to what this writes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from ocli.catalog import search
from ocli.effects import KINDS
from ocli.stages.listing import by_capability, to_markdown

ROOT = Path(__file__).parents[1]


def tasks() -> str:
    """Return all tasks, a table that opens for each capability."""
    return to_markdown(search([], ["tasks"]))


def suites() -> str:
    """Return the suites with their tasks."""
    rows = [f"| `{suite.name}` | {', '.join(f'`{name}`' for name in suite.data['tasks'])} |" for suite in search([], ["suites"])]
    return "\n".join(["| suite | tasks |", "|---|---|", *rows, ""])


def conditions() -> str:
    """Return the conditions of which somebody has told an effect."""
    rows = [
        f"| {kind.name} | {'' if kind.points is None else f'{kind.points:g}'} | {kind.source} |" for kind in KINDS if kind.source
    ]
    return "\n".join(["| condition | points | source |", "|---|---:|---|", *rows, ""])


PLACES: dict[str, Callable[[], str]] = {"tasks": tasks, "suites": suites, "conditions": conditions}


def written(text: str) -> str:
    """Return a page with today's tables and counts in their places."""
    for name, table in PLACES.items():
        begin, end = f"<!-- {name}: written by make tables -->", f"<!-- end of {name} -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            _, mark, after = rest.partition(end)
            if not mark:
                raise SystemExit(f"the page has no end for its {name}: {end}")
            text = f"{before}{begin}\n\n{table()}\n{end}{after}"
    return text


def counted(text: str) -> str:
    """Return a README with today's number of tasks in the row of each capability."""
    for capability, members in by_capability(search([], ["tasks"])):
        text, rows = re.subn(rf"(?m)^\| {capability} \| \d+ \|", f"| {capability} | {len(members)} |", text)
        if rows != 1:
            raise SystemExit(f"the README has {rows} rows '| {capability} | N | ...', but it needs one")
    return text


def main() -> None:
    """Write all pages; with ``--check`` only say, by the exit code, whether they are as they should be."""
    for path in (*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        page = counted(text) if path.parent == ROOT else written(text)
        if page == text:
            continue
        if "--check" in sys.argv:
            raise SystemExit(f"{path.name}: a table is not that of the catalog; run: make tables")
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
