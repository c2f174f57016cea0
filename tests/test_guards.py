"""What would give a wrong number without a word, and is refused or shown instead."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from conftest import Done, Ocli, Write

TASK = """
data: {{local: "./{test}.csv", fields: {{target: answer}}{more}}}
prompt: exam/custom_qa
score: [{{extract: text, metric: accuracy}}]
{rest}
"""


def refused(done: Done) -> str:
    assert done.rc == 2, done
    assert "Traceback" not in done.err
    return done.err.splitlines()[-1]


@pytest.fixture
def rows(write: Write) -> Path:
    return write("rows.csv", "question,answer,kind\n1?,1,odd\n2?,2,even\n3?,3,odd\n")


def task(write: Write, rest: str = "", more: str = "", test: str = "rows") -> str:
    return str(write("t.yaml", TASK.format(test=test, more=more, rest=rest)))


def test_model_that_cannot_be_loaded_leaves_the_others_their_table(ocli: Ocli, rows: Path, write: Write) -> None:
    done = ocli("eval", "-m", "echo:oracle", "-m", "echo:x", "-t", task(write), "--set", "model.args={}")
    assert done.rc == 0
    done = ocli("eval", "-m", "echo:oracle", "-m", "openai:auto", "-t", task(write), "--set", "model.base_url=http://127.0.0.1:9")
    assert done.rc == 1
    assert "echo_oracle, t: 100.00" in done.out
    assert "INCOMPLETE: openai_auto, t: not asked" in done.out
    assert "ocli: openai_auto: http://127.0.0.1:9/v1 does not say which models it serves" in done.err


def test_examples_are_never_the_questions_themselves(ocli: Ocli, rows: Path, write: Write) -> None:
    name = task(write, rest="fewshot: {count: 1}", more=", splits: {test: a, fewshot: b}")
    assert "holds the very questions that are asked" in refused(ocli("eval", "-m", "echo", "-t", name))


def test_groups_are_fields_and_a_misspelt_one_is_named(ocli: Ocli, rows: Path, write: Write) -> None:
    done = ocli("eval", "-m", "echo:oracle", "-t", task(write, rest="groups: [kind]"))
    assert "t-even" in done.out
    assert "t-odd" in done.out
    error = refused(ocli("eval", "-m", "echo", "-t", task(write, rest="groups: [kid]")))
    assert "there is no field 'kid'; did you mean 'kind'?" in error


def test_null_is_never_shown_to_a_model_as_the_word_none(ocli: Ocli, tmp_path: Path) -> None:
    pl.DataFrame({"question": ["1?", None], "answer": ["1", "2"]}).write_parquet(tmp_path / "n.parquet")
    error = refused(ocli("eval", "-m", "echo", "-t", "n.parquet"))
    assert "has no value (null)" in error
    assert "question" in error
    assert "(item 1)" in error


def test_row_that_the_prompt_cannot_show_is_found_before_anything_is_asked(ocli: Ocli, write: Write) -> None:
    lines = [json.dumps({"question": f"{i}?", "answer": i}) for i in range(60)]
    lines[40] = json.dumps({"answer": 40})
    write("q.jsonl", "\n".join(lines))
    done = ocli("eval", "-m", "echo", "-t", "q.jsonl")
    assert "'question' is undefined" in refused(done)
    assert "(item 40)" in done.err
    assert not Path("outputs").exists()


def test_options_may_be_zero_or_false(ocli: Ocli, write: Write) -> None:
    rows = [{"question": "1-1?", "A": 1, "B": 0, "answer": "B"}, {"question": "1>2?", "A": True, "B": False, "answer": "B"}]
    write("q.jsonl", "\n".join(map(json.dumps, rows)))
    assert "100.00" in ocli("eval", "-m", "echo:B", "-t", "q.jsonl").out


def test_whole_number_of_a_spreadsheet_is_matched_as_people_write_it(ocli: Ocli, tmp_path: Path) -> None:
    pl.DataFrame({"question": ["2+3?"], "answer": [5.0]}).write_parquet(tmp_path / "n.parquet")
    assert "echo_5, n: 100.00" in ocli("eval", "-m", "echo:5", "-t", "n.parquet").out


def test_column_that_stands_twice_is_refused(ocli: Ocli, write: Write) -> None:
    write("q.csv", "question,A,B,A,answer\nx,1,2,3,A\n")
    assert "two columns are called 'A'" in refused(ocli("eval", "-m", "echo", "-t", "q.csv"))


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (
            "[{extract: text, metric: accuracy}, {name: status, extract: text, metric: accuracy}]",
            "a rule cannot be called status",
        ),
        ("[{extract: match_answer, metric: accuracy}]", "'match_answer' needs the option 'pattern'"),
        ("[{extract: {name: match_answer, pattern: abc}, metric: accuracy}]", "with one group"),
        ("[{extract: {name: match_answer, pattern: '(?=x)(a)'}, metric: accuracy}]", "a rule cannot be used"),
        ("[{extract: choice, metric: accuracy}]", "choice"),
    ],
)
def test_rule_that_cannot_work_is_refused_before_anything_is_asked(
    ocli: Ocli, rows: Path, write: Write, score: str, message: str
) -> None:
    name = task(write).replace("t.yaml", "u.yaml")
    write("u.yaml", TASK.format(test="rows", more="", rest="").replace("[{extract: text, metric: accuracy}]", score))
    assert message in refused(ocli("eval", "-m", "echo", "-t", name))
    assert not Path("outputs").exists()


def test_only_some_subsets_are_asked_and_the_table_says_so(ocli: Ocli, write: Write) -> None:
    for subset in ("law", "art", "math"):
        write(f"{subset}.csv", f"question,answer\n{subset}?,1\n")
    name = task(write, test="{subset}", more=", subsets: [law, art, math]")
    done = ocli("eval", "-m", "echo:1", "-t", name, "--set", "task.data.only=[art, law]")
    assert done.rc == 0, done.err
    assert "PARTIAL: t was asked 2 of 3 subsets only" in done.out
    assert "t-math" not in done.out
    assert "did you mean 'math'" in refused(ocli("eval", "-m", "echo", "-t", name, "--set", "task.data.only=[mathe]"))


def test_resume_with_other_models_or_tasks_is_refused(ocli: Ocli, rows: Path, write: Write) -> None:
    recipe = str(write("r.yaml", "models: [echo]\ntasks: [t.yaml]\n"))
    task(write)
    assert ocli("eval", recipe).rc == 0
    error = refused(ocli("eval", recipe, "-m", "echo:x", "-r"))
    assert "has the model echo, this command has not" in error


def test_replies_to_another_question_are_set_aside_not_lost(ocli: Ocli, rows: Path, write: Write) -> None:
    arguments = ("eval", "-m", "echo", "-t", task(write))
    run = ocli(*arguments).run
    before = (run / "predictions/echo/t.jsonl").read_text(encoding="utf-8")
    done = ocli(*arguments, "-r", "latest", "--set", "sampling.max_tokens=5")
    assert "echo, t: 3 replies were to another question and are now in t.jsonl.old" in done.err
    assert (run / "predictions/echo/t.jsonl.old").read_text(encoding="utf-8") == before


def test_replays_of_two_files_stand_side_by_side(ocli: Ocli, rows: Path, write: Write) -> None:
    for name, text in (("a", "1"), ("b", "2")):
        write(f"{name}.jsonl", "\n".join(json.dumps({"id": str(i), "text": text}) for i in range(3)))
    done = ocli("eval", "-m", "replay:a.jsonl", "-m", "replay:b.jsonl", "-t", task(write))
    assert done.rc == 0, done.err
    assert "replay, t: 33.33" in done.out
    assert "replay_b, t: 33.33" in done.out


def test_truncated_reply_without_answer_counts_as_unanswered_too(ocli: Ocli, rows: Path, write: Write) -> None:
    write("r.jsonl", "\n".join(json.dumps({"id": str(i), "text": "", "finish_reason": "length"}) for i in range(3)))
    done = ocli("eval", "-m", "replay:r.jsonl", "-t", task(write))
    assert "unanswered 3 (100.0 %); truncated 3 (100.0 %)" in done.out


def test_task_may_have_a_field_called_key(ocli: Ocli, rows: Path, write: Write) -> None:
    name = task(write).replace("t.yaml", "k.yaml")
    write("k.yaml", TASK.format(test="rows", more="", rest="").replace("{target: answer}", "{target: answer, key: question}"))
    assert ocli("eval", "-m", "echo:oracle", "-t", name).rc == 0


def test_bad_file_in_the_models_folder_does_not_stop_the_rest(ocli: Ocli, write: Write) -> None:
    write("recipes/models/bad.yaml", "variants: [a, b]\n")
    write("recipes/models/worse.yaml", "variants: {7: hello}\n")
    assert ocli("list", "nano").rc == 0
    assert "variants: must be names" in refused(ocli("show", "bad"))


def test_run_in_which_nothing_could_be_asked_says_so(ocli: Ocli, rows: Path, write: Write) -> None:
    done = ocli("eval", "-m", "openai:auto", "-t", task(write), "--set", "model.base_url=http://127.0.0.1:9")
    assert "does not say which models it serves" in refused(done)
    assert ocli("score").rc == 1
    done = ocli("report")
    assert done.rc == 1
    assert "INCOMPLETE: openai_auto, t: not asked" in done.out
