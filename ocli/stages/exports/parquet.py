"""The rows of a summary as a parquet file, each field with its type; a row is as ``summary.json`` has it."""

from __future__ import annotations

import io
import types
import typing
from typing import Any

import polars as pl

from ocli.recipe import Reference
from ocli.stages import report
from ocli.stages.report import Summary, SummaryRow

_KINDS: dict[Any, pl.DataType] = {str: pl.String(), int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean()}


def schema() -> dict[str, pl.DataType]:
    """Return the columns: the fields of ``SummaryRow``."""
    return {name: _kind(hint) for name, hint in typing.get_type_hints(SummaryRow, vars(report)).items()}


def frame(summary: Summary) -> pl.DataFrame:
    """Return the rows as a frame; what JSON cannot say (an infinite perplexity) is null."""
    return pl.DataFrame([row.to_json() for row in summary.rows], schema=schema())


def to_parquet(summary: Summary) -> bytes:
    """Return the file."""
    buffer = io.BytesIO()
    frame(summary).write_parquet(buffer)
    return buffer.getvalue()


def _kind(hint: Any) -> pl.DataType:
    """Return the column type of a field; one that may be missing is a nullable column, as every column is."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        [hint] = [part for part in inner if part is not type(None)]
        return _kind(hint)
    if origin is list:
        return pl.List(_kind(inner[0]))
    if hint is Reference:
        return pl.Struct(
            {name: _kind(part) for name, part in typing.get_type_hints(Reference).items() if name in hint.model_fields}
        )
    return _KINDS[hint]
