"""Write the table of tasks into the READMEs, between the two comments that mark its place: ``make tables``.

A test holds the READMEs to what this writes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ocli.catalog import search
from ocli.stages.listing import to_markdown

BEGIN, END = "<!-- tasks: written by make tables -->", "<!-- end of tasks -->"
READMES = [Path(__file__).parents[1] / name for name in ("README.md", "README.zh-CN.md")]


def with_table(text: str) -> str:
    """Return a page with the table of today's catalog in its place."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise SystemExit(f"the page has no place for the table: it is between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{to_markdown(search([], ['tasks']))}\n{END}{after}"


def main() -> None:
    """Write both pages; with ``--check`` only say, by the exit code, whether they are as they should be."""
    for path in READMES:
        text = path.read_text(encoding="utf-8")
        written = with_table(text)
        if "--check" in sys.argv:
            if written != text:
                raise SystemExit(f"{path.name}: the table of tasks is not that of the catalog; run: make tables")
        else:
            path.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
