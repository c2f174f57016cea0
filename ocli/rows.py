"""Rows of CSV, TSV, JSONL, JSON, XML and Parquet files, plain or compressed (.gz, .bz2); values of files with one a line.

Every value of a CSV or XML stays a string; JSON and Parquet keep their types. A malformed row is an error that names its line:
a row that is silently dropped changes the score.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ocli.errors import DataError
from ocli.types import Row

_COMPRESSED: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".bz2": bz2.decompress}

# GAOKAO essays and code answers pass csv's default limit of 128 KiB a field.
csv.field_size_limit(1 << 30)


SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".xml", ".parquet")


def is_data_file(name: str) -> bool:
    """Tell from its name whether a file holds rows."""
    return _format(name)[0] in SUFFIXES


def _format(name: str) -> tuple[str, str]:
    """Return the suffix that tells a file's format, and that of its compression, if any: ``.jsonl`` and ``.gz``."""
    suffixes = ["", "", *map(str.lower, Path(name).suffixes)]
    return (suffixes[-2], suffixes[-1]) if suffixes[-1] in _COMPRESSED else (suffixes[-1], "")


def read_rows(path: Path, header: list[str] | None = None) -> list[Row]:
    """Read all rows of a file; ``header`` names the columns of a CSV that has no header line, and of rows that are lists."""
    return parse_rows(str(path), read_bytes(path), header)


def read_bytes(path: Path) -> bytes:
    """Read a whole file; raise DataError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def parse_rows(name: str, raw: bytes, header: list[str] | None = None, delimiter: str | None = None) -> list[Row]:
    """Parse a file's bytes; the format is told by the name's suffix (``val.csv``, ``test.jsonl.gz``, ...).

    ``delimiter`` stands between the cells of a CSV or TSV where it is not the comma or the tab that the suffix says.
    """
    suffix, raw = _decompress(name, raw)
    if suffix == ".parquet":
        return _parquet(name, raw)
    if suffix == ".xml":
        return _xml(name, raw)
    text = _decode(name, raw)
    if suffix in (".csv", ".tsv"):
        return _csv(name, text, delimiter or ("," if suffix == ".csv" else "\t"), header)
    if suffix == ".jsonl":
        return _jsonl(name, text, header)
    if suffix == ".json":
        return _json(name, text, header)
    raise DataError(f"{name}: unknown format {suffix!r}; known are .csv .tsv .jsonl .json .xml .parquet, each also .gz or .bz2")


def parse_values(name: str, raw: bytes) -> list[str]:
    """Parse a file with one value a line, whatever its suffix; a blank line is an empty value."""
    text = read_text(name, raw)
    return text.removesuffix("\n").split("\n") if text else []


def read_text(name: str, raw: bytes) -> str:
    """Return a file's whole text, its line ends as ``\\n``."""
    return _decode(name, _decompress(name, raw)[1]).replace("\r\n", "\n")


def _decompress(name: str, raw: bytes) -> tuple[str, bytes]:
    """Return the suffix that tells the format, and the bytes without their compression."""
    suffix, compression = _format(name)
    if compression:
        try:
            raw = _COMPRESSED[compression](raw)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise DataError(f"{name}: is not a whole {compression} file ({error}); fetch it again") from None
    return suffix, raw


def _decode(name: str, raw: bytes) -> str:
    """Read UTF-8 with or without a byte order mark, else the Chinese encodings (GBK is part of GB 18030)."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{name}: is neither UTF-8 nor GB 18030 text; save it as UTF-8")


def _csv(name: str, text: str, delimiter: str, header: list[str] | None) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    columns = header
    try:
        for cells in reader:
            if not cells:
                continue
            if columns is None:
                columns = [cell.strip() for cell in cells]
                twice = sorted({column for column in columns if columns.count(column) > 1})
                if twice:
                    raise DataError(f"{name}:1: two columns are called {', '.join(map(repr, twice))}; rename one of them")
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{name}:{reader.line_num}: the row has {len(cells)} cells, but there are {len(columns)} columns "
                    f"({', '.join(columns)}); a cell with a comma or a quote needs quotes around it"
                )
            rows.append(dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{name}:{reader.line_num}: not valid CSV: {error}") from None
    return rows


def _jsonl(name: str, text: str, header: list[str] | None) -> list[Row]:
    rows: list[Row] = []
    # Not splitlines(): JSON strings may hold U+2028 and its like, which are no line ends here.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{name}:{number}"
            try:
                rows.append(_named(where, json.loads(line), header))
            except json.JSONDecodeError as error:
                raise DataError(f"{where}: not valid JSON: {error}") from None
    return rows


def _json(name: str, text: str, header: list[str] | None) -> list[Row]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # more than one value: lines, as CLUE has them in files called .json
            return _jsonl(name, text, header)
        raise DataError(f"{name}: not valid JSON: {error}") from None
    if isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list)]
        if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
            data = lists[0]  # {"examples": [...]}, as BBH and GAOKAO-Bench have it
        elif data and all(isinstance(value, dict) for value in data.values()):
            data = [{"_key": key, **value} for key, value in data.items()]
        elif data and len(lists) == len(data) and len({len(value) for value in lists}) == 1:
            data = [dict(zip(data, cells, strict=True)) for cells in zip(*lists, strict=True)]
        elif "\n" not in text.strip():
            data = [data]  # lines, of which there is one
        else:
            raise DataError(f"{name}: a JSON object must hold one list of rows, rows by key, or columns of equal length")
    if not isinstance(data, list):
        raise DataError(f"{name}: must hold a list of rows, not {type(data).__name__}")
    return [_named(f"{name}: row {index}", row, header) for index, row in enumerate(data)]


def _named(where: str, row: Any, header: list[str] | None) -> Row:
    """Return a row with its columns' names: those it has, or the header's where it is a list of cells."""
    if isinstance(row, list) and header:
        if len(row) != len(header):
            raise DataError(f"{where}: the row has {len(row)} cells, but data.header names {len(header)} ({', '.join(header)})")
        return dict(zip(header, row, strict=True))
    if not isinstance(row, dict):
        hint = "; data.header can name a list's columns" if isinstance(row, list) else ""
        raise DataError(f"{where}: a row must be an object of named columns, not {type(row).__name__}{hint}")
    return row


def _xml(name: str, raw: bytes) -> list[Row]:
    """Read a list of flat elements, each a row of its attributes and of the texts in it, however deep the list stands."""
    try:
        place = ElementTree.fromstring(raw)
    except ElementTree.ParseError as error:
        raise DataError(f"{name}: not valid XML: {error}") from None
    while len(place) == 1 and any(len(inner) for inner in place[0]):
        place = place[0]
    tags = {element.tag for element in place}
    if len(tags) > 1 or any(len(cell) for element in place for cell in element):
        raise DataError(f"{name}: must hold one list of elements of the same name, each with plain texts in it")
    return [{**element.attrib, **{cell.tag: cell.text or "" for cell in element}} for element in place]


def _parquet(name: str, raw: bytes) -> list[Row]:
    import polars as pl

    try:
        return pl.read_parquet(io.BytesIO(raw)).to_dicts()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{name}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
