"""Code tasks: prompts, extraction, the metric, consent, and the published solutions, run."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Ocli, Write

from ocli import catalog, sandbox
from ocli.errors import ConsentError, DataError, RecipeError
from ocli.plan import TaskPlan, plan_task
from ocli.recipe import ModelSpec, Recipe
from ocli.registry import extractor, metric
from ocli.stages.check import problem_of
from ocli.task import DataSpec, SamplingSpec
from ocli.types import Request

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = json.loads((HERE / "cases" / "code" / "passes.json").read_text(encoding="utf-8"))
GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "opencompass"


def scored(answers: list[str | None], targets: list[dict[str, Any]], **options: Any) -> pl.DataFrame:
    columns = pl.Series(answers, dtype=pl.String), pl.Series([json.dumps(target) for target in targets], dtype=pl.String)
    frame: pl.DataFrame = metric.get("passes", options)(*columns, **options)
    return frame


def test_answers_get_verdicts() -> None:
    with sandbox.allowed("auto"):
        told = scored([case["answer"] for case in CASES], [case["target"] for case in CASES], timeout=3)
    for case, row in zip(CASES, told.iter_rows(named=True), strict=True):
        assert (row["verdict"], row["score"]) == (case["verdict"], float(case["verdict"] == "passed")), (case, row)


def test_the_end_of_what_a_program_wrote_is_kept() -> None:
    target = {"tests": "assert f() == 1"}
    with sandbox.allowed("auto"):
        told = scored(["def f():\n    raise KeyError('lost')", "print('hello')\ndef f():\n    return 1"], [target, target])
    assert "KeyError: 'lost'" in told["stderr"][0]
    assert "hello" in told["stderr"][1]


def test_silence_needs_no_consent_and_a_program_does() -> None:
    assert scored([None], [CASES[0]["target"]])["verdict"].to_list() == ["no code"]
    with pytest.raises(ConsentError, match="--allow-code-exec"):
        scored(["x = 1"], [{"tests": "pass"}])


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": True}, {"timeout": "3"}, {"memory": 1}, {"memory": 0.5}, {"types": 1}]
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="metric 'passes' needs"):
        scored([None], [CASES[0]["target"]], **options)


@pytest.mark.parametrize("target", ["", "[]", "{}", "3", '{"tests": "def"}'])
def test_targets_that_are_no_tests(target: str) -> None:
    with pytest.raises(DataError, match="metric 'passes'"), sandbox.allowed("auto"):
        metric.get("passes", {})(pl.Series(["x"]), pl.Series([target]))


TYPED = [
    ("2", "2", True), ("2.0", "2", False), ("True", "1", False), ("[1, 2]", "(1, 2)", False),
    ("[1, (2, 3)]", "[1, (2, 3)]", True),
    ("[1, [2.0]]", "[1, [2]]", False), ("{1: 'a', 2: 'b'}", "{2: 'b', 1: 'a'}", True), ("{1: 1.0}", "{1: 1}", False),
    ("{1, 2}", "{2, 1}", True), ("{1.0, 2}", "{1, 2}", False), ("'a'", "'a'", True), ("None", "None", True), ("[]", "[1]", False),
]  # fmt: skip


def test_types_are_compared_where_opencompass_compares_them() -> None:
    answers: list[str | None] = [f"def f():\n    return {value}" for value, _, _ in TYPED]
    with sandbox.allowed("auto"):
        told = scored(
            answers, [{"tests": f"assert f() == {wanted}\nassert not f() != f()"} for _, wanted, _ in TYPED], types=True
        )
    assert [score == 1 for score in told["score"]] == [right for _, _, right in TYPED]


# The twins, against OpenCompass' own output.


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden tables at {GOLDEN}")
@pytest.mark.parametrize(
    ("theirs", "ours"), [("humaneval_postprocess_v2", "humaneval_v2"), ("MBPPEvaluator._process_answer", "mbpp")]
)
def test_twin_agrees_with_opencompass_line_by_line(theirs: str, ours: str) -> None:
    lines = (GOLDEN / "postprocessors.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["postprocessor"] == theirs]
    frame = pl.DataFrame({"reply": [row["input"] for row in rows]})
    found = frame.select(extractor.get(ours, {})(pl.col("reply"), ())).to_series().to_list()
    assert [answer or "" for answer in found] == [row["output"] for row in rows]
    assert len(rows) >= 35


# Prompts, byte for byte.


def planned(name: str, data_dir: Path, **data: Any) -> TaskPlan:
    [(_, spec)] = catalog.load_tasks(name)
    source = DataSpec.model_validate(spec.data.model_dump() | data)
    spec = spec.model_copy(update={"data": source, "items": None} if data else {})
    return plan_task(name, spec, Recipe(name="test", models={}, tasks={name: spec}, data_dir=str(data_dir), offline=True))


def first(plan: TaskPlan, chat: bool) -> Request:
    return next(plan.requests(ModelSpec(engine="echo"), chat, SamplingSpec()))


def rendered(golden: Path, file: str, config: str) -> dict[str, Any]:
    lines = (golden / "opencompass" / file).read_text(encoding="utf-8").splitlines()
    [case] = [case for case in map(json.loads, lines) if case["config"] == config]
    found: dict[str, Any] = case["rendered" if "clean" in file else "rendered_sha"]
    return found


@pytest.mark.parametrize(
    ("name", "config"), [("humaneval", "humaneval/humaneval_gen_8e312c.py"), ("humaneval_chat", "humaneval/humaneval_gen.py")]
)
def test_humaneval_asks_as_opencompass_does(name: str, config: str, golden: Path, write: Write) -> None:
    theirs = rendered(golden, "prompts_clean.jsonl", config)["base_nometa"]
    row = json.loads((HERE / "data" / "humaneval.jsonl").read_text(encoding="utf-8").splitlines()[0])
    write("HumanEval.jsonl", json.dumps(row | {"prompt": theirs.partition("\n")[2]}))
    plan = planned(name, Path(), local="HumanEval.jsonl")
    assert first(plan, chat=False).prompt == theirs
    assert first(plan, chat=True).messages == ({"role": "user", "content": theirs},)


MBPP = {
    "mbpp": ("mbpp/mbpp_gen.py", "split == 'prompt' or task_id > 10"),
    "mbpp_sanitized": (
        "mbpp/sanitized_mbpp_mdblock_gen_a447ff.py",
        "(row.text is defined) if split == 'prompt' else (row.prompt is defined and task_id > 7)",
    ),
}


@pytest.mark.parametrize("name", MBPP)
def test_mbpp_asks_as_opencompass_does(name: str, golden: Path, shared_data: Path, write: Write) -> None:
    config, where = MBPP[name]
    source = golden / "opencompass" / "data" / "mbpp"
    real = (shared_data / "mbpp" / "mbpp.jsonl").read_text(encoding="utf-8").splitlines()
    told = [line for line in (source / "mbpp.jsonl").read_text(encoding="utf-8").splitlines() if json.loads(line)["task_id"] > 10]
    write("mbpp/mbpp.jsonl", "\n".join(real[:10] + told))
    shutil.copy(source / "sanitized-mbpp.jsonl", "mbpp")
    plan = planned(name, Path(), where=where)
    hashes = {key: value["sha256"] for key, value in rendered(golden, "prompts_sha.jsonl", config).items()}
    roles = {"user": "HUMAN", "assistant": "BOT"}
    turns = [{"role": roles[turn["role"]], "prompt": turn["content"]} for turn in first(plan, chat=True).messages or ()]
    for key, text in {"base_nometa": first(plan, chat=False).prompt, "api_meta": turns}.items():
        assert hashlib.sha256(json.dumps(text, ensure_ascii=False).encode()).hexdigest() == hashes[key]


# EvalPlus' data, as EvalPlus keeps it (tests/data/humaneval_plus.jsonl, tested with every task) and as the hub has it.


def test_evalplus_from_the_hub_has_tests_of_its_own(write: Write) -> None:
    rows = [json.loads(line) for line in (HERE / "data" / "humaneval.jsonl").read_text(encoding="utf-8").splitlines()]
    write("HumanEvalPlus.jsonl", "\n".join(json.dumps(row) for row in rows))
    with sandbox.allowed("auto"):
        assert problem_of(planned("humaneval_plus", Path(), local="HumanEvalPlus.jsonl")) is None


# Consent.


@pytest.fixture
def rows(write: Write) -> Path:
    """A data folder with three questions of HumanEval."""
    return write("data/humaneval/human-eval-v2-20210705.jsonl", (HERE / "data" / "humaneval.jsonl").read_bytes()).parents[1]


ASK = ("-t", "humaneval", "--offline")


def test_eval_asks_for_consent_before_it_asks_the_model(ocli: Ocli, rows: Path) -> None:
    done = ocli("eval", "-m", "echo:oracle", *ASK, "--data-dir", rows)
    assert done.rc == 2
    assert done.err.count("\n") == 1
    assert "humaneval: the score is found by running" in done.err
    assert "--allow-code-exec" in done.err
    assert not Path("outputs").exists()


@pytest.mark.parametrize("consent", [("--allow-code-exec",), ("--set", "allow_code_exec=true")])
def test_eval_with_consent(ocli: Ocli, rows: Path, consent: tuple[str, ...]) -> None:
    done = ocli("eval", "-m", "echo:oracle", *ASK, "--data-dir", rows, *consent)
    assert done.rc == 0, done.err
    [path] = done.run.glob("results/*/humaneval.parquet")
    results = pl.read_parquet(path)
    assert results["score"].to_list() == [1.0] * 3
    assert results["verdict"].to_list() == ["passed"] * 3
    assert {"stderr", "opencompass", "opencompass_verdict", "opencompass_stderr"} <= set(results.columns)


def test_a_recipe_may_give_consent(ocli: Ocli, rows: Path, write: Write) -> None:
    recipe = write("code.yaml", "models: ['echo:oracle']\ntasks: [humaneval]\nallow_code_exec: true\nsandbox: subprocess\n")
    assert ocli("eval", recipe, "--offline", "--data-dir", rows).rc == 0


def test_infer_needs_no_consent_and_score_does(ocli: Ocli, rows: Path) -> None:
    done = ocli("infer", "-m", "echo:oracle", *ASK, "--data-dir", rows)
    assert done.rc == 0, done.err
    refused = ocli("score", done.run)
    assert refused.rc == 2
    assert refused.err.count("\n") == 1
    assert "--allow-code-exec" in refused.err
    assert ocli("score", done.run, "--allow-code-exec").rc == 0
    assert "100.00" in ocli("report", done.run).out


def test_silence_is_unanswered(ocli: Ocli, rows: Path) -> None:
    done = ocli("eval", "-m", "echo:silent", *ASK, "--data-dir", rows, "--allow-code-exec")
    [path] = done.run.glob("results/*/humaneval.parquet")
    results = pl.read_parquet(path)
    assert results["status"].to_list() == ["unanswered"] * 3
    assert results["verdict"].to_list() == ["no code"] * 3


def test_check_proves_code_with_consent_only(ocli: Ocli, rows: Path) -> None:
    done = ocli("check", "-t", "humaneval", "--data-dir", rows, "--offline")
    assert "has 3 items, but 164 are published" in done.out
    with pytest.raises(ConsentError):
        problem_of(planned("humaneval", rows, local="humaneval/human-eval-v2-20210705.jsonl"))


def test_check_goes_on_without_consent(ocli: Ocli, shared_data: Path) -> None:
    done = ocli("check", "-t", "humaneval", "-t", "siqa_gen", "--data-dir", shared_data, "--offline")
    assert done.rc == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["unproven", "ok"]
    assert "--allow-code-exec" in done.out


# The published solutions.


def humaneval(shared_data: Path) -> list[tuple[str, dict[str, Any]]]:
    lines = (shared_data / "humaneval" / "human-eval-v2-20210705.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        (row["canonical_solution"], {"prompt": row["prompt"], "entry_point": entry, "tests": f"{row['test']}\ncheck({entry})"})
        for row in map(json.loads, lines)
        if (entry := row["entry_point"])
    ]


def sanitized(shared_data: Path) -> list[tuple[str, dict[str, Any]]]:
    rows = json.loads((shared_data / "mbpp" / "sanitized-mbpp.json").read_text(encoding="utf-8"))
    return [(row["code"], {"tests": "\n".join(row["test_imports"] + row["test_list"])}) for row in rows]


@pytest.mark.parametrize(("read", "count"), [(humaneval, 164), (sanitized, 427)])
def test_published_solutions_pass_and_empty_bodies_fail(read: Any, count: int, shared_data: Path) -> None:
    solutions, targets = zip(*read(shared_data), strict=True)
    assert len(solutions) == count
    started = time.monotonic()
    with sandbox.allowed("auto"):
        told = scored(list(solutions), list(targets))
        empty = scored(
            ["    pass\n" if target.get("prompt") else "def nothing():\n    pass" for target in targets], list(targets)
        )
    assert told.filter(pl.col("verdict") != "passed").is_empty()
    assert empty.filter(pl.col("verdict") != "failed").is_empty()
    assert time.monotonic() - started < 120
