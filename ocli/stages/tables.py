"""The summary as a table: for the terminal and a text file, CSV, and Markdown. Columns as OpenCompass prints them."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ocli.task import CAPABILITIES

if TYPE_CHECKING:
    from ocli.recipe import Reference
    from ocli.stages.report import Summary, SummaryRow

COLUMNS = ("dataset", "version", "metric", "mode")
Row = tuple[str, ...]
WIDE = 10_000
"""Columns of a file: nothing is cut."""


def to_csv(summary: Summary) -> str:
    """Return ``dataset, version, metric, mode, <one per model>``; a score has two decimals, a missing one is ``-``."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, *summary.models])
    for head, cells in table_lines(summary):
        writer.writerow([*head, *(printed(cells.get(model)) for model in summary.models)])
    return buffer.getvalue()


def to_markdown(summary: Summary) -> str:
    """Return the table and its notes in Markdown."""
    lines = [
        "| " + " | ".join([*COLUMNS, *map(in_cell, summary.models)]) + " |",
        "|" + " --- |" * 4 + " ---: |" * len(summary.models),
    ]
    for head, cells in table_lines(summary):
        lines.append("| " + " | ".join([*map(in_cell, head), *(printed(cells.get(model)) for model in summary.models)]) + " |")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(summary)), ""])


def in_cell(text: str) -> str:
    """Write what a file says so that it stays in its cell of a Markdown table, and is no markup."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;").replace("`", "\\`")


def to_text(summary: Summary) -> str:
    """Return the table as it is printed, in a width that cuts nothing."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=WIDE, color_system=None)
    console.print(to_rich(summary, WIDE))
    table = "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
    return "\n".join([table, "", *notes(summary), ""])


def aligned(rows: Sequence[Row], right: Container[int] = ()) -> Iterator[str]:
    """Lay rows of texts out in columns, those of these numbers to the right; nothing is cut."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def to_rich(summary: Summary, width: int) -> Table:
    """Return the table for a terminal ``width`` columns wide: means of tasks in bold; only long dataset names are cut."""
    lines = table_lines(summary)
    widths = [max([len(column), *(cell_len(head[number]) for head, _ in lines)]) for number, column in enumerate(COLUMNS)]
    numbers = {model: [len(printed(cells.get(model))) for _, cells in lines] for model in summary.models}
    models = [max(6, cell_len(model), *numbers[model]) for model in summary.models]
    taken = sum(widths[1:]) + sum(models) + 2 * (len(widths) + len(models))
    widths[0] = max(10, min(widths[0], width - taken))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column, cells_wide in zip(COLUMNS, widths, strict=True):
        table.add_column(column, no_wrap=True, overflow="ellipsis", width=cells_wide)
    for model, cells_wide in zip(summary.models, models, strict=True):
        table.add_column(Text(model), justify="right", no_wrap=True, width=cells_wide)
    for head, cells in lines:
        row = next(iter(cells.values()))
        texts = [Text(part) for part in head]
        scores = [Text(printed(cells.get(model))) for model in summary.models]
        table.add_row(*texts, *scores, style="bold" if row.is_headline else "")
    return table


def notes(summary: Summary) -> list[str]:
    """Say of each task's score how many items it is over, how sure it is, and what went wrong on the way."""
    lines = [f"PARTIAL: {name} was asked {part} only" for name, part in summary.partial.items()]
    for row in summary.rows:
        if row.is_headline:
            lines.append(_note(row))
            lines += [_compared(row, row.reference, row.task in summary.partial)] if row.reference else []
    lines += [f"{model}: {spent.describe()}" for model, spent in summary.spent.items() if spent.cost is not None]
    lines += [f"NO SCORE: {line}" for line in summary.unlabelled]
    for model, task in summary.unasked:
        lines.append(f"INCOMPLETE: {model}, {task}: not asked, the model could not be started; run again with -r")
    return lines


def _note(row: SummaryRow) -> str:
    interval = f"95 % interval {row.ci95[0]:.2f} to {row.ci95[1]:.2f}, " if row.ci95 else ""
    each = f", {row.replies} replies" if row.replies > row.n + row.failed and row.n else ""
    parts = [f"{row.model}, {row.task}: {printed(row)} ({interval}n = {row.n}{each})"]
    if row.n + row.failed and row.subsets and row.subsets[0] < row.subsets[1]:
        parts.append(f"INCOMPLETE: mean of {row.subsets[0]}/{row.subsets[1]} subsets")
    for word in ("unanswered", "truncated", "failed"):
        count = getattr(row, word)
        if count:
            parts.append(f"{word} {count} ({100 * count / row.replies:.1f} %)")
    if row.shots_dropped:
        parts.append(f"{row.shots_dropped} asked with fewer examples, for their prompts were too long")
    if row.failed and row.floor is not None:
        parts.append(f"{row.floor:.2f} if every failed one is wrong")
    return "; ".join(parts)


def _compared(row: SummaryRow, reference: Reference, partial: bool) -> str:
    """Say how far the score is from a published one; only a whole one is judged."""
    where = f"{row.model}, {row.task}: reference {reference.score:.2f} +- {reference.tolerance:g} ({reference.source})"
    if row.score is None:
        return f"{where}: not compared, there is no score"
    away = row.score - reference.score
    if partial or row.failed:
        return f"{where}: {away:+.2f}, not judged: only a part was scored"
    verdict = "WITHIN" if abs(away) <= reference.tolerance else "OUTSIDE"
    return f"{where}: {away:+.2f}, {verdict} the tolerance"


def table_lines(summary: Summary) -> list[tuple[tuple[str, str, str, str], dict[str, SummaryRow]]]:
    """Line the models up: subsets, then groups, then the task's means, further rules as their mean alone."""
    lines: dict[tuple[str, str, str, str], dict[str, SummaryRow]] = {}
    for row in summary.rows:
        if row.headline or row.is_task_mean:
            lines.setdefault((row.dataset, row.version, row.metric, row.mode), {})[row.model] = row
    return sorted(lines.items(), key=lambda line: _rank(line[1], summary))


def _rank(cells: dict[str, SummaryRow], summary: Summary) -> tuple[int, int, int]:
    """Order by capability, then by task; a task's mean stands below its parts, a capability's below its tasks."""
    row = next(iter(cells.values()))
    if row.task is None:
        return CAPABILITIES.index(row.dataset), len(summary.rows), 0
    capability = CAPABILITIES.index(summary.capabilities[row.task])
    task = list(summary.capabilities).index(row.task)
    if row.subset is not None or row.group is not None:
        return capability, task, 0 if row.group is None else 1
    return capability, task, 3 if row.is_headline else 2


def printed(row: SummaryRow | None) -> str:
    """Return a score as it is printed: with two decimals, a missing one as ``-``."""
    if row is None or row.score is None:
        return "-"
    return f"{row.score:.2f}" if row.score < 1e6 else f"{row.score:.2e}"  # a perplexity may be any number
