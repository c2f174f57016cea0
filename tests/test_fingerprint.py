"""What a run has on record is what was sent, and the fingerprints of two runs differ in what was set otherwise alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Ocli, Write
from server import Answer, chat_answer, serving

from ocli.effects import KINDS
from ocli.engines._loading import checkpoint
from ocli.fingerprint import Condition, differences, fingerprint, untold
from ocli.runs import Run

CASES = json.loads((Path(__file__).parent / "cases" / "fingerprint.json").read_text(encoding="utf-8"))
NANO = Path(__file__).parent.parent / "recipes" / "models" / "nano" / "weights"
QUESTIONS = "question,answer\n" + "".join(f"What is {number} + {number}?,{2 * number}\n" for number in range(6))
EXAMPLES = "question,answer\n" + "".join(f"What is {number} + 1?,{number + 1}\n" for number in range(20))
PROMPT = "{% block user %}\nQ: {{ question }}\n{% endblock %}\n{% block assistant %}\nA: {{ target }}\n{% endblock %}\n"
TASK = {
    "data": {
        "local": "./{split}.csv",
        "splits": {"test": "test", "fewshot": "dev"},
        "fields": {"question": "question", "target": "answer"},
    },
    "prompt": "plain",
    "fewshot": {"count": 2},
    "score": [{"extract": "text", "metric": "exact_match"}],
}


@pytest.fixture(autouse=True)
def _task(write: Write) -> None:
    """Write a task with two examples, and prompts for it."""
    write("test.csv", QUESTIONS)
    write("dev.csv", EXAMPLES)
    write("prompts/plain.jinja", PROMPT)
    write("prompts/other.jinja", PROMPT.replace("Q:", "Question:"))
    write("prompts/part.jinja", "Please answer.\n")
    write("prompts/includes.jinja", PROMPT.replace("Q:", "{% include 'part.jinja' %}Q:"))
    write("sums.yaml", yaml.safe_dump(TASK))


def told(run: Path) -> list[Condition]:
    recipe = Run(run).recipe()
    return fingerprint(recipe, next(iter(recipe.models)))


def values(run: Path) -> dict[str, str]:
    return {one.name: one.value for one in told(run)}


def record(run: Path) -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load((run / "configs" / "recipe.yaml").read_text(encoding="utf-8"))["record"]
    return whole


def infer(ocli: Ocli, *arguments: str, task: str = "sums.yaml") -> Path:
    done = ocli("infer", "-t", task, *arguments)
    assert done.rc == 0, done.err
    return done.run


def test_same_run_twice_differs_in_nothing(ocli: Ocli) -> None:
    first, second = (told(infer(ocli, "-m", "echo")) for _ in range(2))
    assert differences(first, second) == []
    assert untold(first, second) == []
    assert [one.value for one in first] == [one.value for one in second]


@pytest.mark.parametrize("case", CASES["echo"], ids=lambda case: " ".join(case["set"]))
def test_one_setting_is_one_difference(ocli: Ocli, case: dict[str, Any]) -> None:
    before = told(infer(ocli, "-m", "echo"))
    after = told(infer(ocli, "-m", "echo", *(word for one in case["set"] for word in ("--set", one))))
    found = {name: [a, b] for name, a, b in differences(before, after)}
    assert list(found) == list(case["differ"])
    assert all(pair in (None, found[name]) for name, pair in case["differ"].items())
    assert untold(before, after) == case.get("untold", [])


def test_file_that_a_prompt_includes_is_part_of_it(ocli: Ocli, write: Write) -> None:
    arguments = ("-m", "echo", "--set", "task.prompt=includes")
    before = told(infer(ocli, *arguments))
    write("prompts/part.jinja", "Answer.\n")
    [(name, a, b)] = differences(before, told(infer(ocli, *arguments)))
    assert name == "prompt"
    assert a.startswith("includes, ")
    assert a != b


def test_sums_of_data_are_those_of_its_files_whatever_holds_them(ocli: Ocli, write: Write, tmp_path: Path) -> None:
    def of(path: str) -> str:
        return hashlib.sha256(hashlib.sha256((tmp_path / path).read_bytes()).digest()).hexdigest()[:12]

    run = infer(ocli, "-m", "echo")
    assert record(run)["tasks"]["sums"]["data_sha256"] == {"test": of("test.csv"), "dev": of("dev.csv")}
    assert values(run)["data"] == f"test {of('test.csv')}, dev {of('dev.csv')}"
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write("test.csv", "sums/test.csv")
        archive.write("dev.csv", "sums/dev.csv")
    zipped = {**TASK, "data": {**TASK["data"], "local": "sums/{split}.csv"}}  # type: ignore[dict-item]
    write("zipped/sums.yaml", yaml.safe_dump(zipped))
    other = infer(ocli, "-m", "echo", "--data-dir", "all.zip", task="zipped/sums.yaml")
    assert differences(told(run), told(other)) == []
    write("dev.csv", EXAMPLES.replace("4 + 1", "four + 1"))  # a row that is not shown
    assert [name for name, *_ in differences(told(run), told(infer(ocli, "-m", "echo")))] == ["data"]


def test_older_run_is_readable_and_tells_less(ocli: Ocli) -> None:
    run = infer(ocli, "-m", "echo")
    now = told(run)
    recipe = Run(run).recipe()
    kept = ("data", "digest", "asked", "of")
    recipe.record["tasks"]["sums"] = {name: recipe.record["tasks"]["sums"][name] for name in kept}
    recipe.record["models"]["echo"] = {}
    Run(run).save(recipe)
    assert differences(told(run), now) == []
    assert set(untold(told(run), now)) == {"prompt", "examples", "data", "questions"}
    assert values(run)["max_tokens"] == "1024"
    recipe.record.clear()
    assert fingerprint(recipe, "echo")


def test_replayed_files_are_told_by_their_sum(ocli: Ocli, tmp_path: Path) -> None:
    run = infer(ocli, "-m", "echo")
    path = run / "predictions" / "echo" / "sums.jsonl"
    first = infer(ocli, "-m", f"replay:{path}")
    assert values(first)["model"] == "sums.jsonl"
    assert values(first)["model revision"].startswith("replayed_sha256 ")
    path.write_text(path.read_text(encoding="utf-8").replace("What is 1", "What is one"), encoding="utf-8")
    second = infer(ocli, "-m", f"replay:{path}")
    assert [name for name, *_ in differences(told(first), told(second))] == ["model revision"]


def test_differences_name_the_tasks_where_not_all_differ(ocli: Ocli, write: Write) -> None:
    def both(most: int) -> list[Condition]:
        write("other.yaml", yaml.safe_dump({**TASK, "sampling": {"max_tokens": most}}))
        return told(infer(ocli, "-m", "echo", "-t", "other.yaml"))

    [before, after] = map(both, (10, 20))
    assert differences(before, after) == [("max_tokens (other)", "10", "20")]
    [mixed] = [one.value for one in before if one.name == "max_tokens"]
    assert mixed == "1024 (sums); 10 (other)"
    one = fingerprint(Run(infer(ocli, "-m", "echo", "-t", "other.yaml")).recipe(), "echo", ["other"])
    assert differences(before, one) == [("max_tokens", "10", "20")]


def test_conditions_come_by_their_effect_and_are_json(ocli: Ocli) -> None:
    conditions = told(infer(ocli, "-m", "echo"))
    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names)
    order = [names.index(one.name) for one in conditions]
    assert order == sorted(order)
    assert json.loads(json.dumps([[one.name, one.value] for one in conditions]))


def test_hub_model_is_told_by_the_commit_in_the_cache(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--someone--model"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")
    (folder / "snapshots" / commit / "config.json").write_text("{}", encoding="utf-8")
    assert checkpoint("someone/model", None, str(tmp_path)) == {"model_revision": commit}
    assert checkpoint(str(folder / "snapshots" / commit), None) == {"model_revision": commit}
    assert checkpoint("someone/else", None, str(tmp_path)) == {}


def test_directory_is_told_by_config_and_weights(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(NANO, tmp_path / "weights"))
    before = checkpoint(str(folder), None)
    (folder / "README.md").write_text("hello", encoding="utf-8")
    assert checkpoint(str(folder), None) == before
    whole = bytearray((folder / "model.safetensors").read_bytes())
    whole[-5] ^= 1  # trained further: as many bytes, other ones
    (folder / "model.safetensors").write_bytes(whole)
    assert checkpoint(str(folder), None) != before


KEY = "sk-this-is-secret-0123456789"


def server_run(ocli: Ocli, write: Write, answer: Any, *arguments: str, **model: Any) -> tuple[Path, str]:
    """Run the task against a server; return the run and the server's host and port."""
    with serving(answer) as server:
        spec = {"engine": "openai", "path": "m", "base_url": f"{server.url}/some/path/v1", "api_key_env": "MY_KEY", **model}
        write("m.yaml", json.dumps(spec))
        return infer(ocli, "-m", "m.yaml", *arguments), server.url.removeprefix("http://")


def test_server_is_told_by_what_it_says_and_no_secret_is(ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(path: str, body: dict[str, Any]) -> Answer:
        status, whole = chat_answer("4")
        return status, {**whole, "model": "m-2024-08-06", "system_fingerprint": f"fp_{len(str(body)) % 2}"}

    monkeypatch.setenv("MY_KEY", KEY)
    body = {"chat_template_kwargs": {"enable_thinking": False}, "my_secret": "hush"}
    args = {"extra_body": body, "headers": {"X-Team": "blue"}, "query": {"zone": "north"}}
    run, host = server_run(ocli, write, answer, "--set", "sampling.max_tokens=9", args=args)
    found = values(run)
    assert found["device"] == host
    assert found["model"] == "m"
    assert "model m-2024-08-06, system_fingerprint fp_" in found["model revision"]
    assert (found["max_tokens"], found["temperature"], found["adapted"]) == ("9", "0", "nothing")
    assert found["further settings"] == 'chat_template_kwargs {"enable_thinking": false}, my_secret ***'
    assert "top_p" not in found, "what is not sent is the server's own"
    assert not any(word in str(found) for word in ("blue", "north", "/some", "hush"))
    assert KEY not in "".join(path.read_text(errors="replace") for path in run.rglob("*") if path.is_file())


def test_what_a_server_takes_otherwise_is_a_difference(ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(path: str, body: dict[str, Any]) -> Answer:
        if "temperature" in body:
            return 400, {"error": {"message": "Unsupported parameter: 'temperature' is not supported with this model."}}
        return chat_answer("4")

    monkeypatch.setenv("MY_KEY", KEY)
    one, _ = server_run(ocli, write, lambda *_: chat_answer("4"))
    other, _ = server_run(ocli, write, refusing)
    found = differences(told(one), told(other))
    assert ("adapted", "nothing", "temperature not sent") in found
    assert {name for name, *_ in found} == {"adapted", "device"}
    assert untold(told(one), told(other)) == ["temperature"]


def test_resumed_run_keeps_what_was_told_before(ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    state = "fp_1"

    def answer(path: str, body: dict[str, Any]) -> Answer:
        if "max_tokens" in body:
            return 400, {"error": {"message": "Unsupported parameter: use 'max_completion_tokens' instead of 'max_tokens'."}}
        status, whole = chat_answer("4")
        return status, {**whole, "model": "m-exact", "system_fingerprint": state}

    monkeypatch.setenv("MY_KEY", KEY)
    with serving(answer) as server:
        write("m.yaml", json.dumps({"engine": "openai", "path": "m", "base_url": server.url, "api_key_env": "MY_KEY"}))
        first = infer(ocli, "-m", "m.yaml", "--set", "limit=3")
        state = "fp_2"
        run = infer(ocli, "-m", "m.yaml", "-r")
    assert run.resolve() == first.resolve()
    assert values(run)["model revision"] == "model m-exact, system_fingerprint fp_1, fp_2"
    assert values(run)["max_tokens"] == "1024"
    assert values(run)["adapted"] == "max_tokens sent as max_completion_tokens"


def test_streamed_reply_tells_the_model_too(ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(path: str, body: dict[str, Any]) -> Answer:
        chunk = {"model": "m-exact", "system_fingerprint": "fp_1", "choices": [{"index": 0, "delta": {"content": "4"}}]}
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        return 200, "".join(f"data: {json.dumps(part)}\n\n" for part in (chunk, last)).encode() + b"data: [DONE]\n\n"

    monkeypatch.setenv("MY_KEY", KEY)
    run, _ = server_run(ocli, write, answer, args={"stream": True})
    assert values(run)["model revision"] == "model m-exact, system_fingerprint fp_1"


@pytest.fixture
def weights(tmp_path: Path, write: Write) -> Path:
    """Copy the small model to where a test can change it; ``local.yaml`` names the copy."""
    pytest.importorskip("transformers", reason="needs torch and transformers: pip install 'ocli[hf]'")
    write("local.yaml", yaml.safe_dump({"engine": "transformers", "path": "./weights", "args": {"dtype": "float32"}}))
    return Path(shutil.copytree(NANO, tmp_path / "weights"))


def suggest(weights: Path, **settings: Any) -> None:
    path = weights / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **settings}), encoding="utf-8")


def ids_are_true(run: Path) -> None:
    """The ids on record are those of the prompt that the predictions file has, as the model's own tokenizer reads them."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(NANO)
    [path] = run.glob("predictions/*/sums.jsonl")
    lines = {line["id"]: line for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    [model] = record(run)["models"].values()
    asked = model["asked"]["sums"]
    line = lines[asked["item"]]
    text = line.get("prompt") or tokenizer.apply_chat_template(line["messages"], tokenize=False, add_generation_prompt=True)
    first, last = ([int(token) for token in asked[name].split()] for name in ("first", "last"))
    assert asked["bos"] == 1
    assert first[0] == tokenizer.bos_token_id
    assert text.replace("<s>", "").startswith(tokenizer.decode(first[1:]).replace("<s>", ""))
    assert text.endswith(tokenizer.decode(last))
    assert asked["tokens"] == line["usage"]["prompt"]
    assert len(first) == len(last) == 16


@pytest.mark.hf
@pytest.mark.parametrize("chat", ["true", "false"])
def test_transformers_record_is_what_is_sent(ocli: Ocli, weights: Path, chat: str) -> None:
    run = infer(ocli, "-m", "local.yaml", "--set", f"model.chat={chat}")
    ids_are_true(run)
    found = values(run)
    assert found["BOS"] == "1"
    assert found["prompts begin with"] == "<s>"
    template = json.loads((weights / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    used = f"used, {hashlib.sha256(template.encode()).hexdigest()[:12]}"
    assert found["chat template"] == (used if chat == "true" else "not used")
    assert (found["dtype"], found["quantization"], found["attention"], found["device"]) == ("float32", "none", "sdpa", "cpu")
    assert found["processor"]


@pytest.mark.hf
def test_generation_config_is_neutral_unless_asked(ocli: Ocli, weights: Path) -> None:
    suggest(weights, repetition_penalty=1.1)
    ignored = infer(ocli, "-m", "local.yaml")
    [model] = record(ignored)["models"].values()
    assert model["asked"]["sums"]["sampling"] == {"temperature": 0.0, "repetition_penalty": 1.0, "max_tokens": 1024}
    assert values(ignored)["generation_config"] == "ignored: do_sample false, repetition_penalty 1.1"
    used = infer(ocli, "-m", "local.yaml", "--set", "model.generation_config=true", "--set", "sampling.temperature=0")
    assert differences(told(ignored), told(used)) == [
        ("generation_config", values(ignored)["generation_config"], "used: repetition_penalty 1.1"),
        ("repetition_penalty", "1", "1.1"),
    ]


@pytest.mark.hf
def test_one_change_of_a_local_model_is_one_difference(ocli: Ocli, weights: Path) -> None:
    before = told(infer(ocli, "-m", "local.yaml"))
    cases = {
        "chat template": ["--set", "model.chat=false"],
        "dtype": ["--set", "model.args.dtype=bfloat16"],
        "attention": ["--set", "model.args.attn_implementation=eager"],
        "batch": ["--set", "model.args.max_batch_size=2"],
    }
    for name, arguments in cases.items():
        after = told(infer(ocli, "-m", "local.yaml", *arguments))
        assert [found for found, *_ in differences(before, after)] == [name]
    config = weights / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**settings, "chat_template": settings["chat_template"] + " "}), encoding="utf-8")
    assert [found for found, *_ in differences(before, told(infer(ocli, "-m", "local.yaml")))] == ["chat template"]


@pytest.mark.hf
def test_likelihoods_have_prompts_on_record_and_no_sampling(ocli: Ocli, write: Write, weights: Path) -> None:
    score = [{"by": "sum", "metric": "accuracy"}]
    write("sums.yaml", yaml.safe_dump({**TASK, "mode": "loglikelihood", "choices": "['1', '2']", "score": score,
                                       "data": {**TASK["data"], "fields": {"question": "question", "target": "0"}}}))  # type: ignore[dict-item]  # fmt: skip
    run = infer(ocli, "-m", "local.yaml")
    found = values(run)
    assert found["BOS"] == "1"
    assert found["formulation"] == "loglikelihood, choices ['1', '2']"
    assert not {"temperature", "max_tokens", "stop"} & set(found)


@pytest.mark.vllm
def test_vllm_record_is_what_is_sent(tmp_path: Path, write: Write) -> None:
    pytest.importorskip("vllm", reason="needs vLLM: make test-vllm")
    suggest(Path(shutil.copytree(NANO, tmp_path / "weights")), repetition_penalty=1.1, top_p=0.8)
    args = {"dtype": "float32", "max_model_len": 2048}
    write("local.yaml", yaml.safe_dump({"engine": "vllm", "path": "./weights", "args": args}))

    def run(*arguments: str) -> Path:
        command = [sys.executable, "-m", "ocli", "infer", "-m", "local.yaml", "-t", "sums.yaml", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return tmp_path / done.stdout.strip()

    ignored = run()
    ids_are_true(ignored)
    found = values(ignored)
    assert (found["repetition_penalty"], found["temperature"], found["top_p"]) == ("1", "0", "1")
    assert found["generation_config"] == "ignored: do_sample false, repetition_penalty 1.1, top_p 0.8"
    assert (found["dtype"], found["quantization"], found["context"], found["device"]) == ("float32", "none", "2048", "cpu")
    assert found["parallel"] == "tensor 1, pipeline 1, data 1"
    assert found["model revision"].startswith("model_digest ")
    used = run("--set", "model.generation_config=true", "--set", "sampling.temperature=0.7")
    assert [name for name, *_ in differences(told(ignored), told(used))] == [
        "generation_config", "repetition_penalty", "temperature", "top_p",
    ]  # fmt: skip
