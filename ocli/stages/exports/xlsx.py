"""The summary as an Excel workbook, by XlsxWriter: ``pip install 'ocli[xlsx]'``. Numbers are numbers, texts never formulas."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

from ocli.extras import package
from ocli.stages.exports.reading import Reading
from ocli.stages.report import Summary, SummaryRow
from ocli.stages.tables import COLUMNS, notes, table_lines

LONGEST = 32_767
"""Characters of a cell, by Excel's specification."""
WIDEST = 60
Cell = str | float | int | bool | None


def to_xlsx(summary: Summary) -> bytes:
    """Return the workbook: ``summary`` (the table), ``rows`` (every row), ``conditions``, ``notes``."""
    library = package("--format xlsx", "xlsx", "xlsxwriter")
    buffer = io.BytesIO()
    book = library.Workbook(buffer, {"in_memory": True})
    try:
        _table(book, summary)
        _sheet(book, "rows", *_rows(summary))
        _sheet(book, "conditions", *_conditions(summary))
        _sheet(book, "notes", ["note"], [[note] for note in notes(summary)])
    finally:
        book.close()
    return buffer.getvalue()


def _table(book: Any, summary: Summary) -> None:
    """Write the table as it is printed: two decimals, the best of a line bold, a task's own line shaded."""
    reading = Reading(summary)
    sheet = _new(book, "summary", [*COLUMNS, *summary.models], frozen_columns=len(COLUMNS))
    widths = [len(name) for name in (*COLUMNS, *summary.models)]
    looks = {
        (bold, shaded): book.add_format({"num_format": "0.00", "bold": bold, **({"bg_color": "#EEF2F7"} if shaded else {})})
        for bold in (False, True)
        for shaded in (False, True)
    }
    for line, (head, cells) in enumerate(table_lines(summary), 1):
        best, shaded = reading.best(cells), next(iter(cells.values())).is_headline
        for column, text in enumerate(head):
            _write(sheet, line, column, text, looks[False, shaded])
            widths[column] = max(widths[column], len(text))
        for column, model in enumerate(summary.models, len(COLUMNS)):
            row = cells.get(model)
            _write(sheet, line, column, row.score if row else None, looks[model in best, shaded])
    _widen(sheet, widths)


def _rows(summary: Summary) -> tuple[list[str], Iterator[list[Cell]]]:
    """Return every row, its interval and reference in columns of their own."""
    names = [name for name in SummaryRow.__dataclass_fields__ if name not in ("ci95", "subsets", "reference")]
    heads = [*names, "ci95_low", "ci95_high", "subsets_scored", "subsets", "reference", "reference_source", "tolerance"]

    def cells() -> Iterator[list[Cell]]:
        for row in summary.rows:
            published = row.reference
            yield [
                *(getattr(row, name) for name in names), *(row.ci95 or (None, None)), *(row.subsets or (None, None)),
                *((published.score, published.source, published.tolerance) if published else (None, None, None)),
            ]  # fmt: skip

    return heads, cells()


def _conditions(summary: Summary) -> tuple[list[str], list[list[Cell]]]:
    """Return a line for each condition, a column for each model."""
    reading = Reading(summary)
    told = {label: dict(reading.conditions(label)) for label in summary.models}
    names = list(dict.fromkeys(name for conditions in told.values() for name in conditions))
    return ["condition", *told], [[name, *(conditions.get(name) for conditions in told.values())] for name in names]


def _sheet(book: Any, name: str, heads: Sequence[str], rows: Any) -> None:
    sheet = _new(book, name, heads, frozen_columns=1)
    widths = [len(head) for head in heads]
    for line, cells in enumerate(rows, 1):
        for column, cell in enumerate(cells):
            _write(sheet, line, column, cell)
            widths[column] = max(widths[column], len(str(cell if cell is not None else "")))
    _widen(sheet, widths)


def _new(book: Any, name: str, heads: Sequence[str], frozen_columns: int) -> Any:
    sheet = book.add_worksheet(name)
    bold = book.add_format({"bold": True, "bottom": 1})
    for column, head in enumerate(heads):
        _write(sheet, 0, column, head, bold)
    sheet.freeze_panes(1, frozen_columns)
    return sheet


def _widen(sheet: Any, widths: Sequence[int]) -> None:
    for column, width in enumerate(widths):
        sheet.set_column(column, column, min(WIDEST, max(8, width + 2)))


def _write(sheet: Any, line: int, column: int, cell: Cell, look: Any = None) -> None:
    """Write a cell by its type: ``write`` would make formulas and links of texts that look like them."""
    if cell is None:
        sheet.write_blank(line, column, None, look)
    elif isinstance(cell, bool):
        sheet.write_boolean(line, column, cell, look)
    elif isinstance(cell, (int, float)) and math.isfinite(cell):
        sheet.write_number(line, column, cell, look)
    else:
        sheet.write_string(line, column, str(cell)[:LONGEST], look)
