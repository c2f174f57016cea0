"""Lines of a predictions file: one at its byte offset, those that hold a text, those from some byte on."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ocli.errors import RunError
from ocli.scoring import Piece, Schema, read_lines, whole_lines

Key = tuple[str, int]
"""An item's id and its sample."""
Stopped = Callable[[], bool]
"""Says whether nobody waits for an answer any more."""
SEARCHED = 1 << 19
"""Bytes that are searched at once: so few stay in the processor's cache."""
FOUND, SECONDS = 20_000, 20.0
"""A search ends with so many lines or after so long."""
WORDS = ("text", "reasoning", "error")


def line_at(path: Path, offset: int | None, key: Key) -> dict[str, Any] | None:
    """Return the line that begins at a byte of the file; None where that is not this item's."""
    if offset is None:
        return None
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            line = file.readline()
            row = _parsed(line) if line.endswith(b"\n") else None
    except OSError:
        return None
    return row if row is not None and key_of(row) == key else None


def key_of(row: dict[str, Any]) -> Key:
    """Return the item and sample that a line is about."""
    return str(row.get("id")), int(row.get("sample") or 0)


def asked_last(line: Mapping[str, Any]) -> str:
    """Return what was asked last: of turns the last one that is not the assistant's, of a base model all of its text."""
    context = line.get("messages") or line.get("prompt") or ""
    if line.get("contexts"):  # a context for each choice
        context = context[0]
    if isinstance(context, str):
        return context
    turns = [turn for turn in context if turn.get("role") != "assistant"] or context
    return str(turns[-1].get("content") or "")


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def parse(piece: Piece, schema: Schema) -> pl.DataFrame:
    """Read the fields of ``schema`` of whole lines, and each line's ``offset``; torn lines are left out."""
    try:
        return read_lines(piece, schema)
    except pl.exceptions.PolarsError:  # a torn or an empty line among them
        start, block, end = piece
    good, offsets = [], []
    for line in block[:end].split(b"\n")[:-1]:
        if _parsed(line) is not None:
            good.append(line)
            offsets.append(start)
        start += len(line) + 1
    try:
        frame = pl.read_ndjson(io.BytesIO(b"\n".join(good)), schema=schema)
    except pl.exceptions.PolarsError:
        return pl.DataFrame(schema={**schema, "offset": pl.Int64})
    return frame.with_columns(offset=pl.Series(offsets, dtype=pl.Int64))


def offsets(path: Path) -> pl.DataFrame:
    """Return ``id, sample, offset`` of a whole file: for results that do not tell where their replies are, or no longer truly."""
    schema: Schema = {"id": pl.String, "sample": pl.Int64}
    try:
        with open(path, "rb") as file:
            frames = [parse(piece, schema) for piece in whole_lines(file)]
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    found = pl.concat(frames) if frames else pl.DataFrame(schema={**schema, "offset": pl.Int64})
    return found.with_columns(pl.col("sample").fill_null(0).cast(pl.UInt32)).unique(
        ["id", "sample"], keep="last", maintain_order=True
    )


def search(path: Path, words: str, stopped: Stopped = lambda: False) -> tuple[list[Key], bool]:
    """Return the items whose reply or prompt holds ``words`` in any case, and whether the whole file was looked through."""
    # Lines are JSON: the words as they are written there. What a match outside of reply and prompt finds is sorted out after.
    needle, words = json.dumps(words, ensure_ascii=False)[1:-1].encode("utf-8", "replace").lower(), words.lower()
    found: list[Key] = []
    ends = time.monotonic() + SECONDS
    try:
        with open(path, "rb", buffering=0) as file:
            for _, block, end in whole_lines(file, SEARCHED):
                found += (key_of(row) for row in _holding(block[:end], needle) if _says(row, words))
                if len(found) >= FOUND or time.monotonic() > ends or stopped():
                    return found[:FOUND], False
    except FileNotFoundError:
        return [], True
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    return found, True


def _holding(piece: bytes, needle: bytes) -> Iterator[dict[str, Any]]:
    folded = piece.lower()
    at = folded.find(needle)
    while at >= 0:
        end = piece.find(b"\n", at) + 1
        row = _parsed(piece[piece.rfind(b"\n", 0, at) + 1 : end])
        if row is not None:
            yield row
        at = folded.find(needle, end)


def _says(row: dict[str, Any], words: str) -> bool:
    texts = [row.get(name) for name in WORDS] + list(_texts(row.get("messages") or row.get("prompt")))
    texts += [choice.get("text") for choice in row.get("choices") or ()]
    return any(words in text.lower() for text in texts if isinstance(text, str))


def _texts(context: Any) -> Iterator[Any]:
    """Yield the texts of a prompt: one text, turns, or a list of either."""
    if isinstance(context, list):
        for part in context:
            yield from _texts(part.get("content") if isinstance(part, dict) else part)
    else:
        yield context
