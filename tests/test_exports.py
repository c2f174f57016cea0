"""The forms of a report, each read back by what it is for: polars, openpyxl, lm-eval, huggingface_hub, TeX, trackers."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Done, Ocli, Write
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from rich.console import Console

from ocli.errors import OcliError
from ocli.runs import Run
from ocli.stages.exports import FORMS, only
from ocli.stages.exports.latex import escaped, to_latex
from ocli.stages.exports.parquet import schema
from ocli.stages.exports.reading import Reading
from ocli.stages.report import Summary, SummaryRow, report
from ocli.stages.tables import to_rich

LM_EVAL = os.environ.get("LM_EVAL_PYTHON", "/work/tmp/lmeval/bin/python")
"""A Python that has lm-eval, whose requirements are not ours."""
NASTY = r"""a_b & 100% $x$ #1 {y} ~z ^ \w <b> "q" 'r' `s` |t| [u] c--d"""
QUESTIONS = "question,A,B,answer\n" + "".join(f"What is {n}?,{n},no,A\n" for n in range(8))


@pytest.fixture
def run(ocli: Ocli, write: Write) -> Path:
    """Two models, one right and one of which some replies fail, on a task with subsets and one without."""
    write("quiz.csv", QUESTIONS)
    replies = [{"id": str(n), "text": "A" if n < 5 else "B"} for n in range(7)]
    write("mixed/quiz.jsonl", "\n".join(map(json.dumps, replies)) + "\n")
    write("mixed/quickstart.jsonl", "\n".join(json.dumps({"id": str(n), "text": "A"}) for n in range(200)) + "\n")
    arguments = ("-m", "echo:oracle", "-m", "replay:mixed", "-t", "quiz.csv", "-t", "quickstart")
    done = ocli("eval", *arguments)
    assert done.rc == 1, done.err
    return done.run


def rows_of(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "summary" / "summary.json").read_text())["rows"]
    return found


def summary_with(run: Path, **changes: Any) -> Summary:
    """The report of a run with every row of its second model changed."""
    summary = report(Run(run))
    label = summary.models[1]
    rows = [replace(row, **changes) if row.model == label else row for row in summary.rows]
    return replace(summary, rows=rows)


def test_parquet_is_summary_json_with_types(run: Path, ocli: Ocli) -> None:
    done = ocli("report", run, "--format", "parquet")
    path = run / "summary" / "summary.parquet"
    assert (done.rc, done.out) == (1, f"{path}\n")
    frame = pl.read_parquet(path)
    assert frame.to_dicts() == rows_of(run)
    assert list(frame.schema.items()) == list(schema().items())
    assert frame.schema["ci95"] == pl.List(pl.Float64)
    assert isinstance(frame.schema["reference"], pl.Struct)


def test_parquet_of_references_and_of_what_json_cannot_say(run: Path) -> None:
    from ocli.recipe import Reference

    changes = {"score": math.inf, "ci95": [1.0, math.inf], "reference": Reference(score=1.0, source="a table", tolerance=0.5)}
    summary = summary_with(run, **changes)
    made = FORMS["parquet"].write(summary)
    assert isinstance(made, bytes)
    assert pl.read_parquet(io.BytesIO(made)).to_dicts() == json.loads(summary.to_json())["rows"]


def test_binary_forms_go_to_stdout_where_they_are_wanted(run: Path) -> None:
    command = [sys.executable, "-m", "ocli", "report", str(run), "--format", "parquet", "-o", "-"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert pl.read_parquet(io.BytesIO(done.stdout)).height == len(rows_of(run))


@pytest.mark.parametrize("form", ["table", "csv", "md", "json"])
def test_text_forms_go_to_files_where_they_are_wanted(form: str, run: Path, ocli: Ocli, tmp_path: Path) -> None:
    done = ocli("report", run, "--format", form, "-o", "there/it.is")
    assert (done.rc, done.out) == (1, "there/it.is\n")
    suffix = "txt" if form == "table" else form
    assert (tmp_path / "there/it.is").read_text() == (run / "summary" / f"summary.{suffix}").read_text()


def test_workbook_has_numbers_best_in_bold_and_no_formula(run: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("xlsxwriter")
    summary = report(Run(run))
    rows = [replace(row, dataset="=1+1", version="https://x") if row.task == "quiz" else row for row in summary.rows]
    made = FORMS["xlsx"].write(replace(summary, rows=rows))
    assert isinstance(made, bytes)
    book = openpyxl.load_workbook(io.BytesIO(made))
    assert book.sheetnames == ["summary", "rows", "conditions", "notes"]
    sheet = book["summary"]
    assert [cell.value for cell in sheet[1]] == ["dataset", "version", "metric", "mode", "echo_oracle", "replay"]
    assert sheet.freeze_panes == "E2"
    [line] = [line for line in sheet.iter_rows(min_row=2) if line[0].value == "=1+1"]
    assert (line[0].data_type, line[1].hyperlink) == ("s", None)
    assert (line[4].value, line[4].number_format, line[4].font.bold) == (100, "0.00", True)
    assert line[5].value == pytest.approx(500 / 7, abs=1e-6)
    assert not line[5].font.bold
    heads = [cell.value for cell in book["rows"][1]]
    assert book["rows"].max_row == len(rows) + 1
    told = dict(zip(heads, [cell.value for cell in book["rows"][2]], strict=True))
    assert (told["model"], told["n"], told["headline"]) == ("echo_oracle", rows[0].n, rows[0].headline)
    assert told["ci95_low"] == pytest.approx((rows[0].ci95 or [0])[0])
    names = [cell.value for cell in book["conditions"]["A"]]
    assert {"condition", "scoring rules", "engine", "ocli"} <= set(names)
    assert book["conditions"].cell(names.index("engine") + 1, 2).value == "echo"
    assert any("failed 1" in str(cell.value) for cell in book["notes"]["A"])


def test_workbook_of_an_infinite_perplexity_opens(run: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("xlsxwriter")
    made = FORMS["xlsx"].write(summary_with(run, score=math.inf, metric="x\x1by" * 20_000))
    assert isinstance(made, bytes)
    openpyxl.load_workbook(io.BytesIO(made))


def test_workbook_without_its_package_says_how_to_get_it(run: Path, ocli: Ocli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    done = ocli("report", run, "--format", "xlsx")
    assert (done.rc, done.err) == (2, "ocli: --format xlsx needs xlsxwriter: pip install 'ocli[xlsx]'\n")


def test_latex_table(run: Path, ocli: Ocli) -> None:
    done = ocli("report", run, "--format", "latex")
    lines = done.out.splitlines()
    assert lines[2:5] == [r"\begin{tabular}{lrr}", r"\toprule", r" & echo\_oracle & replay \\"]
    assert r"\multicolumn{3}{l}{\textit{exam}} \\" in lines
    assert r"quiz, accuracy & $\mathbf{100.00}^{+0.00}_{-32.44}$ & $71.43^{+20.35}_{-35.54}$$^\dagger$ \\" in lines
    assert r"\multicolumn{3}{l}{\footnotesize $^\dagger$ some of its items have no score} \\" in lines
    assert all(line.startswith("% ") for line in lines[lines.index(r"\end{tabular}") + 1 :])


def test_latex_escapes_every_special_character() -> None:
    text = escaped(NASTY + "\n\x1b")
    bare = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}", "", text)
    bare = re.sub(r"\\(textquotedbl|textasciigrave|textquotesingle)\{\}|\{-\}|\{\[\}|\{\]\}|\\[{}$&#_%]", "", bare)
    assert not set("\\{}$&#_%~^<>|\"`'[]\n\x1b") & set(bare.replace("x1b", "")), bare


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(run: Path, tmp_path: Path) -> None:
    table = to_latex(replace(summary_with(run, version=NASTY), recipe=NASTY))
    table = table.replace("quiz, accuracy", escaped(NASTY))
    source = rf"""\documentclass{{article}}\usepackage{{booktabs,textcomp}}\usepackage[T1]{{fontenc}}
\begin{{document}}{table}\end{{document}}"""
    (tmp_path / "t.tex").write_text(source)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_best_is_the_least_perplexity_and_none_where_all_are_equal(run: Path) -> None:
    summary = report(Run(run))
    reading = Reading(summary)
    quiz = {row.model: row for row in summary.rows if row.task == "quiz" and row.is_headline}
    assert reading.best(quiz) == {"echo_oracle"}
    assert reading.best({label: replace(row, metric="perplexity", lower_is_better=True) for label, row in quiz.items()}) == {
        "replay"
    }
    assert reading.best({label: replace(row, score=50.001) for label, row in quiz.items()}) == set()
    assert reading.best({"echo_oracle": quiz["echo_oracle"]}) == set()


def document(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_page_is_written_below_the_run_and_its_path_printed(run: Path, ocli: Ocli, tmp_path: Path) -> None:
    done = ocli("report", run, "--format", "html")
    page = run / "summary" / "report.html"
    assert (done.rc, done.out) == (1, f"{page}\n")
    assert page.read_text().startswith("<!doctype html>")
    assert ocli("report", run, "--format", "html", "-o", "page.html").out == "page.html\n"
    assert (tmp_path / "page.html").is_file()


def test_lm_eval_results(run: Path, ocli: Ocli) -> None:
    told = document(ocli("report", run, "--format", "lm-eval", "-m", "replay"))
    quiz = told["results"]["quiz"]
    assert quiz["acc,none"] == pytest.approx(5 / 7)
    assert 0 < quiz["acc_stderr,none"] < 1
    assert (quiz["sample_len"], told["n-samples"]["quiz"]) == (7, {"original": 8, "effective": 8})
    assert told["n-shot"]["quiz"] == 0
    assert told["higher_is_better"]["quiz"] == {"acc": True}
    assert told["configs"]["quiz"]["output_type"] == "generate_until"
    assert "quickstart-addition" in told["group_subtasks"]["quickstart"]
    assert told["group_subtasks"]["exam"] == ["quiz", "quickstart"]
    assert told["groups"]["exam"] == told["results"]["exam"]
    assert told["config"]["model"] == "replay"


@pytest.mark.skipif(not Path(LM_EVAL).exists(), reason="needs LM_EVAL_PYTHON, a Python that has lm-eval")
def test_lm_eval_reads_it(run: Path, ocli: Ocli, tmp_path: Path) -> None:
    """Its own table, its own file of results, and its reader of such files have the same numbers."""
    ocli("report", run, "--format", "lm-eval", "-m", "replay", "-o", "results.json")
    code = """
import json, sys
from lm_eval.loggers import EvaluationTracker
from lm_eval.result_schema import EvalResults
from lm_eval.utils import make_table
told = json.load(open("results.json"))
known = set(EvalResults.__annotations__)
print(sorted(set(told) - known))
print(make_table(told))
print(make_table(told, "groups"))
tracker = EvaluationTracker(output_path="saved")
tracker.general_config_tracker.log_experiment_args(told["config"]["model"], told["config"]["model_args"], None, None, None)
tracker.save_results_aggregated(told)
"""
    done = subprocess.run([LM_EVAL, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[0] == "['ocli']"
    [line] = [line for line in lines if re.match(r"\| - quiz ", line)]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert (cells[2], cells[3], cells[4], cells[5], cells[6]) == ("none", "0", "acc", "↑", "0.7143")
    saved = json.loads(next((tmp_path / "saved").rglob("results_*.json")).read_text())
    assert saved["results"]["quiz"]["acc,none"] == pytest.approx(5 / 7)


def test_lm_eval_scales_no_perplexity(run: Path) -> None:
    summary = only(report(Run(run)), ["replay"])
    rows = [replace(row, metric="word_perplexity", score=12.5, stderr=0.5, lower_is_better=True) for row in summary.rows]
    told = json.loads(str(FORMS["lm-eval"].write(replace(summary, rows=rows))))
    assert told["results"]["quiz"]["word_perplexity,none"] == 12.5
    assert told["higher_is_better"]["quiz"] == {"word_perplexity": False}


def test_model_card_is_read_back(run: Path, ocli: Ocli) -> None:
    done = ocli("report", run, "--format", "model-card", "-m", "replay")
    index = ModelCard(done.out + "\n# A model\n").data.to_dict()["model-index"]
    name, results = model_index_to_eval_results(index)
    assert name == "replay"
    found = {result.dataset_name: result for result in results}
    assert found["quiz"].metric_value == 71.43
    assert found["quiz"].metric_type == "accuracy"
    assert found["quiz"].metric_name == "quiz accuracy, 0-shot, gen, 95 % interval 35.89 to 91.78, n = 7, 1 failed"


@pytest.mark.parametrize("form", ["lm-eval", "model-card"])
def test_one_document_a_model(form: str, run: Path, ocli: Ocli, tmp_path: Path) -> None:
    done = ocli("report", run, "--format", form)
    assert done.rc == 2
    many = "echo_oracle, replay"
    assert done.err == f"ocli: --format {form} holds one model; name one with -m ({many}), or write a file of each with -o DIR\n"
    done = ocli("report", run, "--format", form, "-o", "each")
    suffix = FORMS[form].suffix
    assert done.out == f"each/echo_oracle.{suffix}\neach/replay.{suffix}\n"
    assert "echo_oracle" in (tmp_path / "each" / f"echo_oracle.{suffix}").read_text()


def test_only_some_models(run: Path, ocli: Ocli) -> None:
    done = ocli("report", run, "-m", "echo_oracle")
    assert done.rc == 0
    assert "replay" not in done.out
    done = ocli("report", run, "-m", "echo_orcale")
    has = "(it has: echo_oracle, replay)"
    assert done.err == f"ocli: -m echo_orcale: the report has no such model; did you mean 'echo_oracle'? {has}\n"


def test_a_run_that_may_not_be_written_is_read_all_the_same(run: Path, ocli: Ocli) -> None:
    text = (run / "summary" / "summary.csv").read_text()
    for path in (run / "summary").iterdir():
        path.chmod(0o444)
    (run / "summary").chmod(0o555)
    if os.access(run / "summary", os.W_OK):
        pytest.skip("root may write anywhere")
    assert ocli("report", run, "--format", "csv").out == text
    done = ocli("report", run, "--format", "html")
    assert (done.rc, len(done.err.splitlines())) == (2, 1)
    assert "choose another place with -o FILE" in done.err
    assert ocli("report", run, "--format", "html", "-o", "page.html").out == "page.html\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "latx"), "--format latx: unknown; did you mean 'latex'?"),
        (("--to", "wanb"), "--to wanb: unknown; did you mean 'wandb'? (known: wandb, mlflow, as in wandb:PROJECT)"),
        (("--format", "json", "-o", "/proc/no/such"), "/proc/no/such: cannot be written"),
        (("--format", "csv", "-o", "."), "-o .: is a directory; name a file in it"),
        (("--format", "html", "-o", ""), "-o has an empty name; say a file, or - for stdout"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: tuple[str, ...], said: str, run: Path, ocli: Ocli) -> None:
    done = ocli("report", run, *arguments)
    assert done.rc == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_model_that_stands_beside_itself_keeps_its_label(run: Path, ocli: Ocli, write: Write) -> None:
    again = ocli("eval", "-m", "echo:oracle", "-t", "quiz.csv")
    done = ocli("report", run, again.run, "--format", "lm-eval", "-o", "both")
    names = sorted(Path(line).name for line in done.out.splitlines())
    assert len(names) == 3
    assert sum(name.startswith("echo_oracle@") for name in names) == 2


def test_a_task_beside_no_model_is_no_row(run: Path) -> None:
    summary = report(Run(run))
    with pytest.raises(OcliError, match="has no score yet"):
        FORMS["model-card"].write(replace(only(summary, ["replay"]), rows=[]))


def test_summary_rows_all_have_a_type() -> None:
    assert set(schema()) == set(SummaryRow.__dataclass_fields__)


def apart(*arguments: object, **environment: str) -> Done:
    """Run ocli in a process of its own: wandb writes its last lines when the process ends."""
    whole = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    command = [sys.executable, "-m", "ocli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=whole, stdin=subprocess.DEVNULL)
    return Done(done.returncode, done.stdout, done.stderr)


def test_wandb_gets_a_run_for_each_model(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    done = apart("report", run, "--to", "wandb:ours", WANDB_MODE="offline")
    assert done.rc == 1, done.err
    assert "echo_oracle" in done.out  # the table, as always
    told = [line for line in done.err.splitlines() if line.startswith("wandb: ")]
    assert [line.split(": ")[1] for line in told if "WARNING" not in line] == ["echo_oracle", "replay"]
    assert not (tmp_path / "wandb").exists()
    place = Path(told[-1].split(": ")[2])
    [log] = place.parent.glob("*.wandb")
    written = log.read_bytes()
    assert re.search(rb"quiz/accuracy.{1,6}?71\.428571", written, re.DOTALL)
    assert re.search(rb"quiz/accuracy_ci95_low.{1,6}?35\.89", written, re.DOTALL)
    assert re.search(rb"quiz/failed.{1,6}?1", written, re.DOTALL)
    assert b"scoring rules" in written
    [table] = place.rglob("*.table.json")
    rows = json.loads(table.read_text())
    assert len(rows["data"]) == sum(row["model"] == "replay" for row in rows_of(run))


def test_wandb_without_a_key_is_one_line(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    done = apart("report", run, "--to", "wandb", WANDB_MODE="online", WANDB_API_KEY="", HOME=str(tmp_path))
    assert done.rc == 2
    assert done.err.splitlines()[-1].startswith("ocli: --to wandb: No API key configured")


def test_mlflow_gets_a_run_for_each_model(run: Path, ocli: Ocli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/store")
    for _ in range(2):
        done = ocli("report", run, "--to", "mlflow:ours")
        assert done.rc == 1, done.err
    told = [line.split(": ") for line in done.err.splitlines() if line.startswith("mlflow: ")]
    assert [words[1] for words in told] == ["echo_oracle", "replay"]
    client = mlflow.MlflowClient()
    assert len(client.search_runs([client.get_experiment_by_name("ours").experiment_id])) == 4
    there = client.get_run(told[1][2].split()[-1])
    assert there.info.run_name == "replay"
    assert there.info.status == "FINISHED"
    assert there.data.metrics["quiz/accuracy"] == pytest.approx(500 / 7, abs=1e-6)
    assert there.data.metrics["quiz/accuracy_ci95_high"] == pytest.approx(91.78, abs=0.01)
    assert (there.data.metrics["quiz/n"], there.data.metrics["quiz/failed"]) == (7, 1)
    assert there.data.params["engine"] == "replay"
    assert there.data.tags["ocli.run"] == str(run)
    assert {file.path for file in client.list_artifacts(there.info.run_id)} == {"summary.md", "summary.json"}


def test_mlflow_that_is_not_there_is_one_line(run: Path, ocli: Ocli, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@127.0.0.1:9")
    done = ocli("report", run, "--to", "mlflow")
    assert done.rc == 2
    assert re.fullmatch("ocli: --to mlflow: .*; MLFLOW_TRACKING_URI names the server", done.err.splitlines()[-1])
    assert "s3cret" not in done.err


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_tracker_that_is_not_installed_says_how_to_get_it(name: str, run: Path, ocli: Ocli) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    done = ocli("report", run, "--to", name)
    assert (done.rc, done.out, done.err) == (2, "", f"ocli: --to {name} needs {name}: pip install 'ocli[{name}]'\n")


def test_wide_names_are_not_cut_on_a_terminal_with_room(run: Path) -> None:
    summary = summary_with(run)
    rows = [replace(row, model="模型_甲") for row in summary.rows if row.model == "replay"]
    shown = io.StringIO()
    Console(width=80, file=shown).print(to_rich(replace(summary, models=["模型_甲"], rows=rows), 80))
    assert "模型_甲" in shown.getvalue()
