"""Prompts longer than the model's context, shares of a run, and items that fail by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Done, Ocli, Write

NANO = Path(__file__).parent.parent / "recipes" / "models" / "nano" / "weights"
ROWS = 12


def task(write: Write, mode: str, **keys: Any) -> None:
    """Write a task of lettered questions with three examples of about 60 tokens each."""
    write(
        "prompts/q.jinja",
        "{% block user %}\n{{ question }}\nAnswer:\n{% endblock %}\n{% block assistant %}{{ target }}{% endblock %}\n",
    )
    rows = [{"question": f"Question {n}: " + "red house " * (3 + n), "label": n % 2} for n in range(ROWS)]
    write("test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    shots = [{"question": f"Example {n}: " + "blue tree " * 10, "label": 0} for n in range(3)]
    write("dev.jsonl", "".join(json.dumps(row) + "\n" for row in shots))
    target = "label" if mode == "loglikelihood" else "'AB'[label]"
    data = {"local": "./{split}.jsonl", "splits": {"fewshot": "dev"}, "fields": {"target": target}}
    rules = {"loglikelihood": {"metric": "accuracy", "by": "sum"}, "generate": {"extract": "choice", "metric": "accuracy"}}
    spec = {"data": data, "prompt": "q", "mode": mode, "choices": "['A', 'B']", "fewshot": {"count": 3}, "score": [rules[mode]]}
    write("task.yaml", json.dumps({**spec, "sampling": {"max_tokens": 1}, **keys}))


def small(write: Write, tmp_path: Path, context: int) -> None:
    """Write a model file of nano with a shorter context."""
    folder = shutil.copytree(NANO, tmp_path / "small")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}), encoding="utf-8")
    model = {"engine": "transformers", "path": str(folder), "chat": False, "args": {"dtype": "float32", "device": "cpu"}}
    write("small.yaml", json.dumps(model))


def lines(done: Done) -> dict[str, dict[str, Any]]:
    [path] = done.run.glob("predictions/*/task.jsonl")
    return {line["id"]: line for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}


@pytest.mark.hf
@pytest.mark.parametrize("mode", ["loglikelihood", "generate"])
def test_too_long_a_prompt_fails_by_name_or_drops_whole_examples(mode: str, ocli: Ocli, write: Write, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs transformers: pip install 'ocli[hf]'")
    small(write, tmp_path, 140)
    task(write, mode)
    done = ocli("eval", "-m", "small.yaml", "-t", "task.yaml")
    failed = {key for key, line in lines(done).items() if line["error"]}
    assert done.rc == 1
    assert 0 < len(failed) < ROWS
    assert str(ROWS - 1) in failed
    [named] = [line for line in done.err.splitlines() if f"small: {len(failed)} failed (" in line]
    assert "the model's context 140; nothing is cut silently" in named

    task(write, mode, on_overflow="drop_shots")
    again = ocli("eval", "-m", "small.yaml", "-t", "task.yaml")
    assert again.rc == 0
    told = lines(again)
    assert {key for key, line in told.items() if line.get("shots_dropped")} == failed
    assert all(line["prompt"].count("Example") == 3 - line.get("shots_dropped", 0) for line in told.values())
    assert f"{len(failed)} asked with fewer examples, for their prompts were too long" in again.out
    results = pl.read_parquet(next(again.run.glob("results/*/task.parquet")))
    assert set(results.filter(pl.col("shots_dropped") > 0)["id"]) == failed
    assert ocli("infer", "-m", "small.yaml", "-t", "task.yaml", "-r").err.count(f"{ROWS} replies were there already") == 1


def test_shares_are_of_one_run_or_of_several(ocli: Ocli, write: Write) -> None:
    task(write, "loglikelihood")
    first = ocli("infer", "-m", "echo:oracle", "-t", "task.yaml", "--shard", "1/3", "-w", "one")
    assert (first.rc, set(lines(first))) == (0, {"0", "3", "6", "9"})
    score = ocli("score", first.run)
    assert score.rc == 1  # the others are not answered yet
    second = ocli("infer", "-m", "echo:oracle", "-t", "task.yaml", "--shard", "2/3", "-w", "one", "-r")
    assert second.run == first.run
    other = ocli("infer", "-m", "echo:oracle", "-t", "task.yaml", "--shard", "3/3", "-w", "two")
    [mine], [theirs] = (list(run.glob("predictions/*/task.jsonl")) for run in (first.run, other.run))
    mine.write_bytes(mine.read_bytes() + theirs.read_bytes())
    assert ocli("score", first.run).rc == 0
    table = ocli("report", first.run)
    assert (table.rc, f"n = {ROWS})" in table.out) == (0, True)
    assert len(mine.read_text(encoding="utf-8").splitlines()) == ROWS


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/2/3"])
def test_share_that_is_none(shard: str, ocli: Ocli, write: Write) -> None:
    task(write, "loglikelihood")
    done = ocli("infer", "-m", "echo:oracle", "-t", "task.yaml", "--shard", shard)
    assert (done.rc, "shard: must be like 2/4" in done.err) == (2, True)
