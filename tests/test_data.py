"""Data files: every format and place they are found in, the errors that name the line, and a hub on this machine."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from conftest import Done, Ocli, Write

from ocli import catalog
from ocli.data.local import LocalFiles
from ocli.documents import read
from ocli.errors import DataError
from ocli.rows import parse_rows, read_rows

ROOT = Path(__file__).parents[1]
ROWS = [{"question": "一加一？", "answer": "２"}, {"question": 'say "a, b"', "answer": "a\nb"}]


def quoted(delimiter: str) -> bytes:
    lines = ["question" + delimiter + "answer", f"一加一？{delimiter}２", f'"say ""a, b"""{delimiter}"a\nb"']
    return ("\n".join(lines) + "\n").encode()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(ROWS).write_parquet(buffer)
    return buffer.getvalue()


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


FORMATS: dict[str, bytes] = {
    "x.csv": quoted(","),
    "bom.csv": b"\xef\xbb\xbf" + quoted(","),
    "crlf.csv": quoted(",").replace(b"?\n", b"?\r\n"),
    "gbk.csv": quoted(",").decode().encode("gbk"),
    "blank_lines.csv": quoted(",") + b"\n\n",
    "x.tsv": quoted("\t"),
    "x.jsonl": lines(ROWS),
    "bom.jsonl": b"\xef\xbb\xbf" + lines(ROWS),
    "crlf_and_no_end.jsonl": lines(ROWS).replace(b"\n", b"\r\n").rstrip() + b"\n\n",
    "list.json": json.dumps(ROWS).encode(),
    "lines.json": lines(ROWS),
    "crlf_lines.json": b"\xef\xbb\xbf" + lines(ROWS).replace(b"\n", b"\r\n"),
    "examples.json": json.dumps({"canary": "x", "examples": ROWS}).encode(),
    "columns.json": json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}).encode(),
    "x.parquet": parquet(),
}
COMPRESSION: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}


@pytest.mark.parametrize("suffix", COMPRESSION)
@pytest.mark.parametrize("name", FORMATS)
def test_format_gives_the_same_rows(write: Write, name: str, suffix: str) -> None:
    assert read_rows(write(name + suffix, COMPRESSION[suffix](FORMATS[name]))) == ROWS


def test_csv_without_header_takes_the_given_columns() -> None:
    assert parse_rows("x.csv", b"1+1,2\n2+2,4\n", ["q", "a"]) == [{"q": "1+1", "a": "2"}, {"q": "2+2", "a": "4"}]


@pytest.mark.parametrize(("name", "delimiter"), [("x.csv", "\t"), ("x.csv.gz", "\t"), ("x.tsv", "|")])
def test_delimiter_can_be_another_than_the_suffix_says(name: str, delimiter: str) -> None:
    raw = f'q, 1{delimiter}"a{delimiter}b\u2028"\n"""x"""{delimiter}c\n'.encode()
    rows = parse_rows(name, gzip.compress(raw) if name.endswith(".gz") else raw, ["q", "a"], delimiter)
    assert rows == [{"q": "q, 1", "a": f"a{delimiter}b\u2028"}, {"q": '"x"', "a": "c"}]


DELIMITER_TASK = """
data:
  local: "./test.csv"
  header: [question, answers]
  delimiter: "\\t"
  fields: {target: answers|literal}
prompt: exam/custom_qa
score: [{extract: text, metric: accuracy}]
"""


def test_tab_separated_csv_with_a_list_as_python_writes_it(ocli: Ocli, write: Write) -> None:
    write("t.yaml", DELIMITER_TASK)
    write("test.csv", "1 + 1?\t['2', \"two\"]\n")
    done = ocli("infer", "-m", "echo:oracle", "-t", "t.yaml")
    assert done.rc == 0, done.err
    assert pl.read_parquet(done.run / "items/echo_oracle/t.parquet")["target"].to_list() == ["2"]
    write("test.csv", "1 + 1?\t__import__('os')\n")
    said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml"))
    assert "'answers|literal': ValueError: \"__import__('os')\" is not a Python literal (row 0)" in said
    write("t.yaml", DELIMITER_TASK.replace('"\\t"', '", "'))
    assert "delimiter" in refused(ocli("infer", "-m", "echo", "-t", "t.yaml"))


@pytest.mark.parametrize(("name", "text"), [("x.json", '[[["a"], 1], ["b", 2]]'), ("x.jsonl", '[["a"], 1]\n["b", 2]\n')])
def test_rows_that_are_lists_take_the_given_columns(name: str, text: str) -> None:
    assert parse_rows(name, text.encode(), ["q", "a"]) == [{"q": ["a"], "a": 1}, {"q": "b", "a": 2}]
    with pytest.raises(DataError, match=r"must be an object of named columns, not list; data\.header can name"):
        parse_rows(name, text.encode())
    with pytest.raises(DataError, match=r"x\.json.*: the row has 2 cells, but data\.header names 3 \(q, a, id\)"):
        parse_rows(name, text.encode(), ["q", "a", "id"])


def test_json_object_of_one_line_is_a_row() -> None:
    assert parse_rows("x.json", b'{"a": 1, "b": ["x", "y"]}\n') == [{"a": 1, "b": ["x", "y"]}]


def test_json_object_gives_its_keys_to_the_rows() -> None:
    assert parse_rows("x.json", b'{"a": {"n": 1}, "b": {"n": 2}}') == [{"_key": "a", "n": 1}, {"_key": "b", "n": 2}]


def test_csv_values_stay_text_and_json_values_keep_their_type() -> None:
    assert parse_rows("x.csv", b"a,b\n007,1.50\n") == [{"a": "007", "b": "1.50"}]
    assert parse_rows("x.jsonl", b'{"a": 7, "b": [1.5, null, true]}\n') == [{"a": 7, "b": [1.5, None, True]}]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"])
def test_line_separators_of_unicode_end_no_line(mark: str) -> None:
    text = f"one{mark}two"
    assert parse_rows("x.jsonl", json.dumps({"q": text}, ensure_ascii=False).encode()) == [{"q": text}]
    assert parse_rows("x.csv", f"q,a\n{text},1\n".encode()) == [{"q": text, "a": "1"}]


def test_long_cell_is_read() -> None:
    assert len(parse_rows("x.csv", b"q\n" + b"x" * 300_000 + b"\n")[0]["q"]) == 300_000


BROKEN = [
    ("x.csv", "a,b\n1,2\n\n1,2,3\n", r"x\.csv:4: the row has 3 cells, but there are 2 columns \(a, b\)"),
    ("x.csv", '\ufeffa,b\n"1\n1",2\n7\n', r"x\.csv:4: the row has 1 cells"),
    ("x.csv", 'a,b\n1,2\n"1,2\n', r"x\.csv:\d: not valid CSV"),
    ("x.csv", 'a,b\n1,"2" 3\n', r"x\.csv:2: not valid CSV"),
    ("x.tsv", "a\tb\n1,2\n", r"x\.tsv:2: the row has 1 cells"),
    ("x.jsonl", '{"a": 1}\n\n{"a": 1\n', r"x\.jsonl:3: not valid JSON"),
    ("x.jsonl", '{"a": 1}\n[1]\n', r"x\.jsonl:2: a row must be an object of named columns, not list"),
    ("x.json", '{"a": 1}\n\n{"a": 1\n', r"x\.json:3: not valid JSON"),
    ("x.json", '[{"a": 1},\n', r"x\.json: not valid JSON"),
    ("x.json", "[{}, 5]", r"x\.json: row 1: a row must be an object"),
    ("x.json", '{"a": 1,\n "b": 2}', r"x\.json: a JSON object must hold one list of rows"),
    ("x.json", "5", r"x\.json: must hold a list of rows, not int"),
    ("x.parquet", "PAR1", r"x\.parquet: not a readable Parquet file"),
    ("x.csv.gz", "a,b\n", r"x\.csv\.gz: is not a whole \.gz file .*fetch it again"),
    ("x.csv.bz2", "a,b\n", r"x\.csv\.bz2: is not a whole \.bz2 file"),
    ("x.xlsx", "a", r"x\.xlsx: unknown format '\.xlsx'; known are \.csv"),
]


@pytest.mark.parametrize(("name", "text", "message"), BROKEN, ids=[f"{name}-{text[-9:]!r}" for name, text, _ in BROKEN])
def test_broken_file_is_named_with_its_line(name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_rows(name, text.encode())


def test_cut_archive_and_bytes_of_no_encoding_are_refused() -> None:
    with pytest.raises(DataError, match=r"is not a whole \.gz file"):
        parse_rows("x.csv.gz", gzip.compress(quoted(",") * 99)[:-20])
    with pytest.raises(DataError, match="is neither UTF-8 nor GB 18030 text"):
        parse_rows("x.csv", b"a,b\n\xff\xff,1\n")


TASK = """
data:
  local: PATTERN
  splits: {test: val, fewshot: dev}
  subsets: {law: {}, art: {}}
  fields: {target: answer}
fewshot: {count: 1}
prompt: exam/custom_qa
score: [{extract: short_text, metric: exact_match}]
"""
LAYOUT = "exam/{split}/{subset}_{split}.csv"


def task_files(prefix: str = "") -> dict[str, bytes]:
    files = {}
    for split, number in (("val", 2), ("dev", 1)):
        for subset in ("law", "art"):
            rows = "".join(f"{subset} {split} {n}?,{n}\n" for n in range(number))
            files[f"{prefix}exam/{split}/{subset}_{split}.csv"] = f"question,answer\n{rows}".encode()
    return files


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def lay_out(write: Write, how: str) -> str:
    """Put the task's files where users have them; return what to give as ``--data-dir``."""
    files = {
        "plain": {f"d/{name}": content for name, content in task_files().items()},
        "below data": {f"d/{name}": content for name, content in task_files("data/").items()},
        "gz": {f"d/{name}.gz": gzip.compress(content) for name, content in task_files().items()},
        "bz2": {f"d/{name}.bz2": bz2.compress(content) for name, content in task_files().items()},
        "zip": {"d.zip": zipped(task_files())},
        "zip with data/": {"d.zip": zipped(task_files("data/"))},
        "zip of gz": {"d.zip": zipped({f"{name}.gz": gzip.compress(text) for name, text in task_files().items()})},
        "zip inside the directory": {"d/x.zip": zipped(task_files("data/")), "d/y.zip": zipped({"z": b""})},
    }[how]
    for name, content in files.items():
        write(name, content)
    return "d.zip" if "d.zip" in files else "d"


@pytest.mark.parametrize(
    "how", ["plain", "below data", "gz", "bz2", "zip", "zip with data/", "zip of gz", "zip inside the directory"]
)
def test_data_is_found_however_it_is_packed(ocli: Ocli, write: Write, how: str) -> None:
    write("t.yaml", TASK.replace("PATTERN", LAYOUT))
    done = ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", lay_out(write, how))
    assert done.rc == 0, done.err
    replies = [json.loads(line) for line in (done.run / "predictions/echo/t.jsonl").read_text().splitlines()]
    assert sorted(reply["id"] for reply in replies) == ["art/0", "art/1", "law/0", "law/1"]
    assert {reply["messages"][0]["content"] for reply in replies if reply["subset"] == "law"} == {"law dev 0?"}


def test_data_of_the_working_directory_and_of_the_environment_is_found(
    ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("t.yaml", TASK.replace("PATTERN", LAYOUT))
    for name, content in task_files("data/").items():
        write(name, content)
    assert ocli("infer", "-m", "echo", "-t", "t.yaml").rc == 0
    Path("data").rename("moved")
    assert ocli("infer", "-m", "echo", "-t", "t.yaml").rc == 2
    monkeypatch.setenv("OCLI_DATA_DIR", "moved")
    assert ocli("infer", "-m", "echo", "-t", "t.yaml").rc == 0


def test_first_pattern_that_exists_is_read_and_wildcards_join_files(ocli: Ocli, write: Write) -> None:
    write("t.yaml", TASK.replace("PATTERN", '["none/{split}.csv", "{split}/{subset}-*.csv"]'))
    for split in ("val", "dev"):
        for subset in ("law", "art"):
            for part in range(3):
                write(f"d/{split}/{subset}-{part}.csv", f"question,answer\n{split} {part}?,{part}\n")
    done = ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", "d")
    assert done.rc == 0, done.err
    assert len((done.run / "predictions/echo/t.jsonl").read_text().splitlines()) == 6


def test_file_whose_name_has_brackets_is_one_file(ocli: Ocli, write: Write) -> None:
    write("mine[1].csv", "question,answer\n1+1?,2\n")
    assert ocli("eval", "-m", "echo:oracle", "-t", "mine[1].csv").rc == 0


def test_data_lies_beside_the_task_file_that_says_so(ocli: Ocli, write: Write) -> None:
    write("deep/t.yaml", TASK.replace("PATTERN", f"./{LAYOUT}"))
    for name, content in task_files("deep/").items():
        write(name, content)
    assert ocli("infer", "-m", "echo", "-t", "deep/t.yaml").rc == 0


COLUMN_TASK = """
data:
  local: "x/{split}.jsonl"
  columns: {label: [x/none.lst, "x/{split}-labels.lst"]}
  splits: {test: dev}
  fields: {target: label|int - 1}
mode: loglikelihood
prompt: exam/custom_qa
choices: "['yes', 'no']"
score: [{metric: accuracy, by: sum}]
"""
QUESTIONS = b'{"question": "1?"}\n{"question": "2?"}\n'


def targets(ocli: Ocli, *arguments: str) -> list[int]:
    done = ocli("infer", "-m", "echo:oracle", "-t", "t.yaml", *arguments)
    assert done.rc == 0, done.err
    return pl.read_parquet(done.run / "items/echo_oracle/t.parquet")["right"].to_list()


@pytest.mark.parametrize(
    "files",
    [
        {"d/x/dev.jsonl": QUESTIONS, "d/x/dev-labels.lst": b"2\n1\n"},
        {"d/data/x/dev.jsonl": QUESTIONS, "d/data/x/dev-labels.lst": b"\xef\xbb\xbf2\r\n1"},
        {"d/x/dev.jsonl": QUESTIONS, "d/x/dev-labels.lst.gz": gzip.compress(b"2\n1\n")},
        {"d/z.zip": zipped({"x/dev.jsonl": QUESTIONS, "x/dev-labels.lst": b"2\n1\n"})},
        {"d/x/dev.jsonl": b'{"question": "1?", "label": 2}\n{"question": "2?", "label": 1}\n'},
    ],
    ids=["plain", "below data", "gz", "zip", "the rows have it"],
)
def test_column_of_its_own_file_is_joined(ocli: Ocli, write: Write, files: dict[str, bytes]) -> None:
    write("t.yaml", COLUMN_TASK)
    for name, content in files.items():
        write(name, content)
    assert targets(ocli, "--data-dir", "d") == [1, 0]


def test_column_file_that_is_missing_or_of_another_length_is_refused(ocli: Ocli, write: Write) -> None:
    write("t.yaml", COLUMN_TASK)
    write("d/x/dev.jsonl", QUESTIONS)
    said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", "d"))
    assert "t: data.columns: no file for 'label' of the rows in d/x/dev.jsonl" in said
    assert "x/none.lst in d; x/dev-labels.lst in d" in said
    for text, count in (("2\n", 1), ("2\n1\n\n", 3), ("", 0)):
        write("d/x/dev-labels.lst", text)
        said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", "d"))
        assert f"d/x/dev-labels.lst has {count} lines, but d/x/dev.jsonl has 2 rows" in said
    write("d/x/dev-labels.lst", "\n1\n")
    said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", "d"))
    assert "row 0" in said


EACH_TASK = """
data:
  local: "./{split}.json"
  header: [passage, questions, id]
  each: questions
  where: answer != '-'
  fields: {target: answer, question: passage|join(' ') ~ ' ' ~ question}
mode: loglikelihood
prompt: exam/custom_qa
choices: choice
score: [{metric: accuracy, by: sum}]
"""


def passages(*answers: list[str]) -> str:
    """Lists of cells as C3 has them: a passage of two lines, its questions, an id."""
    rows = [
        [
            ["a", "b"],
            [{"question": f"{n}?", "choice": ["yes", "no"], "answer": text} for n, text in enumerate(group)],
            str(number),
        ]
        for number, group in enumerate(answers)
    ]
    return json.dumps(rows)


def test_each_gives_an_item_a_question_and_where_leaves_out(ocli: Ocli, write: Write) -> None:
    write("t.yaml", EACH_TASK)
    write("test.json", passages(["no", "-"], ["-"], ["yes", "no"]))
    done = ocli("infer", "-m", "echo:oracle", "-t", "t.yaml")
    assert done.rc == 0, done.err
    items = pl.read_parquet(done.run / "items/echo_oracle/t.parquet")
    assert list(zip(items["id"], items["right"], strict=True)) == [("0", 1), ("3", 0), ("4", 1)]
    replies = (done.run / "predictions/echo_oracle/t.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["messages"][-1]["content"] for line in replies} == {"a b 0?", "a b 1?"}


def test_each_with_a_dot_leads_through_two_lists(ocli: Ocli, write: Write) -> None:
    write("t.yaml", EACH_TASK.replace("each: questions", "each: parts.questions"))
    question = {"choice": ["yes", "no"], "answer": "no"}
    parts = [{"passage": [name], "questions": [{"question": f"{n}?", **question} for n in range(2)]} for name in "ab"]
    write("test.json", json.dumps([{"id": 1, "parts": parts[:1]}, {"id": 2, "parts": []}, {"id": 3, "parts": parts[1:]}]))
    done = ocli("infer", "-m", "echo:oracle", "-t", "t.yaml")
    assert done.rc == 0, done.err
    replies = (done.run / "predictions/echo_oracle/t.jsonl").read_text(encoding="utf-8").splitlines()
    asked = {reply["id"]: reply["messages"][-1]["content"] for reply in map(json.loads, replies)}
    assert asked == {"0": "a 0?", "1": "a 1?", "2": "b 0?", "3": "b 1?"}
    write("test.json", json.dumps([{"id": 1, "parts": [{"passage": ["a"]}]}]))
    said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml"))
    assert "row 0: data.each: 'questions' is no list of questions; the row has: id, parts, passage" in said


def test_where_tells_the_subsets_of_one_file_apart(ocli: Ocli, write: Write) -> None:
    task = EACH_TASK.replace("answer != '-'", "question == subset").replace("data:", "data:\n  subsets: ['0?', '1?']")
    write("t.yaml", task)
    write("test.json", passages(["no"], ["yes", "no"]))
    done = ocli("infer", "-m", "echo:oracle", "-t", "t.yaml")
    assert done.rc == 0, done.err
    assert list(pl.read_parquet(done.run / "items/echo_oracle/t.parquet")["id"]) == ["0?/0", "0?/1", "1?/2"]


def test_each_and_where_refuse_what_they_cannot_read(ocli: Ocli, write: Write) -> None:
    write("t.yaml", EACH_TASK)
    write("test.json", passages(["-"], ["-"]))
    assert "data.where (\"answer != '-'\") leaves no question" in refused(ocli("infer", "-m", "echo", "-t", "t.yaml"))
    write("test.json", '[[["a"], "1?", "7"]]')
    assert "row 0: data.each: 'questions' is no list of questions" in refused(ocli("infer", "-m", "echo", "-t", "t.yaml"))
    write("test.json", '[[["a"], [{"question": "1?"}], "7"]]')
    assert "'answer' is undefined; the row has: passage, questions, id, question, row, split (row 0)" in refused(
        ocli("infer", "-m", "echo", "-t", "t.yaml")
    )


def refused(done: Done) -> str:
    """Check that a command was refused in one line; return that line."""
    assert (done.rc, done.out) == (2, "")
    assert done.err.startswith("ocli: ")
    assert done.err.count("\n") == 1
    return done.err


def test_missing_data_says_what_where_and_how_to_fetch_it(ocli: Ocli, write: Write) -> None:
    write("t.yaml", TASK.replace("PATTERN", LAYOUT))
    write("d/readme.txt", "")
    said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", "d", "--offline"))
    assert "t: no data for split 'val', subset 'law'" in said
    assert "exam/val/law_val.csv in d" in said
    assert "--data-dir DIR" in said
    said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml"))
    assert "no --data-dir was given and ./data does not exist" in said


def test_missing_hub_data_names_the_exact_command(ocli: Ocli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    said = refused(ocli("infer", "-m", "echo", "-t", "ceval_gen", "--offline"))
    assert "hf download --repo-type dataset ceval/ceval-exam" in said
    assert "modelscope download --dataset opencompass/ceval-exam" in said
    assert "ceval/ceval-exam on the cache of" in said


def test_data_directory_that_is_not_there_is_refused(ocli: Ocli) -> None:
    said = refused(ocli("infer", "-m", "echo", "-t", "ceval_gen", "--data-dir", "nope"))
    assert "--data-dir nope: no such directory or zip (working directory: /" in said


def test_zip_that_is_none_and_zip_that_is_cut_are_refused(ocli: Ocli, write: Write) -> None:
    write("t.yaml", TASK.replace("PATTERN", LAYOUT))
    write("bad.zip", b"PK\x03\x04 not a zip")
    assert "bad.zip: is not a readable zip" in refused(ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", "bad.zip"))
    whole = zipped(task_files())
    write("cut.zip", whole[:-30])
    assert "cut.zip: is not a readable zip" in refused(ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", "cut.zip"))
    write("hurt.zip", whole[:60] + b"\0\1\2\3" + whole[64:])
    said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", "hurt.zip"))
    assert "hurt.zip:exam/val/law_val.csv: cannot be read" in said


def test_broken_row_below_a_directory_and_in_a_zip_is_named(ocli: Ocli, write: Write) -> None:
    write("t.yaml", TASK.replace("PATTERN", LAYOUT))
    files = task_files()
    files["exam/val/law_val.csv"] += b"a,b,c\n"
    for name, content in files.items():
        write(f"d/{name}", content)
    write("d.zip", zipped(files))
    for place, mark in (("d", "d/"), ("d.zip", "d.zip:")):
        said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", place))
        assert f"{mark}exam/val/law_val.csv:4: the row has 3 cells" in said


def test_file_without_rows_and_row_without_answer_are_refused(ocli: Ocli, write: Write) -> None:
    write("t.yaml", TASK.replace("PATTERN", "./{split}_{subset}.csv"))
    for subset in ("law", "art"):
        write(f"dev_{subset}.csv", "question,answer\n1?,1\n")
        write(f"val_{subset}.csv", "question,answer\n1?,1\n2?,\n")
    said = refused(ocli("infer", "-m", "echo", "-t", "t.yaml"))
    assert "row law/1 has no answer" in said
    assert "--set task.data.splits.test=" in said
    write("val_law.csv", "question,answer\n")
    assert "val_law.csv: holds no rows" in refused(ocli("infer", "-m", "echo", "-t", "t.yaml"))


def test_answer_that_is_none_of_the_options_is_refused(ocli: Ocli, write: Write) -> None:
    write("q.csv", "question,A,B,answer\n1?,1,2,A\n2?,1,2,C\n")
    assert "row 1: the answer 'C' is none of the choices A, B" in refused(ocli("infer", "-m", "echo", "-t", "q.csv"))


AS_NOBODY = """
import os, sys
from ocli.cli import main

place = sys.argv[1]

def run(*arguments):
    sys.argv = ["ocli", "infer", "-m", "echo", *arguments]
    try:
        main()
    except SystemExit as stop:
        return stop.code

run("-t", "quickstart", "--limit", "1")  # imports everything while that is still allowed
os.chdir("/")  # what the tests work in is for root only
if os.geteuid() == 0:
    os.setuid(65534)
sys.exit(run("-t", "ceval_gen", "--data-dir", place))
"""


@pytest.mark.parametrize("locked", ["", "ceval"])
def test_directory_without_permission_is_refused(locked: str) -> None:
    """Root may read everything, so the command goes on as nobody where the tests run as root."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        (Path(place) / "ceval").mkdir()
        (Path(place) / locked).chmod(0o000)
        command = [sys.executable, "-c", AS_NOBODY, place]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        (Path(place) / locked).chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"ocli: .* cannot be read.*check its permissions.*", done.stderr.splitlines()[-1])


@pytest.mark.parametrize("place", ["ceval/ceval-exam.zip", "OpenCompassData-mini.zip"])
def test_real_zip_holds_the_same_questions_as_the_directory(ocli: Ocli, write: Write, shared_data: Path, place: str) -> None:
    if not (shared_data / place).exists():
        pytest.skip(f"no {shared_data / place}")
    task = read(catalog.find("tasks", "ceval_gen").path).data
    task["data"]["subsets"] = {"law": {"subject_name": "法学"}, "logic": {"subject_name": "逻辑学"}}
    write("t.yaml", yaml.safe_dump(task | {"groups": []}))
    keys = []
    for data_dir in (shared_data, shared_data / place):
        done = ocli("infer", "-m", "echo", "-t", "t.yaml", "--data-dir", data_dir)
        assert done.rc == 0, done.err
        predictions = (done.run / "predictions/echo/t.jsonl").read_text(encoding="utf-8").splitlines()
        keys.append({reply["id"]: reply["key"] for reply in map(json.loads, predictions)})
    assert len(keys[0]) == 24 + 22
    assert keys[0] == keys[1]


def test_members_of_a_zip_are_listed_once(write: Write) -> None:
    files = LocalFiles(write("d.zip", zipped(task_files("data/"))))
    names = [name for name, _ in files.find("exam/*/law_*.csv")]
    assert [name.rsplit("/", 1)[-1] for name in names] == ["law_dev.csv", "law_val.csv"]
    assert files.find("exam/none.csv") == []


# The hub: enough of its HTTP interface for huggingface_hub's own client, on this machine.

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/questions"
HUB_FILES = {
    "README.md": b"# not asked for\n",
    "data/val-0.csv": b"question,answer\n1+1?,2\n2+2?,4\n",
    "data/dev-0.csv": b"question,answer\n0+1?,1\n",
}
HUB_TASK = f"""
data:
  hub: {REPO}
  hub_files: "data/{{split}}-*.csv"
  splits: {{test: val, fewshot: dev}}
  fields: {{target: answer}}
fewshot: {{count: 1}}
prompt: exam/custom_qa
score: [{{extract: short_text, metric: exact_match}}]
"""


class Hub(BaseHTTPRequestHandler):
    """Answers for one data set; everything else is 404."""

    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.seen.append(f"{self.command} {path}")
        if path.startswith(f"/api/datasets/{REPO}/tree/{COMMIT}"):
            entries = [
                {"type": "file", "path": name, "size": len(text), "oid": hashlib.sha1(text).hexdigest()}
                for name, text in HUB_FILES.items()
            ]
            self.answer(200, json.dumps(entries).encode())
        elif path in (f"/api/datasets/{REPO}", *(f"/api/datasets/{REPO}/revision/{name}" for name in ("main", "v1", COMMIT))):
            info = {"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": name} for name in HUB_FILES], "tags": []}
            self.answer(200, json.dumps({**info, "private": False, "downloads": 0, "likes": 0}).encode())
        elif path.startswith(prefix := f"/datasets/{REPO}/resolve/{COMMIT}/") and path.removeprefix(prefix) in HUB_FILES:
            self.answer(200, HUB_FILES[path.removeprefix(prefix)])
        else:
            self.answer(404, b"{}", **{"X-Error-Code": "RevisionNotFound" if REPO in path else "RepoNotFound"})

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers |= {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        for name, value in {**headers, "Content-Length": str(len(body)), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub() -> Iterator[tuple[str, list[str]]]:
    """Serve the hub on a free port; give its address and the requests it sees."""
    seen: list[str] = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Hub,), {"seen": seen}))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", seen
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def infer_apart(*arguments: str, paths: tuple[str, ...] = (), **environment: str) -> Done:
    """Run ``ocli infer`` in a process of its own: huggingface_hub reads its environment once, when it is imported."""
    whole = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    whole |= {"PYTHONPATH": os.pathsep.join([*paths, str(ROOT)]), **environment}
    command = [sys.executable, "-m", "ocli", "infer", "-m", "echo:oracle", *arguments]
    done = subprocess.run(command, env=whole, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def origin(done: Done) -> dict[str, str]:
    assert done.rc == 0, done.err
    recipe = yaml.safe_load((done.run / "configs" / "recipe.yaml").read_text(encoding="utf-8"))
    found: dict[str, str] = recipe["record"]["tasks"]["t"]["data"]
    return found


def test_hub_data_is_fetched_recorded_and_then_needs_no_network(write: Write, tmp_path: Path) -> None:
    write("t.yaml", HUB_TASK)
    home = str(tmp_path / "hub-home")
    with hub() as (address, seen):
        done = infer_apart("-t", "t.yaml", HF_ENDPOINT=address, HF_HOME=home)
        assert origin(done) == {"val": f"hf:{REPO}@{COMMIT}", "dev": f"hf:{REPO}@{COMMIT}"}
        replies = (done.run / "predictions/echo_oracle/t.jsonl").read_text().splitlines()
        assert [json.loads(line)["text"] for line in replies] == ["2", "4"]
        fetched = {line.rsplit("/", 1)[-1] for line in seen if "/resolve/" in line}
        assert fetched == {"val-0.csv", "dev-0.csv"}
    done = infer_apart("-t", "t.yaml", "--offline", HF_ENDPOINT=address, HF_HOME=home)
    assert origin(done)["val"] == f"hf:{REPO}@{COMMIT}"


def test_revision_is_asked_for_and_its_commit_is_recorded(write: Write, tmp_path: Path) -> None:
    write("t.yaml", HUB_TASK)
    arguments = ("-t", "t.yaml", "--set", "task.data.revision=v1")
    with hub() as (address, seen):
        done = infer_apart(*arguments, HF_ENDPOINT=address, HF_HOME=str(tmp_path / "home"))
        assert origin(done)["val"] == f"hf:{REPO}@{COMMIT}"
        assert any(line.endswith("/revision/v1") for line in seen)
        said = refused(infer_apart(*arguments[:3], "task.data.revision=v2", HF_ENDPOINT=address, HF_HOME=str(tmp_path / "h2")))
    assert f"hf download --repo-type dataset {REPO} --revision v2" in said
    assert "RevisionNotFoundError" in said


def test_offline_with_an_empty_cache_names_the_set_and_the_command_and_asks_nobody(write: Write, tmp_path: Path) -> None:
    write("t.yaml", HUB_TASK)
    with hub() as (address, seen):
        said = refused(infer_apart("-t", "t.yaml", "--offline", HF_ENDPOINT=address, HF_HOME=str(tmp_path / "home")))
        assert seen == []
    assert f"data/val-*.csv in {REPO} on the cache of" in said
    assert f"hf download --repo-type dataset {REPO}" in said


def test_unknown_data_set_is_refused_in_one_line(write: Write, tmp_path: Path) -> None:
    write("t.yaml", HUB_TASK.replace(REPO, "someone/else"))
    with hub() as (address, _):
        said = refused(infer_apart("-t", "t.yaml", HF_ENDPOINT=address, HF_HOME=str(tmp_path / "home")))
    assert "data/val-*.csv in someone/else on http://127.0.0.1" in said


BLOCKER = """
import socket

def refuse(self, address):
    if self.family != socket.AF_UNIX:
        with open("sockets.txt", "a") as file:
            file.write(f"{address}\\n")
        raise OSError("no sockets here")

def look_up(host, *_, **__):
    with open("sockets.txt", "a") as file:
        file.write(f"{host}\\n")
    raise socket.gaierror("no names here")

class Blocked(socket.socket):
    connect = connect_ex = sendto = refuse

socket.socket = Blocked
socket.getaddrinfo = look_up
"""


def test_offline_opens_no_socket(write: Write, tmp_path: Path) -> None:
    write("blocker/sitecustomize.py", BLOCKER)
    write("t.yaml", HUB_TASK)
    paths = (str(tmp_path / "blocker"),)
    asked = infer_apart("-t", "t.yaml", paths=paths, HF_HOME=str(tmp_path / "home"))
    assert asked.rc == 2
    assert Path("sockets.txt").exists(), "the blocker must see what is not offline"
    Path("sockets.txt").unlink()
    assert infer_apart("-t", "t.yaml", "--offline", paths=paths, HF_HOME=str(tmp_path / "home")).rc == 2
    done = infer_apart("-t", "quickstart", "--offline", paths=paths, HF_HOME=str(tmp_path / "home"))
    assert done.rc == 0, done.err
    assert not Path("sockets.txt").exists()


def test_offline_refuses_a_model_that_is_a_server(ocli: Ocli) -> None:
    done = ocli("infer", "-m", "openai:gpt-4o-mini", "-t", "quickstart", "--offline")
    assert "--offline opens no socket, but model openai_gpt-4o-mini is a server" in refused(done)
