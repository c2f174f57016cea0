"""Log-likelihoods on transformers: lm-eval's and OpenCompass' numbers, and values that no batch, padding or sharing changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ocli import engines
from ocli.catalog import load_model
from ocli.errors import EngineError
from ocli.likelihood import SpanScore, query
from ocli.recipe import ModelSpec
from ocli.types import Choice, Reply, Request, Sampling

pytestmark = pytest.mark.hf
torch = pytest.importorskip("torch", reason="needs torch and transformers: pip install 'ocli[hf]'")
transformers = pytest.importorskip("transformers", reason="needs torch and transformers: pip install 'ocli[hf]'")

_, NANO = load_model("nano")
CASES = json.loads((Path(__file__).parent / "cases" / "lm_eval.json").read_text(encoding="utf-8"))
SHARED = Path(__file__).parents[2] / "shared" / "golden"
SHARP = SHARED / "lm_eval" / "tiny-sharp"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
needs_golden = pytest.mark.skipif(not SHARP.is_dir(), reason=f"no {SHARP}")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def model(path: Path | str, **args: Any) -> ModelSpec:
    values = {"engine": "transformers", "path": str(path), "chat": False, "args": {"dtype": "float32", "device": "cpu", **args}}
    return ModelSpec(**values)


def request(*choices: Choice | tuple[str, str], **values: Any) -> Request:
    pairs = tuple(choice if isinstance(choice, Choice) else Choice(*choice) for choice in choices)
    return Request("key", "task", "item", None, 0, Sampling(), choices=pairs, greedy=True, **values)


def ask(spec: ModelSpec, requests: list[Request]) -> tuple[list[Reply], Any]:
    """Ask all at once; return the replies, and the scorer that made them."""

    async def run() -> tuple[list[Reply], Any]:
        engine: Any = engines.load(spec)
        try:
            await engine.start()
            scorer = engine._scorer
            return list(await asyncio.gather(*map(engine.loglikelihood, requests))), scorer
        finally:
            await engine.close()

    return asyncio.run(run())


def logprobs(reply: Reply) -> list[float]:
    assert reply.error is None
    return [choice.own.logprob if choice.own.logprob is not None else -math.inf for choice in reply.choices or ()]


def rows_of(name: str) -> list[dict[str, Any]]:
    path = SHARED / "lm_eval" / "sharp" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---- lm-eval's numbers, through recipes -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs, one a model: every golden file of lm-eval that ocli has words for, with its data, prompt and rules."""
    folder = tmp_path_factory.mktemp("golden")
    (folder / "prompts").mkdir()
    for name, text in CASES["prompts"].items():
        (folder / "prompts" / f"{name}.jinja").write_text(text, encoding="utf-8")
    system = "You are careful.\n\nThe following are multiple choice questions.\n\n"
    models: dict[str, dict[str, Any]] = {
        "base": {},
        "described": {"system": system},
        "chat": {"chat": True},
        "chat_described": {"chat": True, "system": system},
    }
    for kind, says in models.items():
        tasks = [{"name": name, **merged(name, case)} for name, case in CASES[kind].items()]
        said = {**model(SHARP).model_dump(exclude_defaults=True), **says, "name": kind}
        recipe = {"models": [said], "tasks": tasks}
        (folder / f"{kind}.yaml").write_text(json.dumps(recipe), encoding="utf-8")
        command = [sys.executable, "-m", "ocli", "eval", f"{kind}.yaml", "--data-dir", str(SHARED)]
        # A model of this size gains nothing from threads, and on a busy machine they wait for each other.
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=ONE_THREAD)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "outputs"


def merged(name: str, case: dict[str, Any]) -> dict[str, Any]:
    """Lay a case over the defaults; ask as many of the first rows as lm-eval was asked."""
    task = {**CASES["defaults"], **case}
    data = {**CASES["defaults"]["data"], **case.get("data", {}), "where": f"id < {len(rows_of(name))} or id >= 1000"}
    if not case.get("fewshot"):
        data["splits"] = {"test": "test"}
    task["data"] = data
    if task["mode"] == "perplexity":
        del task["choices"], data["fields"]
        task["score"] = [{"metric": metric} for metric in ("word_perplexity", "byte_perplexity", "bits_per_byte")]
    return task


def lines_of(outputs: Path, kind: str, name: str) -> list[dict[str, Any]]:
    path = outputs / kind / "latest" / "predictions" / kind / f"{name}.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted(lines, key=lambda line: int(line["id"]))


NAMES = [(kind, name) for kind in ("base", "described", "chat", "chat_described") for name in CASES[kind]]


@needs_golden
@pytest.mark.parametrize(("kind", "name"), [pair for pair in NAMES if "rolling" not in pair[1]])
def test_recipe_gives_lm_evals_prompts_values_and_choices(golden_run: Path, kind: str, name: str) -> None:
    rows, lines = rows_of(name), lines_of(golden_run, kind, name)
    results = pl.read_parquet(golden_run / kind / "latest" / "results" / kind / f"{name}.parquet")
    assert [str(row["doc_id"]) for row in rows] == [line["id"] for line in lines] == results["id"].to_list()
    first = CASES[kind][name].get("score", CASES["defaults"]["score"])[0]["name"]
    results = results.rename({"score": first})
    for row, line, result in zip(rows, lines, results.rows(named=True), strict=True):
        count = len(line["choices"])
        if "chat" not in kind and name != "letter_2shot_trailing_space_ctx":
            prompts = line["prompt"] if isinstance(line["prompt"], list) else [line["prompt"]]
            assert [sha(prompt) for prompt in prompts] == row["prompt_sha"][: len(prompts)]
        assert [choice["logprob"] for choice in line["choices"]] == pytest.approx(row["logprobs"][:count], abs=1e-3)
        assert [choice["greedy"] for choice in line["choices"]] == row["is_greedy"][:count]
        if "unconditional" in str(CASES[kind][name]):
            found = [choice["baseline"]["logprob"] for choice in line["choices"]]
            assert found == pytest.approx(row["logprobs"][count:], abs=1e-3)
        for metric in ("acc", "acc_norm", "acc_bytes", "acc_mutual_info"):
            if metric in row and metric in result:
                assert result[metric] == row[metric], (metric, row["doc_id"])


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@needs_golden
@pytest.mark.parametrize("name", ["rolling_max256", "rolling_max4096"])
def test_text_rolls_as_in_lm_eval(golden_run: Path, name: str) -> None:
    for row, line in zip(rows_of(name), lines_of(golden_run, "base", name), strict=True):
        assert line["choices"][0]["logprob"] == pytest.approx(row["resp"][0][0], abs=1e-2)  # of values around -3000
        assert line["choices"][0]["bytes"] == row["byte_perplexity"][1]
    results = pl.read_parquet(golden_run / "base" / "latest" / "results" / "base" / f"{name}.parquet")
    assert results.height == 30
    told = json.loads((SHARED / "lm_eval" / "sharp" / "summary.json").read_text(encoding="utf-8"))[name]["results"]
    table = (golden_run / "base" / "latest" / "summary" / "summary.csv").read_text(encoding="utf-8").splitlines()
    for metric in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        [line] = [line for line in table if line.startswith(f"{name},") and f",{metric}," in line]
        assert float(line.split(",")[-1]) == pytest.approx(told[f"{metric},none"], rel=1e-2)


@needs_golden
@pytest.mark.parametrize(
    "name", ["letter_2shot_chat_multiturn_False", "letter_2shot_chat_genprefix", "letter_0shot_chat_system_multiturn_False"]
)
def test_rendered_prompts_of_lm_eval_get_its_values(name: str) -> None:
    rows = [row for row in rows_of(name) if "prompt" in row]
    replies, _ = ask(model(SHARP), [request(*((row["prompt"], text) for text in row["continuations"])) for row in rows])
    for row, reply in zip(rows, replies, strict=True):
        assert logprobs(reply) == pytest.approx(row["logprobs"], abs=1e-3)


@needs_golden
def test_pairs_of_lm_eval_get_its_values() -> None:
    """Where a context ends in a line break or a tab, ours keeps it in the context and lm-eval moves it to the continuation."""
    path = SHARED / "lm_eval" / "sharp" / "pairs.jsonl"
    pairs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    stripped = [pair["context"].rstrip() for pair in pairs]
    moved = [(text, pair["context"][len(text) :] + pair["continuation"]) for text, pair in zip(stripped, pairs, strict=True)]
    ours = [(pair["context"], pair["continuation"]) for pair in pairs]
    replies, _ = ask(model(SHARP), [request(pair) for pair in [*moved, *ours]])
    same = 0
    for number, pair in enumerate(pairs):
        assert logprobs(replies[number]) == pytest.approx([pair["logprob"]], abs=1e-3), pair
        assert (replies[number].choices or ())[0].greedy is pair["is_greedy"]
        if not pair["context"].rstrip(" ").endswith(("\n", "\t")):
            same += 1
            assert logprobs(replies[len(pairs) + number]) == pytest.approx([pair["logprob"]], abs=1e-3), pair
    assert (len(pairs), same) == (272, 224)


@needs_golden
def test_whole_sequences_get_opencompass_values(tmp_path: Path) -> None:
    """Its model is tiny-sharp with flatter weights; its definition counts the first token, which has no likelihood."""
    golden = json.loads((SHARED / "opencompass" / "ppl_numeric.json").read_text(encoding="utf-8"))
    flat = transformers.AutoModelForCausalLM.from_pretrained(SHARP, dtype=torch.float32)
    for name, weight in flat.named_parameters():
        by = {"q_proj": 8, "k_proj": 8, "v_proj": 4, "o_proj": 4, "mlp": 4, "lm_head": 6}
        weight.data /= next((size for part, size in by.items() if part in name), 1)
    flat.to(torch.bfloat16).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(SHARP).save_pretrained(tmp_path)
    [reply], _ = ask(model(tmp_path), [request(*(("", row["text"]) for row in golden["rows"]), whole=True)])
    assert reply.error is None
    for row, choice in zip(golden["rows"], reply.choices or (), strict=True):
        assert choice.context is not None
        tokens = choice.own.tokens + choice.context.tokens
        assert tokens == row["n_tokens"]
        assert -((choice.own.logprob or 0) + (choice.context.logprob or 0)) / tokens == pytest.approx(row["ppl_alone"], abs=1e-3)


# ---- every way of computing gives the values of a plain forward -------------------------------------------------------------


WORDS = "red blue green seven eight nine house tree river stone light cloud bread salt wine 12 A. B.".split()  # noqa: SIM905


def text_of(seed: int, words: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


SHOTS = text_of(0, 60) + "\n"
ADVERSARIAL = {
    "letters": [
        request(*((f"{SHOTS}{text_of(seed, 5 + seed)} Answer:", f" {letter}") for letter in "ABCD")) for seed in range(6)
    ],
    "texts": [
        request(*((f"{SHOTS}{text_of(seed, 9)}:", " " + text_of(seed + 9 * n, n)) for n in (1, 3, 8))) for seed in range(5)
    ],
    "prefixes of each other": [request(*((SHOTS + "Q:", text) for text in (" red", " red blue", " red blue green", " red")))],
    "longer than the context": [request(("Q", " " + text_of(1, 40)), ("Q", " red"), ("Q", " red " + text_of(1, 40)))],
    "an early token differs": [request((f"red {SHOTS}Q:", " blue"), (f"blue {SHOTS}Q:", " blue"), (f"blue {SHOTS}Q:", " red"))],
    "short and empty contexts": [request(("", "red blue"), ("", "red")), request(("A", " red"), ("B", " red blue"))],
    "spaces": [request((SHOTS + "Q: ", "red"), (SHOTS + "Q:  ", "blue red"))],
    "baselines": [request(*(Choice(SHOTS + "Q:", f" {text}", "Answer:") for text in ("red", "blue river", text_of(3, 9))))],
    "whole": [request(*((f"{SHOTS}{text_of(seed, n)}:", " " + text_of(n, n)) for n in (2, 4, 7)), whole=True) for seed in (1, 2)],
    "rolling": [request(("", text_of(4, 50)), rolling=True, window=window) for window in (7, 20, None)],
}
EVERYTHING = [each for requests in ADVERSARIAL.values() for each in requests]


def plain(engine: Any, asked: Request) -> list[Any]:
    """Return the choices by a forward of each whole sequence alone."""
    wanted = query(asked, engine._encoder)
    scores = {}
    for span in wanted.spans():
        with torch.inference_mode():
            rows = engine._model(torch.tensor([span.ids]), use_cache=False).logits[0].float().log_softmax(-1)
        after = [(rows[at - 1], span.ids[at]) for at in range(span.start, len(span.ids))]
        scores[span] = SpanScore(
            [float(row[token]) for row, token in after], [int(row.argmax()) == token for row, token in after]
        )
    return list(wanted.choices(scores))


def check(spec: ModelSpec, requests: list[Request], change: Callable[[Any], None] = lambda engine: None) -> Any:
    """Ask all at once and hold every value to the plain one; return the engine."""

    async def run() -> Any:
        engine: Any = engines.load(spec)
        try:
            await engine.start()
            change(engine)
            replies = await asyncio.gather(*map(engine.loglikelihood, requests))
            for asked, reply in zip(requests, replies, strict=True):
                assert reply.error is None
                for found, true in zip(reply.choices, plain(engine, asked), strict=True):
                    for one, other in ((found.own, true.own), (found.context, true.context), (found.baseline, true.baseline)):
                        assert (one is None) is (other is None)
                        assert one is None or one.tokens == other.tokens
                        assert one is None or one.logprob == pytest.approx(other.logprob, abs=1e-4, rel=1e-6)
                    assert found.greedy is true.greedy
            engine.reach = engine._scorer.reach
            return engine
        finally:
            await engine.close()

    return asyncio.run(run())


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_shared_computation_gives_the_plain_values(name: str) -> None:
    assert check(model(str(NANO.path)), ADVERSARIAL[name]).reach == math.inf


@pytest.mark.parametrize(
    "args", [{}, {"max_batch_size": 1}, {"max_batch_size": 3}, {"max_batch_tokens": 150}, {"attn_implementation": "eager"}]
)
def test_values_do_not_depend_on_the_batch(args: dict[str, Any]) -> None:
    check(model(str(NANO.path), **args), random.Random(1).sample(EVERYTHING, len(EVERYTHING)))


def test_span_by_span_gives_the_same_values() -> None:
    def never_share(engine: Any) -> None:
        engine._scorer._window = lambda line: 0

    assert check(model(str(NANO.path)), EVERYTHING, never_share).reach == 0


def test_model_whose_head_cannot_be_run_alone_gives_the_same_values() -> None:
    def hide(engine: Any) -> None:
        engine._model.base_model_prefix = "nowhere"

    assert check(model(str(NANO.path)), EVERYTHING, hide).reach == 0


KINDS: list[tuple[str, dict[str, Any], float]] = [
    ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512, "initializer_range": 0.3}, math.inf),
    ("mistral", {"sliding_window": 24}, 24),  # a row of more tokens goes span by span
    ("gemma2", {"sliding_window": 4096, "head_dim": 16, "final_logit_softcapping": 5.0, "attn_logit_softcapping": 5.0}, 4096),
    ("cohere", {"logit_scale": 3.0}, math.inf),
    ("mixtral", {"num_local_experts": 4}, math.inf),
    ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}, 0),  # knows no positions: ALiBi
    ("mamba", {"state_size": 8}, 0),  # states instead of keys and values
]


@pytest.mark.parametrize(("kind", "values", "reach"), KINDS)
def test_other_architectures_give_the_plain_values(kind: str, values: dict[str, Any], reach: float, tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(NANO.path))
    small = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.3,
    }
    small |= {"num_key_value_heads": 1} if kind in ("mistral", "gemma2", "mixtral") else {}
    small = {} if kind in ("gpt2", "bloom") else small
    config = transformers.AutoConfig.for_model(kind, vocab_size=len(tokenizer), pad_token_id=0, **{**small, **values})
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert check(model(tmp_path), EVERYTHING).reach == reach


# ---- what goes wrong --------------------------------------------------------------------------------------------------------


def test_shared_tokens_are_counted_as_cached() -> None:
    [first, *others], _ = ask(model(str(NANO.path)), ADVERSARIAL["letters"])
    counts = [reply.usage.cached or 0 for reply in (first, *others)]
    assert sorted(counts)[0] == 0  # the batch's first row had them computed
    assert sum(count > 50 for count in counts) == len(counts) - 1
    assert all((reply.usage.prompt or 0) > (reply.usage.cached or 0) for reply in others)


def test_prompt_longer_than_the_context_is_an_error_that_says_so() -> None:
    asked = [request(("red", " blue")), request(("red " * 17000, " blue"))]
    [good, bad], _ = ask(model(str(NANO.path)), asked)
    assert good.error is None
    assert "the model's context 16384; nothing is cut silently" in (bad.error or "")


def test_batch_that_does_not_fit_is_halved() -> None:
    sizes: list[int] = []

    def short_of_memory(engine: Any) -> None:
        score = engine._score

        def instead(trees: Any) -> Any:
            sizes.append(len(trees))
            if len(trees) > 2:
                raise torch.cuda.OutOfMemoryError("no memory")
            return score(trees)

        engine._score = instead

    engine = check(model(str(NANO.path)), ADVERSARIAL["letters"], short_of_memory)
    assert max(sizes) > 2
    assert engine.max_batch_tokens < 32768


def test_failure_of_one_request_is_its_own_and_of_all_stops_the_run() -> None:
    def run(failing: Callable[[Any], bool]) -> list[Reply]:
        async def ask_all() -> list[Reply]:
            engine: Any = engines.load(model(str(NANO.path)))
            try:
                await engine.start()
                score = engine._score

                def instead(trees: Any) -> Any:
                    if any(map(failing, trees)):
                        raise RuntimeError("bad row")
                    return score(trees)

                engine._score = instead
                return list(await asyncio.gather(*map(engine.loglikelihood, ADVERSARIAL["letters"])))
            finally:
                await engine.close()

        return asyncio.run(ask_all())

    longest = max(reply.usage.prompt or 0 for reply in run(lambda tree: False))
    errors = [reply.error for reply in run(lambda tree: len(tree.ids) == longest)]
    assert errors.count(None) == len(errors) - 1
    assert "transformers failed: RuntimeError: bad row" in errors
    with pytest.raises(EngineError, match="transformers failed: RuntimeError: bad row"):
        run(lambda tree: True)


def test_closing_ends_a_batch_with_its_next_forward() -> None:
    async def run() -> None:
        engine: Any = engines.load(model(str(NANO.path)))
        await engine.start()
        tasks = [asyncio.create_task(engine.loglikelihood(each)) for each in EVERYTHING]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await engine.close()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, (asyncio.CancelledError, EngineError)) for each in done)

    asyncio.run(asyncio.wait_for(run(), 20))
