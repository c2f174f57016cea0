"""Log-likelihoods through the real vLLM engine on its CPU build, held to golden numbers and to the engine without its cache."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_vllm import NANO, ocli, predictions

from ocli import engines
from ocli.recipe import ModelSpec
from ocli.types import Choice, Reply, Request, Sampling

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="needs vLLM: make test-vllm")

WORDS = "red blue green seven eight nine house tree river stone light cloud bread salt wine".split()  # noqa: SIM905
CASES = json.loads((Path(__file__).parent / "cases" / "lm_eval.json").read_text(encoding="utf-8"))
BLOCK = 32
"""Tokens in a block of the prefix cache, as ocli asks for it on a CPU."""


class Model:
    """One vLLM, started once for this file, with an event loop of its own."""

    def __init__(self) -> None:
        args = {"dtype": "float32", "max_model_len": 4096, "enforce_eager": True}
        self.engine: Any = engines.load(ModelSpec(engine="vllm", path=str(NANO), chat=False, args=args))
        self._loop = asyncio.new_event_loop()
        self.run(self.engine.start())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def ask(self, *requests: Request) -> list[Reply]:
        async def all_at_once() -> list[Reply]:
            return list(await asyncio.gather(*map(self.engine.loglikelihood, requests)))

        replies: list[Reply] = self.run(all_at_once())
        assert [reply.error for reply in replies] == [None] * len(replies)
        return replies

    def plain(self, ids: list[int]) -> list[float]:
        """Return each id's log-probability as vLLM gives it without its prefix cache; the first has none."""

        async def score() -> Any:
            from vllm import SamplingParams

            settings = SamplingParams(prompt_logprobs=0, max_tokens=1, temperature=0, detokenize=False)
            async for output in self.engine._llm.generate({"prompt_token_ids": ids}, settings, f"plain-{random.random()}"):
                final = output
            return final

        rows = self.run(score()).prompt_logprobs
        return [0.0, *(row[token].logprob for row, token in zip(rows[1:], ids[1:], strict=True))]

    def close(self) -> None:
        self.run(self.engine.close())


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    started = Model()
    yield started
    started.close()


def request(*choices: tuple[str, str], whole: bool = False) -> Request:
    return Request("k", "t", "0", None, 0, Sampling(), choices=tuple(Choice(*choice) for choice in choices), whole=whole)


def text(seed: int, words: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


LONG = text(1, 3 * BLOCK)
ADVERSARIAL = {
    "prefixes of each other": [(text(2, 300), f" {text(3, count)}") for count in (1, 2, 40, 200)],
    "longest first": [(text(2, 300), f" {text(3, count)}") for count in (200, 40, 2, 1)],
    "repeated": [(text(4, 150), " red stone")] * 3,
    "longer than a block": [(text(5, 20), f" {LONG} {end}") for end in ("red", "blue", "red house")],
    "contexts that differ in an early token": [(f"{first} {LONG}", " tree house") for first in ("red", "blue", "green")],
    "one token each": [(LONG, f" {word}") for word in ("red", "blue", "nine")],
    "context of nothing": [("", "red"), ("", "blue tree")],
    "choice that is in another one's context": [(text(6, 200), f" {LONG}"), (f"{text(6, 200)} {LONG}", " red")],
}


@pytest.mark.parametrize("whole", [False, True], ids=["choices", "whole sequences"])
@pytest.mark.parametrize("case", ADVERSARIAL)
def test_cached_values_are_those_without_the_cache(model: Model, case: str, whole: bool) -> None:
    choices = ADVERSARIAL[case]
    replies = model.ask(*[request(*choices, whole=whole)] * 2)  # at once
    replies += model.ask(request(*reversed(choices), whole=whole), request(*choices, whole=whole))  # all of it cached by now
    replies[2] = Reply(choices=tuple(reversed(replies[2].choices or ())))
    encoder = model.engine._encoder
    for number, (context, continuation) in enumerate(choices):
        [before, ids] = encoder.ids([context, context + continuation])
        values = model.plain(ids)
        for reply in replies:
            scored = (reply.choices or ())[number]
            assert scored.own.tokens == len(ids) - len(before)
            assert scored.own.logprob == pytest.approx(sum(values[len(before) :]), abs=1e-3)
            if scored.context is not None:
                assert scored.context.tokens == len(before)
                assert scored.context.logprob == pytest.approx(sum(values[: len(before)]), abs=1e-3)
    assert (replies[0].choices or ())[0].context is None or whole


def test_letters_are_one_call_and_texts_read_the_cache(model: Model) -> None:
    context = f"{text(7, 500)}\n"
    [letters] = model.ask(request(*[(context, letter) for letter in "ABCD"]))
    length = len(model.engine._encoder.ids([context])[0])
    assert letters.usage.prompt == length
    [texts] = model.ask(request(*[(context, f" {text(seed, 5)}") for seed in range(4)]))
    assert texts.usage.prompt is not None
    assert texts.usage.cached is not None
    assert texts.usage.prompt - texts.usage.cached < 4 * (BLOCK + 20)


def test_greedy_says_what_generation_writes(model: Model) -> None:
    context = text(8, 30)
    written = model.run(model.engine.generate(Request("k", "t", "0", None, 0, Sampling(max_tokens=5), prompt=context))).text
    same, other = model.ask(request((context, written)), request((context, written[:-1] + "~")))
    assert [(reply.choices or ())[0].greedy for reply in (same, other)] == [True, False]


def test_memory_does_not_grow_with_the_number_of_questions(model: Model) -> None:
    import psutil

    def resident() -> float:
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        return sum(process.memory_info().rss for process in processes) / 2**20

    def ask(first: int, count: int) -> None:
        model.ask(
            *(request(*[(text(seed, 60), f" {text(seed + i, 4)}") for i in range(4)]) for seed in range(first, first + count))
        )

    ask(10_000, 300)
    before = resident()
    for batch in range(4):
        ask(20_000 + 300 * batch, 300)
    assert resident() - before < 60


def golden_task(folder: Path, name: str) -> None:
    """Write the five-shot task of tests/cases/lm_eval.json, on the rows that the golden numbers are of."""
    case = {**CASES["defaults"], **CASES["base"][f"{name}_5shot_first_n"]}
    task = {**case, "data": {**case["data"], "where": "id < 200 or id >= 1000"}}
    for path, text in (
        (f"recipes/tasks/{name}.yaml", json.dumps(task)),
        ("prompts/question.jinja", CASES["prompts"]["question"]),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def test_golden_numbers_of_lm_eval(golden: Path, tmp_path: Path) -> None:
    folder = golden / "lm_eval"
    for name in ("letter", "text"):
        golden_task(tmp_path, name)
    args = {"dtype": "float32", "max_model_len": 4096, "enforce_eager": True}
    spec = {"engine": "vllm", "path": str(folder / "tiny-sharp"), "chat": False, "args": args}
    (tmp_path / "sharp.yaml").write_text(json.dumps(spec), encoding="utf-8")
    done = ocli("infer", "-m", "sharp.yaml", "-t", "letter", "-t", "text", "--data-dir", str(golden), cwd=tmp_path)
    for name in ("letter", "text"):
        path = tmp_path / done.stdout.strip() / "predictions" / "sharp" / f"{name}.jsonl"
        lines = {line["id"]: line["choices"] for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        rows = (folder / "sharp" / f"{name}_5shot_first_n.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(rows) == len(lines) == 200
        for row in map(json.loads, rows):
            values = [choice["logprob"] for choice in lines[str(row["doc_id"])]]
            assert values == pytest.approx(row["logprobs"], abs=1e-3)
            assert values.index(max(values)) == row["pred"]
            assert [choice["greedy"] for choice in lines[str(row["doc_id"])]] == row["is_greedy"]


def test_vllm_and_transformers_choose_alike_on_the_whole_of_ceval(shared_data: Path, tmp_path: Path) -> None:
    chosen = {}
    for engine in ("vllm", "hf"):
        run = tmp_path / ocli(
            "infer", "-m", f"{engine}:nano", "-t", "ceval_ppl", "--data-dir", str(shared_data),
            "--set", "model.chat=false", "-w", engine, cwd=tmp_path,
        ).stdout.strip()  # fmt: skip
        values = {key: [choice["logprob"] for choice in line["choices"]] for key, line in predictions(run).items()}
        chosen[engine] = {key: likely.index(max(likely)) for key, likely in values.items()}
    assert len(chosen["vllm"]) == 1346
    assert chosen["vllm"] == chosen["hf"]
