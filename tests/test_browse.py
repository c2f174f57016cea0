"""Items out of runs: rows, filters, searches, single items and the HTML file, against what the files themselves say."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from conftest import Ocli, Write

from ocli.errors import NotFoundError, OcliError, RunError
from ocli.runs import Run
from ocli.stages import html
from ocli.stages.browse import Book
from ocli.stages.browse.lines import search
from ocli.stages.browse.table import FILTERS, Query
from ocli.stages.report import combine, summarise

COUNT = 40
TASK: dict[str, Any] = {
    "description": "made for this test",
    "data": {"local": "./rows_{subset}.jsonl", "subsets": ["a", "b"], "fields": {"target": "label"}},
    "prompt": "mc", "choices": "['A', 'B', 'C', 'D']",
    "score": [{"extract": "choice", "metric": "accuracy"}, {"name": "first", "extract": "first_option", "metric": "accuracy"}],
}  # fmt: skip
PAGE = re.compile(r'<script type="application/json" id="page"[^>]*>(.*?)</script>', re.S)
BLOB = re.compile(r'<script type="application/gzip;base64" data-task="(.*?)">(.*?)</script>', re.S)


def reply(rng: random.Random, item: str) -> dict[str, Any] | None:
    """Return a line for the replay engine; None where the request is to fail."""
    kind = rng.random()
    if kind < 0.1:
        return None
    line: dict[str, Any] = {"id": item, "text": f"The answer is {rng.choice('ABCD')}.", "finish_reason": "stop"}
    if kind < 0.3:
        line["text"] = "No idea, <b>café</b>"
    if kind > 0.8:
        line["finish_reason"] = "length"
    if kind > 0.95:
        line["text"] = "Let me think of"
    if kind > 0.9:
        line["reasoning"] = "Hm. WAIT, what?"
    return line


def write_task(write: Write, replies: int = 2, task: dict[str, Any] = TASK, count: int = COUNT) -> list[str]:
    """Write a task of two subsets and files of replies; return what the command line takes."""
    rng = random.Random(7)
    write("prompts/mc.jinja", "{% block user %}{{ q }}{% endblock %}\n{% block assistant %}{{ target }}{% endblock %}\n")
    for subset in "ab":
        rows = [{"q": f"Question {subset}{number}?", "label": rng.choice("ABCD")} for number in range(count // 2)]
        write(f"rows_{subset}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write("task.yaml", json.dumps(task))
    ids = [f"{subset}/{number}" for subset in "ab" for number in range(count // 2)]
    for number in range(replies):
        lines = [line for item in ids if (line := reply(rng, item))]
        rng.shuffle(lines)
        write(f"r{number}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    models = [word for number in range(replies) for word in ("-m", f"replay:r{number}.jsonl")]
    return [*models, "-t", "task.yaml"]


@pytest.fixture
def run(ocli: Ocli, write: Write) -> Run:
    """Two models and two subsets, with replies of every kind."""
    done = ocli("eval", *write_task(write))
    assert done.rc == 1  # some requests fail
    return Run(done.run)


def results_of(run: Run) -> dict[str, dict[tuple[str, int], dict[str, Any]]]:
    frames = {model: pl.read_parquet(run.results(model, "task")) for model in run.recipe().models}
    return {model: {(row["id"], row["sample"]): row for row in frame.to_dicts()} for model, frame in frames.items()}


def holds(name: str, row: dict[str, Any]) -> bool:
    if name in ("right", "wrong"):
        return row["score"] is not None and (row["score"] >= 1) == (name == "right")
    if name == "unanswered":
        return row["answer"] is None and row["status"] != "failed"
    return name == "all" or row["status"] == name


def ids(book: Book, task: str = "task", **query: Any) -> list[str]:
    return [row["id"] for row in book.items(task, Query(**query, limit=1000))["items"]]


@pytest.mark.parametrize("name", FILTERS)
def test_filters_hold_what_the_results_say(run: Run, name: str) -> None:
    book, results = Book([run]), results_of(run)
    assert len(results) == 2
    keys = list(next(iter(results.values())))
    for model in (None, *results):
        asked = [model] if model else list(results)
        if name == "differ":
            expected = [key for key in keys if len({rows[key]["score"] for rows in results.values()}) > 1]
        else:
            expected = [key for key in keys if any(holds(name, results[one][key]) for one in asked)]
        assert expected
        assert ids(book, filter=name, model=model) == [item for item, _ in expected]
        for subset in ("a", "b"):
            assert ids(book, filter=name, model=model, subset=subset) == [item for item, _ in expected if item[0] == subset]
        if model and name != "differ":
            counts = book.page()["tasks"]["task"]["counts"][model]
            assert counts[name] == len(expected)


def test_replies_are_counted_as_in_the_table(run: Run) -> None:
    counts = Book([run]).page()["tasks"]["task"]["counts"]
    rows = {row.model: row for row in summarise(run).rows if row.dataset == "task" and row.metric == "accuracy"}
    for word in ("unanswered", "truncated", "failed"):
        assert {model: found[word] for model, found in counts.items()} == {name: getattr(row, word) for name, row in rows.items()}
    assert any(
        row["status"] == "truncated" and row["answer"] is None for rows in results_of(run).values() for row in rows.values()
    )


def test_rows_tell_what_the_results_say(run: Run) -> None:
    results, found = results_of(run), Book([run]).items("task", Query(limit=1000))
    assert found["total"] == COUNT
    for row in found["items"]:
        assert row["question"] == f"Question {row['id'].replace('/', '')}?"
        for model, answer in row["answers"].items():
            told = results[model][row["id"], row["sample"]]
            assert row["target"] == told["target"]
            assert answer == {
                **{name: told[name] for name in ("answer", "score", "status", "pattern")},
                "tokens": told["completion_tokens"],
            }


def test_pages_are_slices_and_the_last_one_is_short(run: Run) -> None:
    book = Book([run])
    whole = ids(book, filter="wrong")
    paged = [
        row["id"]
        for offset in range(0, len(whole) + 7, 7)
        for row in book.items("task", Query("wrong", None, None, "", offset, 7))["items"]
    ]
    assert paged == whole


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ("b/1", "id"),
        ("QUESTION A1", "prompt"),
        ("<b>CAFé", "text"),
        ("wait, WHAT", "reasoning"),
        (" no idea ", "text"),
        ("finish_reason", "nowhere"),
    ],
)
def test_searches_look_into_ids_answers_prompts_and_replies(run: Run, words: str, where: str) -> None:
    wanted = words.strip().lower()
    said: set[str] = set()
    for model in run.recipe().models:
        for line in map(json.loads, run.predictions(model, "task").read_text().splitlines()):
            told = {
                "id": line["id"],
                "text": line["text"],
                "reasoning": line["reasoning"],
                "prompt": line["messages"][0]["content"],
            }
            said |= {line["id"]} if wanted in str(told.get(where)).lower() else set()
    assert bool(said) == (where != "nowhere")
    assert set(ids(Book([run]), words=words)) == said
    book = Book([run])
    assert set(ids(book, words=words, filter="wrong")) == said & set(ids(book, filter="wrong"))


def test_an_item_tells_prompt_and_reply_of_each_model(run: Run) -> None:
    book = Book([run])
    for model in run.recipe().models:
        for line in map(json.loads, run.predictions(model, "task").read_text().splitlines()):
            told = book.item("task", (line["id"], 0))["replies"][model]
            for name in ("text", "reasoning", "finish_reason", "error", "seconds", "usage", "messages"):
                assert told[name] == line[name]
            assert set(told["rules"]) == {"accuracy", "first"}
    item = book.item("task", ("a/3", 0))
    assert (item["choices"], item["accepted"]) == (["A", "B", "C", "D"], [item["target"]])


def test_a_reply_is_found_where_the_results_do_not_say_or_say_it_wrongly(run: Run) -> None:
    model = next(iter(run.recipe().models))
    expected = Book([run]).item("task", ("b/2", 0))["replies"]
    frame = pl.read_parquet(run.results(model, "task"))
    for changed in (
        frame.drop("offset", "pattern", "cluster", cs.ends_with("_tokens")),
        frame.with_columns(pl.col("offset") + 5),
    ):
        changed.write_parquet(run.results(model, "task"))
        book = Book([run])
        assert book.item("task", ("b/2", 0))["replies"] == expected
        assert book.page()["tasks"]["task"]["counts"][model]["all"] == COUNT
    assert len(ids(book, words="question")) == COUNT


def test_an_item_without_a_prediction_says_so(run: Run) -> None:
    for model in run.recipe().models:
        run.predictions(model, "task").unlink()
    book = Book([run])
    assert {told["error"] for told in book.item("task", ("a/0", 0))["replies"].values()} == {
        "its reply is not in the predictions file"
    }
    assert book.items("task", Query(words="No idea"))["total"] == 0


def test_two_runs_stand_side_by_side_whatever_items_they_have(ocli: Ocli, write: Write) -> None:
    arguments = write_task(write, replies=1)
    first = Run(ocli("eval", *arguments).run)
    second = Run(ocli("eval", *arguments, "--limit", "10").run)
    book = Book([second, first])
    page = book.page()
    few, many = page["models"]
    told = page["tasks"]["task"]
    assert (told["items"], told["counts"][few]["missing"], told["counts"][many]["missing"]) == (COUNT, COUNT - 10, 0)
    rows = book.items("task", Query(limit=1000))["items"]
    assert sorted(row["id"] for row in rows) == sorted(ids(Book([first])))
    assert sum(row["answers"][few]["status"] == "missing" for row in rows) == COUNT - 10
    assert all(row["answers"][few] == row["answers"][many] for row in rows[:10])
    assert list(book.item("task", (rows[-1]["id"], 0))["replies"]) == [many]


def test_samples_are_rows_of_their_own(ocli: Ocli, write: Write) -> None:
    write("q.csv", "question,answer\nTwo and two?,4\nThree and three?,6\n")
    texts = {"0": ["4", "4", "5", "no idea"], "1": ["7", "7", "6", "7"]}
    write("said.jsonl", "".join(json.dumps({"id": item, "texts": said}) + "\n" for item, said in texts.items()))
    done = ocli("eval", "-m", "replay:said.jsonl", "-t", "q.csv", "--set", "task.samples=4", "--set", "sampling.temperature=0.7")
    book = Book([Run(done.run)])
    [name] = book.page()["tasks"]
    rows = book.items(name, Query())["items"]
    assert [(row["id"], row["sample"]) for row in rows] == [(item, sample) for item in "01" for sample in range(4)]
    [model] = book.page()["models"]
    for row in rows:
        assert book.item(name, (row["id"], row["sample"]))["replies"][model]["text"] == texts[row["id"]][row["sample"]]
    assert (book.page()["tasks"][name]["items"], book.page()["tasks"][name]["counts"][model]["all"]) == (2, 8)


def test_likelihoods_tell_each_choice(ocli: Ocli, write: Write) -> None:
    task = {**TASK, "mode": "loglikelihood", "score": [{"metric": "accuracy", "by": "sum"}, {"metric": "perplexity"}]}
    write_task(write, 0, task)
    book = Book([Run(ocli("eval", "-m", "echo:B", "-t", "task.yaml").run)])
    [model] = book.page()["models"]
    rows = book.items("task", Query())["items"]
    assert {row["answers"][model]["answer"] for row in rows} == {"B"}
    assert ids(book, filter="right") == [row["id"] for row in rows if row["target"] == "B"]
    told = book.item("task", ("a/0", 0))["replies"][model]
    assert [choice["text"] for choice in told["choices"]] == list("ABCD")
    assert told["choices"][1]["logprob"] > told["choices"][0]["logprob"]
    assert set(told["rules"]) == {"accuracy", "perplexity"}


def test_a_perplexity_is_neither_right_nor_wrong(ocli: Ocli, write: Write) -> None:
    data = {"local": "./rows_{subset}.jsonl", "subsets": ["a", "b"]}
    write_task(write, 0, {"data": data, "prompt": "mc", "mode": "perplexity", "score": [{"metric": "token_perplexity"}]})
    book = Book([Run(ocli("eval", "-m", "echo:B", "-t", "task.yaml").run)])
    [model] = book.page()["models"]
    assert [len(ids(book, filter=name)) for name in ("all", "right", "wrong", "differ")] == [COUNT, 0, 0, 0]
    assert book.item("task", ("a/0", 0))["replies"][model]["rules"]["token_perplexity"] > 0


def test_without_public_labels_nothing_is_wrong(ocli: Ocli, write: Write) -> None:
    data = {**TASK["data"], "fields": {"target": "''"}}
    write_task(write, 0, {**TASK, "labels": False, "data": data})
    done = ocli("infer", "-m", "echo:B", "-t", "task.yaml")
    ocli("score", done.run)
    book = Book([Run(done.run)])
    assert [len(ids(book, filter=name)) for name in ("all", "right", "wrong", "differ")] == [COUNT, 0, 0, 0]
    [model] = book.page()["models"]
    assert book.page()["tasks"]["task"]["letters"]["answers"][model] == {"B": COUNT}


def opened(page: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return what an HTML file holds."""
    [data] = PAGE.findall(page)
    return json.loads(data), {name: json.loads(gzip.decompress(base64.b64decode(blob))) for name, blob in BLOB.findall(page)}


def test_the_file_holds_every_item_as_the_server_tells_it(run: Run) -> None:
    page, blobs = opened(html.to_html(summarise(run)))
    book = Book([run])
    assert page["complete"]
    assert page["tasks"]["task"] == book.page()["tasks"]["task"]
    assert len(blobs["task"]["prompts"]) == COUNT  # both models were sent the same
    for item in blobs["task"]["items"]:
        for told in item["replies"].values():
            told |= {"messages": None, "prompt": None, **blobs["task"]["prompts"][told.pop("prompt")]}
        assert item == book.item("task", (item["id"], item["sample"]))


@pytest.mark.parametrize("limit", ["REPLIES", "READ", "BYTES"])
def test_a_large_run_is_in_the_file_in_part(run: Run, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(run.predictions(model, "task").stat().st_size for model in run.recipe().models)
    _, blobs = opened(html.to_html(summarise(run)))
    whole = len(gzip.compress(json.dumps(blobs["task"]).encode()))
    monkeypatch.setattr(html, limit, {"REPLIES": 20, "READ": size // 4, "BYTES": whole // 2}[limit])
    text = html.to_html(summarise(run))
    page, blobs = opened(text)
    held = page["tasks"]["task"]["held"]
    assert not page["complete"]
    assert f"ocli view {run.path}" in page["notes"][-1]
    assert len(blobs["task"]["items"]) == held
    assert held in {"REPLIES": [10], "READ": [9, 10], "BYTES": range(5, 30)}[limit]
    subsets = [item["subset"] for item in blobs["task"]["items"]]
    assert abs(subsets.count("a") - subsets.count("b")) <= 1
    assert [item["id"] for item in opened(html.to_html(summarise(run)))[1]["task"]["items"]] == [
        item["id"] for item in blobs["task"]["items"]
    ]


def test_a_model_that_could_not_be_asked_is_in_the_file_without_replies(ocli: Ocli, write: Write) -> None:
    write_task(write, 0)
    write(
        "m.yaml", json.dumps({"engine": "openai", "path": "auto", "base_url": "http://127.0.0.1:9", "args": {"max_retries": 0}})
    )
    done = ocli("eval", "-m", "echo:oracle", "-m", "m.yaml", "-t", "task.yaml")
    page, blobs = opened((done.run / "summary" / "report.html").read_text(encoding="utf-8"))
    assert page["tasks"]["task"]["counts"]["m"]["missing"] == COUNT
    assert [line for line in page["notes"] if line.startswith("INCOMPLETE: m, task")]
    assert (page["live"], page["complete"]) == (False, True)
    assert list(blobs["task"]["items"][0]["replies"]) == ["echo_oracle"]


def test_small_tasks_are_whole_beside_a_large_one(ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = write_task(write, 0)
    write("small.csv", "question,answer\nTwo and two?,4\nThree and three?,6\n")
    run = Run(ocli("eval", "-m", "echo:oracle", *arguments, "-t", "small.csv").run)
    monkeypatch.setattr(html, "REPLIES", 20)
    page, blobs = opened(html.to_html(combine([summarise(run)])))
    assert {name: task["held"] for name, task in page["tasks"].items()} == {"task": 18, "small": 2}
    assert {name: len(blob["items"]) for name, blob in blobs.items()} == {"task": 18, "small": 2}


def test_what_cannot_be_read_is_one_line(run: Run) -> None:
    book = Book([run])
    with pytest.raises(NotFoundError, match=r"no task is called 'tusk'.*task"):
        book.items("tusk", Query())
    with pytest.raises(OcliError, match="no filter is called 'bad'"):
        book.items("task", Query("bad"))
    with pytest.raises(OcliError, match="no model is called 'm'"):
        book.items("task", Query("wrong", "m"))
    with pytest.raises(NotFoundError, match=r"no item has the id '\.\./x'"):
        book.item("task", ("../x", 0))
    model = next(iter(run.recipe().models))
    run.results(model, "task").write_bytes(b"PAR1 or not")
    with pytest.raises(RunError, match=r"task.parquet: cannot be read: .*ocli score") as error:
        Book([run]).page()
    assert "\n" not in str(error.value)


def test_lines_torn_or_empty_hide_no_others(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(number), "sample": 0, "text": "needle", "messages": None}) for number in range(3)]
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join([lines[0], "", lines[1][:20], lines[2], lines[0][:10]]))
    assert search(path, "NEEDLE") == ([("0", 0), ("2", 0)], True)
    assert search(tmp_path / "none", "needle") == ([], True)
    assert search(path, "nothing", lambda: True) == ([], False)
