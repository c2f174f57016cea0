"""Rows in the shape that the hub has them give the prompt and the answer that the same rows give in their authors' shape.

``tests/cases/hub.json`` has for each task a file's name on the hub and the first of its hand-written rows
(``tests/data/<task>.jsonl``) as the hub would have it: columns, and labels as numbers, as the data sets' cards say.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import test_data

from ocli import catalog

HERE = Path(__file__).parent
CASES: dict[str, dict[str, Any]] = json.loads((HERE / "cases" / "hub.json").read_text(encoding="utf-8"))


def packed(file: str, row: dict[str, Any]) -> bytes:
    """Write one row as the file's name says: Parquet or JSON lines."""
    if file.endswith(".jsonl"):
        return json.dumps(row).encode() + b"\n"
    buffer = io.BytesIO()
    pl.DataFrame([row]).write_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("hub", sorted({str(catalog.load_tasks(name)[0][1].data.hub) for name in CASES}))
def test_rows_of_the_hub_ask_what_the_authors_rows_ask(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {name: case for name, case in CASES.items() if catalog.load_tasks(name)[0][1].data.hub == hub}
    monkeypatch.setattr(test_data, "REPO", hub)
    monkeypatch.setattr(test_data, "HUB_FILES", {case["file"]: packed(**case) for case in cases.values()})
    with test_data.hub() as (address, _):
        names = [part for name in cases for part in ("-t", name)]
        done = test_data.infer_apart(*names, HF_ENDPOINT=address, HF_HOME=str(tmp_path / "home"))
    assert done.rc == 0, done.err
    for name in cases:
        [line] = (done.run / "predictions" / "echo_oracle" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        asked, golden = json.loads(line), json.loads((HERE / "golden" / f"{name}.json").read_text(encoding="utf-8"))[0]
        assert (asked["messages"], asked["text"]) == (golden["messages"], golden["answer"]), name
