"""The command line: what it prints where, its exit codes, and a user's own file without any YAML."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Ocli, Write

ROOT = Path(__file__).parents[1]
NINE = '''question,A,B,C,D,E,F,answer
一加一等于几？,１,２,３,,,,B
"Which is a fruit, and red?",Apple,Lead,Snow,,,,A
三的平方是多少？,3,6,9,12,,,C
「甲，乙」中的第二个字是？,甲,，,乙,丙,,,C
2 + 3 = ？,1,2,3,4,5,,e
Capital of France?,Rome,Bonn,Oslo,Paris,Kyiv,,D
哪一个是偶数？,1,3,5,7,9,10,F
"Say ""yes""",no,"""yes""",maybe,never,often,always,B
太阳从哪边升起？,西,东,南,北,上,下, b
'''


def apart(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start ``python -m ocli ARGUMENTS...`` as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ocli", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finished(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err)


def one_line(done: Done) -> str:
    """Check that the last line on stderr is the error, that nothing was printed, and that no traceback shows."""
    assert (done.rc, done.out) == (2, ""), done
    assert "Traceback" not in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("ocli: ")
    return last


def replies(run: Path, model: str, task: str) -> list[dict[str, Any]]:
    text = (run / "predictions" / model / f"{task}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", ["my.csv", "我的题.csv", "my.v2.csv"])
def test_nine_questions_of_a_user_need_no_yaml(ocli: Ocli, write: Write, name: str) -> None:
    write(name, b"\xef\xbb\xbf" + NINE.encode())
    done = ocli("eval", "-m", "echo:oracle", "-t", name)
    assert done.rc == 0, done.err
    task = name.split(".")[0]
    assert "(95 % interval 70.09 to 100.00, n = 9)" in done.out
    asked = {reply["id"]: reply for reply in replies(done.run, "echo_oracle", task)}
    assert asked["0"]["messages"][0]["content"] == "Question: 一加一等于几？\nA. １\nB. ２\nC. ３\nAnswer: "
    assert asked["8"]["messages"][0]["content"].count("\n") == 7
    assert [asked[str(number)]["text"] for number in range(9)] == list("BACCEDFBB")


def test_silent_model_scores_nothing_on_them_and_is_counted(ocli: Ocli, write: Write) -> None:
    write("my.csv", NINE)
    done = ocli("eval", "-m", "echo:silent", "-t", "my.csv")
    assert done.rc == 0
    assert "echo_silent, my: 0.00" in done.out
    assert "unanswered 9 (100.0 %)" in done.out


@pytest.mark.parametrize("name", ["qa.csv", "qa.tsv", "qa.jsonl", "qa.json", "qa.csv.gz"])
def test_questions_and_answers_need_no_yaml(ocli: Ocli, write: Write, name: str) -> None:
    import gzip

    rows = [("1+1?", "2"), ("中国的首都？", "北京")]
    records = [{"question": question, "answer": answer} for question, answer in rows]
    delimiter = "\t" if name.endswith("tsv") else ","
    table = "".join(f"{question}{delimiter}{answer}\n" for question, answer in [("question", "answer"), *rows]).encode()
    content = {
        "qa.jsonl": "".join(json.dumps(row) + "\n" for row in records).encode(),
        "qa.json": json.dumps(records).encode(),
        "qa.csv.gz": gzip.compress(table),
    }.get(name, table)
    write(name, content)
    done = ocli("eval", "-m", "echo:oracle", "-t", name)
    assert done.rc == 0, done.err
    assert "echo_oracle, qa: 100.00" in done.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frage,antwort\n1?,2\n", "has the columns frage, antwort; a task without YAML needs 'question,A,B,...,answer'"),
        ("question,A,C,answer\n1?,1,2,A\n", "has the columns question, A, C, answer"),
        ("question,A,answer\n1?,1,A\n", "has the columns question, A, answer"),
        ("question,answer\n", "has the columns (none)"),
        ("", "has the columns (none)"),
        ("question,answer\n1?,2,3\n", "my.csv:2: the row has 3 cells, but there are 2 columns (question, answer)"),
        ("\ufeffquestion,A,B,answer\n1?,1,2,A\n2?,1,2\n", "my.csv:3: the row has 3 cells"),
        ("question,A,B,answer\n1?,1,2,C\n", "row 0: the answer 'C' is none of the choices A, B"),
        ("question,A,B,answer\n1?,1,2,\n", "row 0 has no answer"),
    ],
)
def test_file_that_is_no_task_is_refused(ocli: Ocli, write: Write, text: str, message: str) -> None:
    write("my.csv", text)
    assert message in one_line(ocli("eval", "-m", "echo", "-t", "my.csv"))
    assert not Path("outputs").exists()


WRONG = [
    (["infer", "-m", "echo"], "names no tasks"),
    (["infer", "-t", "quickstart"], "names no models"),
    (["infer", "-m", "ehco:oracle", "-t", "quickstart"], "no engine is called 'ehco'; did you mean 'echo'"),
    (["infer", "-m", "nanno", "-t", "quickstart"], "no model is called 'nanno'; did you mean 'nano'?"),
    (["infer", "-m", "echo", "-t", "ceval_gne"], "no task or suite is called 'ceval_gne'; did you mean 'ceval_gen'"),
    (["infer", "-m", "echo", "-t", "none.csv"], "no data file none.csv (working directory: /"),
    (["infer", "quickstrat"], "no recipe is called 'quickstrat'; did you mean 'quickstart'?"),
    (["infer", "none.yaml"], "no file none.yaml"),
    (["infer", "-m", "replay:none.jsonl", "-t", "quickstart"], "replay:none.jsonl: no such file or directory"),
    (["infer", "-m", "echo", "-t", "quickstart", "-r"], "outputs/echo-quickstart: is no run and holds none"),
    (["score"], "outputs: is no run and holds none (a run has configs/recipe.yaml); 'ocli eval' makes one"),
    (["score", "elsewhere"], "elsewhere: is no run and holds none"),
    (["report"], "outputs: is no run and holds none"),
    (["report", "--format", "jsn"], "--format jsn: unknown; did you mean 'json'?"),
    (["list", "--kind", "model"], "--kind model: unknown; did you mean 'models'?"),
    (["list", "no-such-thing"], "nothing is called 'no-such-thing'; 'ocli list' shows everything"),
    (["show", "quikstart"], "nothing is called 'quikstart'; did you mean 'quickstart'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_users_mistake_is_one_line_and_exit_code_2(ocli: Ocli, arguments: list[str], message: str) -> None:
    assert message in one_line(ocli(*arguments))


@pytest.mark.parametrize("arguments", [["evil"], ["eval", "--limt", "3"], ["eval", "--limit", "x"], ["eval", "--limit", "0"]])
def test_unknown_word_of_the_command_line_is_exit_code_2(ocli: Ocli, arguments: list[str]) -> None:
    done = ocli(*arguments)
    assert (done.rc, done.out) == (2, "")
    assert "Traceback" not in done.err


def test_debug_shows_where_a_mistake_was_found() -> None:
    done = finished(apart("infer", "-m", "nanno", "-t", "quickstart", "--debug"))
    assert done.rc != 0
    assert "Traceback" in done.err
    assert "NotFoundError" in done.err


def test_infer_prints_the_run_directory_and_nothing_else() -> None:
    done = finished(apart("infer", "-m", "echo", "-t", "quickstart", "--limit", 3))
    assert done.rc == 0, done.err
    [line] = done.out.splitlines()
    assert (Path(line) / "predictions" / "echo" / "quickstart.jsonl").is_file()
    assert Path(line) == done.run
    assert Path("outputs/echo-quickstart/latest").resolve() == Path(line).resolve()


def test_stages_one_by_one_end_where_eval_does(ocli: Ocli) -> None:
    whole = ocli("eval", "-m", "echo:oracle", "-t", "quickstart", "-w", "a")
    run = ocli("infer", "-m", "echo:oracle", "-t", "quickstart", "-w", "b").out.strip()
    assert ocli("report", run).rc == 2
    assert ocli("score", run).out.strip() == run
    assert ocli("report", run).out == whole.out
    for suffix in ("txt", "csv", "md"):
        name = f"summary/summary.{suffix}"
        assert (whole.run / name).read_bytes() == (Path(run) / name).read_bytes()


def test_latest_run_below_outputs_is_the_one_that_is_scored_and_reported(ocli: Ocli) -> None:
    ocli("eval", "-m", "echo:silent", "-t", "quickstart", "--limit", 2)
    last = ocli("eval", "-m", "echo:oracle", "-t", "quickstart", "--limit", 2)
    assert ocli("report").out == last.out
    assert ocli("score").out.strip() == str(last.run)


def test_list_finds_by_every_word(ocli: Ocli) -> None:
    everything = ocli("list")
    assert everything.rc == 0
    assert {"models", "tasks: exam", "tasks: math", "recipes", "suites"} <= set(everything.out.splitlines())
    heading, *found = ocli("list", "internlm", "chat", "--kind", "models").out.splitlines()
    assert heading == "models"
    assert found
    assert all("internlm" in line.lower() and "chat" in line.lower() for line in found)
    heading, columns, *found = ocli("list", "CEVAL", "--kind", "tasks").out.splitlines()
    assert (heading, columns.split()) == ("tasks: exam", ["mode", "shots", "metric", "items"])
    assert {"ceval_0shot_gen", "ceval_gen", "ceval_ppl"} <= {line.split()[0] for line in found}


def test_list_shows_what_a_task_inherits(ocli: Ocli, write: Write) -> None:
    write("recipes/tasks/exam/my_ceval.yaml", "extends: ceval_ppl\n")
    [line] = [line for line in ocli("list", "my_ceval").out.splitlines() if "my_ceval" in line]
    assert line.split()[:5] == ["my_ceval", "ppl", "5", "accuracy", "1346"]
    write("recipes/tasks/exam/my_ceval.yaml", "extends: my_ceval\ndescription: round in a circle\n")
    assert ocli("list", "my_ceval").rc == 0


def test_list_shows_what_the_working_directory_adds(ocli: Ocli, write: Write) -> None:
    write("recipes/models/mine.yaml", "engine: echo\ndescription: A model of my own\n")
    assert ocli("list", "of my own").out.split(maxsplit=2) == ["models", "mine", "A model of my own\n"]


def test_show_prints_a_task_with_its_prompt_as_the_model_gets_it(ocli: Ocli) -> None:
    done = ocli("show", "quickstart", "--row", 1)
    assert done.rc == 0
    assert "name: quickstart" in done.out
    assert "item 1 of 200, for a chat model" in done.out
    assert "right answer: 'B'" in done.out
    assert done.out.endswith("--- user\n计算：96 - 64 = ？\nA. 44\nB. 32\nC. 31\nD. 34\nAnswer: \n")


def test_show_of_a_row_that_is_not_there_is_refused(ocli: Ocli) -> None:
    done = ocli("show", "quickstart", "--row", 200)
    assert done.rc == 2
    assert done.err == "ocli: quickstart: has no item 200; it has 200 (0 to 199)\n"


def test_show_prints_a_model_a_recipe_and_a_users_own_file(ocli: Ocli, write: Write) -> None:
    assert "path: moonshot-v1-8k" in ocli("show", "moonshot_v1_8k").out
    assert "tasks: [ceval_gen]" in ocli("show", "ceval_internlm").out
    write("my.csv", NINE)
    assert "一加一等于几？" in ocli("show", "my.csv").out


def test_show_of_a_task_without_its_data_says_what_is_missing(ocli: Ocli) -> None:
    done = ocli("show", "ceval_gen", "--offline")
    assert "no prompt to show: ceval_gen: no data for split 'val'" in done.out


def test_csv_has_the_columns_of_the_contract(ocli: Ocli) -> None:
    run = ocli("eval", "-m", "echo:oracle", "-m", "echo:silent", "-t", "quickstart").run
    rows = list(csv.reader(io.StringIO(ocli("report", run, "--format", "csv").out)))
    assert rows[0] == ["dataset", "version", "metric", "mode", "echo_oracle", "echo_silent"]
    assert rows[-1][0] == "quickstart"
    assert rows[-1][2:] == ["accuracy", "gen", "100.00", "0.00"]
    assert len(rows[-1][1]) == 6
    assert all(len(row) == 6 for row in rows)


def test_json_has_the_fields_of_the_contract(ocli: Ocli) -> None:
    run = ocli("eval", "-m", "echo:oracle", "-t", "quickstart").run
    done = ocli("report", run, "--format", "json")
    assert done.rc == 0
    summary = json.loads(done.out)
    assert {"run", "recipe", "models", "rows"} <= set(summary)
    [row] = [row for row in summary["rows"] if row["group"] is None and row["subset"] is None]
    assert row["score"] == 100.0
    assert (row["n"], row["unanswered"], row["truncated"], row["failed"]) == (200, 0, 0, 0)
    assert row["ci95"][0] < row["ci95"][1] == 100.0
    wanted = "model task subset group version metric mode score stderr ci95 n unanswered truncated failed"
    assert set(wanted.split()) <= set(row)


def test_markdown_table_has_one_header(ocli: Ocli) -> None:
    run = ocli("eval", "-m", "echo:oracle", "-t", "quickstart").run
    lines = ocli("report", run, "--format", "md").out.splitlines()
    assert lines[0] == "| dataset | version | metric | mode | echo_oracle |"
    assert lines[1].startswith("| --- |")


def test_several_runs_stand_side_by_side(ocli: Ocli) -> None:
    runs = [
        ocli("eval", "-m", model, "-t", "quickstart", "-w", "o").run for model in ("echo:oracle", "echo:silent", "echo:silent")
    ]
    rows = list(csv.reader(io.StringIO(ocli("report", *runs, "--format", "csv").out)))
    assert rows[0][4:] == ["echo_oracle", f"echo_silent@{runs[1].name}", f"echo_silent@{runs[2].name}"]
    assert rows[-1][4:] == ["100.00", "0.00", "0.00"]


def test_models_of_several_runs_are_named_by_as_little_as_tells_them_apart(ocli: Ocli) -> None:
    first, second = (ocli("eval", "-m", "echo", "-t", "quickstart", "--limit", "1").run for _ in range(2))
    third = second.parent.parent / "other" / second.name
    shutil.copytree(second, third)
    head = ocli("report", first, second, third, third, "--format", "csv").out.splitlines()[0]
    assert head.split(",")[4:] == [f"echo@{first.name}", f"echo@{second.parent.name}/{second.name}", f"echo@other/{third.name}"]


def test_part_of_a_task_is_marked_as_partial(ocli: Ocli) -> None:
    done = ocli("eval", "-m", "echo:oracle", "-t", "quickstart", "--limit", 5)
    assert "PARTIAL: quickstart was asked 5 of 200 items only" in done.out
    assert "PARTIAL" in (done.run / "summary" / "summary.txt").read_text(encoding="utf-8")
    assert "PARTIAL" not in ocli("eval", "-m", "echo:oracle", "-t", "quickstart").out


def test_failed_requests_make_the_run_incomplete(ocli: Ocli) -> None:
    arguments = ("-m", "echo:oracle", "-t", "quickstart", "--set", "model.args.fail_every=4")
    done = ocli("eval", *arguments)
    assert done.rc == 1
    assert "failed " in done.out
    assert ocli("infer", *arguments, "-w", "b").rc == 1
    assert ocli("score", done.run).rc == 1
    assert ocli("report", done.run).rc == 1


def test_every_request_failing_stops_the_run_at_once(ocli: Ocli) -> None:
    done = ocli("eval", "-m", "echo", "-t", "quickstart", "--set", "model.args.fail_every=1")
    last = one_line(done)
    assert "requests all failed" in last
    assert "echo was asked to fail on this item" in last


def test_command_line_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "vllm", "openai", "polars", "huggingface_hub", "jinja2")
    probe = f"import sys, ocli.cli; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_echo_run_loads_no_model_library() -> None:
    probe = (
        "import sys, ocli.cli\nsys.argv = ['ocli', 'eval', '-m', 'echo', '-t', 'quickstart', '--limit', '1']\n"
        "try:\n    ocli.cli.main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print([name for name in ('torch', 'transformers', 'vllm', 'openai') if name in sys.modules], file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_work_directory_that_cannot_be_written_is_refused(ocli: Ocli, write: Write, place: str) -> None:
    write("file", "")
    last = one_line(ocli("infer", "-m", "echo", "-t", "quickstart", "-w", place))
    assert f"{place}/echo-quickstart: cannot be written" in last
    assert "choose another place with -w DIR" in last


def test_full_disk_is_one_line_and_resume_goes_on(ocli: Ocli) -> None:
    """``/dev/full`` says what a full disk says; the run's own file comes back and goes on."""
    arguments = ("-m", "echo:oracle", "-t", "quickstart")
    run = ocli("infer", *arguments, "--limit", 50).run
    path = run / "predictions" / "echo_oracle" / "quickstart.jsonl"
    earlier = path.read_bytes()
    path.rename(path.with_suffix(".kept"))
    path.symlink_to("/dev/full")
    last = one_line(ocli("infer", *arguments, "-r"))
    assert "quickstart.jsonl: cannot be written: No space left on device; every reply before this one is kept" in last
    assert "go on with -r" in last
    path.with_suffix(".kept").replace(path)
    done = ocli("eval", *arguments, "-r")
    assert done.rc == 0, done.err
    assert "50 replies were there already, 150 asked now" in done.err
    assert path.read_bytes().startswith(earlier)


def test_disk_that_fills_up_in_the_middle_of_a_line_keeps_every_whole_line(ocli: Ocli) -> None:
    """A limit on the size of files tears the line that crosses it, as a disk does that fills up."""

    def at_most() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    arguments = ("-m", "echo:oracle", "-t", "quickstart")
    done = finished(apart("infer", *arguments, preexec_fn=at_most))
    assert "every reply before this one is kept" in one_line(done)
    path = done.run / "predictions" / "echo_oracle" / "quickstart.jsonl"
    torn = path.read_bytes()
    assert 19_000 < len(torn) <= 20_000
    assert torn.endswith(b"\n")
    whole = torn.count(b"\n")
    again = ocli("eval", *arguments, "-r")
    assert again.rc == 0, again.err
    assert f"{whole} replies were there already, {200 - whole} asked now" in again.err
    assert path.read_bytes().startswith(torn)


@pytest.mark.parametrize("times", [1, 2])
def test_interrupt_is_130_and_resume_completes(ocli: Ocli, times: int) -> None:
    arguments = ("-m", "echo:oracle", "-t", "quickstart", "--set", "model.args.delay=0.05", "--set", "model.concurrency=4")
    process = apart("eval", *arguments)
    path = Path("outputs/echo_oracle-quickstart/latest/predictions/echo_oracle/quickstart.jsonl")
    deadline = time.monotonic() + 20
    while not (path.is_file() and path.stat().st_size > 3000) and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    done = finished(process)
    assert (done.rc, done.out) == (130, ""), done.err
    assert "Traceback" not in done.err
    assert "every reply so far is kept: run the same command with -r to go on" in done.err.splitlines()[-1]
    earlier = path.read_bytes()
    assert 0 < earlier.count(b"\n") < 200
    again = ocli("eval", *arguments[:4], "--set", "model.args.delay=0", "-r")
    assert again.rc == 0, again.err
    assert f"{earlier.count(chr(10).encode())} replies were there already" in again.err
    assert path.read_bytes().startswith(earlier)
    assert "echo_oracle, quickstart: 100.00" in again.out


def test_interrupt_before_the_first_reply_is_130_without_a_traceback() -> None:
    process = apart("infer", "-m", "echo", "-t", "quickstart", "--set", "model.args.delay=30")
    assert process.stderr
    while not process.stderr.readline().startswith("echo 0/200"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    done = finished(process)
    assert (done.rc, done.out) == (130, "")
    assert "Traceback" not in done.err
    assert "with -r to go on" in done.err


def test_resume_of_a_named_run(ocli: Ocli) -> None:
    arguments = ("-m", "echo", "-t", "quickstart")
    first = ocli("infer", *arguments, "--limit", 5).run
    second = ocli("infer", *arguments, "--limit", 6).run
    assert first != second
    assert ocli("infer", *arguments, "--limit", 7, "-r", first.name).run == first
    assert len(replies(first, "echo", "quickstart")) == 7
    assert ocli("infer", *arguments, "--limit", 8, "-r").run == second
    assert f"{first.parent / '19990101_000000'}: is no run" in one_line(ocli("infer", *arguments, "-r", "19990101_000000"))


def test_module_and_help_answer() -> None:
    done = finished(apart("--help"))
    assert done.rc == 0
    assert all(word in done.out for word in ("eval", "infer", "score", "report", "list", "show"))
