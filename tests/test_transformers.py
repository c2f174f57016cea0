"""The transformers engine on the tiny model that comes with ocli, and the rule of exactly one BOS."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocli import engines
from ocli.catalog import load_model
from ocli.documents import Document
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.schema import validate
from ocli.types import Message, Reply, Request, Sampling

pytestmark = pytest.mark.hf
pytest.importorskip("transformers", reason="needs torch and transformers: pip install 'ocli[hf]'")

_, NANO = load_model("nano")
WEIGHTS = Path(str(NANO.path))


def spec(**values: Any) -> ModelSpec:
    base = NANO.model_dump(exclude_defaults=True)
    model: ModelSpec = validate(Document(Path("test"), {**base, **values}), ModelSpec)
    return model


def chat(text: str, **sampling: Any) -> Request:
    turns: tuple[Message, ...] = ({"role": "user", "content": text},)
    return Request(text, "task", text, None, 0, Sampling(**sampling), messages=turns)


def plain(text: str, **sampling: Any) -> Request:
    return Request(text, "task", text, None, 0, Sampling(**sampling), prompt=text)


def ask(model: ModelSpec, requests: list[Request]) -> tuple[list[Reply], dict[str, Any]]:
    async def run() -> tuple[list[Reply], dict[str, Any]]:
        engine = engines.load(model)
        try:
            await engine.start()
            return list(await asyncio.gather(*map(engine.generate, requests))), engine.record
        finally:
            await engine.close()

    return asyncio.run(run())


QUESTIONS = [f"Which number is the largest?\nA. {a}\nB. {b}\nC. 3\nD. 7\nAnswer: " for a in (11, 42, 88) for b in (5, 60, 97)]


def test_replies_do_not_depend_on_the_batch() -> None:
    requests = [chat(text, max_tokens=8) for text in QUESTIONS] + [chat(QUESTIONS[0] * 20, max_tokens=8)]
    together, _ = ask(spec(), requests)
    alone, _ = ask(spec(args={"device": "cpu", "dtype": "float32", "max_batch_size": 1}), requests)
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert all(reply.error is None and reply.finish_reason == "stop" for reply in alone)


def test_max_tokens_is_counted_and_reported_as_length() -> None:
    [reply], _ = ask(spec(chat=False), [plain("3 + 4 =", max_tokens=1)])
    assert (reply.usage.completion, reply.finish_reason) == (1, "length")


def test_stop_string_ends_the_text_before_it() -> None:
    [whole], _ = ask(spec(), [chat(QUESTIONS[0], max_tokens=8)])
    assert whole.text
    [cut], _ = ask(spec(), [chat(QUESTIONS[0], max_tokens=8, stop=(whole.text[0],))])
    assert (cut.text, cut.finish_reason) == ("", "stop")


def test_record_says_what_was_decided() -> None:
    _, record = ask(spec(), [])
    assert record["chat_template"] is True
    assert record["prefix_tokens"] == ["<s>"]
    assert record["dtype"] == "float32"
    assert record["generation_config"]["used"] is False


def test_seeded_draws_repeat_and_other_seeds_differ() -> None:
    requests = [plain("The", max_tokens=24, temperature=1.0, seed=seed) for seed in (1, 1, 2, 3)]
    replies, _ = ask(spec(chat=False), requests)
    texts = [reply.text for reply in replies]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_generation_config_of_the_repository_is_ignored_unless_asked(tmp_path: Path) -> None:
    folder = shutil.copytree(WEIGHTS, tmp_path / "nano")
    config = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    (folder / "generation_config.json").write_text(json.dumps({**config, "repetition_penalty": 9.0}), encoding="utf-8")
    request = plain("1 1 1 1 1 1 1 1", max_tokens=12)
    [neutral], _ = ask(spec(chat=False), [request])
    [ignored], record = ask(spec(chat=False, path=str(folder)), [request])
    [used], _ = ask(spec(chat=False, path=str(folder), generation_config=True), [request])
    assert record["generation_config"]["says"]["repetition_penalty"] == 9.0
    assert ignored.text == neutral.text
    assert used.text != neutral.text


def with_context(tmp_path: Path, size: int) -> str:
    folder = shutil.copytree(WEIGHTS, tmp_path / "nano")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": size}), encoding="utf-8")
    return str(folder)


def test_prompt_longer_than_the_context_is_an_error_not_a_cut(tmp_path: Path) -> None:
    model = spec(path=with_context(tmp_path, 16))
    [reply], _ = ask(model, [chat("one two three four five six seven eight nine ten eleven twelve thirteen")])
    assert "the model's context 16" in (reply.error or "")


def test_reply_is_not_cut_because_of_a_longer_neighbour(tmp_path: Path) -> None:
    model = spec(path=with_context(tmp_path, 48), chat=False)
    requests = [plain("1 2 3 " * size, max_tokens=40) for size in (1, 1, 6)]
    together, _ = ask(model, requests)
    alone = [ask(model, [request])[0][0] for request in requests]
    assert [(reply.text, reply.usage) for reply in together] == [(reply.text, reply.usage) for reply in alone]
    rooms = [min(40, 48 - (reply.usage.prompt or 0)) for reply in together]
    assert rooms[0] > rooms[2]
    assert all(
        reply.finish_reason == "stop" or reply.usage.completion == room for reply, room in zip(together, rooms, strict=True)
    )


def run_with(change: Callable[[Any], None], requests: list[Request], **values: Any) -> tuple[list[Reply], Any]:
    """Ask an engine whose generation was changed."""

    async def run() -> tuple[list[Reply], Any]:
        engine: Any = engines.load(spec(**values))
        try:
            await engine.start()
            change(engine)
            return list(await asyncio.gather(*map(engine.generate, requests))), engine
        finally:
            await engine.close()

    return asyncio.run(run())


def never_ending(engine: Any) -> None:
    engine._eos = []


def test_stop_string_is_counted_up_to_it_beside_rows_that_go_on() -> None:
    [whole], _ = run_with(never_ending, [plain(RAMBLING, max_tokens=32)], chat=False)
    assert whole.usage.completion == 32
    stop = whole.text[max(whole.text.index(char) for char in whole.text[: len(whole.text) // 2])]
    requests = [plain(text, max_tokens=32, stop=(stop,)) for text in (RAMBLING, "7", "Question: The", "A. B. C.")]
    together, _ = run_with(never_ending, requests, chat=False)
    alone = [run_with(never_ending, [request], chat=False)[0][0] for request in requests]
    for reply, same in zip(together, alone, strict=True):
        assert (reply.text, reply.usage, reply.finish_reason) == (same.text, same.usage, same.finish_reason)
    assert (alone[0].text, alone[0].finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
    count = alone[0].usage.completion or 0
    assert 0 < count < 32
    shorter = plain(RAMBLING, max_tokens=count - 1, stop=(stop,))
    assert run_with(never_ending, [shorter], chat=False)[0][0].finish_reason == "length"  # not a token too many was counted


def test_stop_string_is_looked_for_in_the_reply_alone() -> None:
    prompt = RAMBLING + "\n"
    [whole], _ = run_with(never_ending, [plain(prompt, max_tokens=3)], chat=False)
    stop = "\n" + whole.text[0]
    assert stop not in whole.text
    [reply], _ = run_with(never_ending, [plain(prompt, max_tokens=3, stop=(stop,))], chat=False)
    assert (reply.text, reply.usage, reply.finish_reason) == (whole.text, whole.usage, "length")


RAMBLING = "Question: 1 + 1 ="


def failing(error: Callable[[list[str]], Exception | None]) -> Callable[[Any], None]:
    """Make generation raise what ``error`` says to the ids of a batch."""

    def change(engine: Any) -> None:
        generate = engine._generate

        def instead(batch: Any) -> Any:
            problem = error([job.request.id for job in batch])
            if problem is not None:
                raise problem
            return generate(batch)

        engine._generate = instead

    return change


def test_batch_that_does_not_fit_is_halved_and_later_ones_are_smaller_in_tokens() -> None:
    import torch

    sizes: list[int] = []

    def error(ids: list[str]) -> Exception | None:
        sizes.append(len(ids))
        return torch.cuda.OutOfMemoryError("no memory") if len(ids) > 2 or "big" in ids else None

    requests = [plain(str(number), max_tokens=4) for number in range(8)] + [plain("big", max_tokens=4)]
    replies, engine = run_with(failing(error), requests, chat=False)
    assert [reply.error for reply in replies[:8]] == [None] * 8
    assert "out of GPU memory" in (replies[8].error or "")
    assert engine.max_batch_size == 64
    assert engine.max_batch_tokens < 32768
    assert max(sizes) == 9


def test_request_that_fails_alone_is_its_own_error() -> None:
    requests = [plain(str(number), max_tokens=4) for number in range(5)]
    replies, _ = run_with(failing(lambda ids: RuntimeError("bad\nrow") if "3" in ids else None), requests, chat=False)
    assert [reply.error for reply in replies] == [None, None, None, "transformers failed: RuntimeError: bad row", None]


def test_failure_of_every_request_stops_the_run() -> None:
    requests = [plain(str(number), max_tokens=4) for number in range(3)]
    with pytest.raises(EngineError, match="transformers failed: RuntimeError: broken"):
        run_with(failing(lambda ids: RuntimeError("broken")), requests, chat=False)
    with pytest.raises(EngineError, match="CUDA error"):
        run_with(failing(lambda ids: RuntimeError("CUDA error: device-side assert")), requests[:1], chat=False)


def test_closing_does_not_wait_for_a_long_batch() -> None:
    async def run() -> float:
        engine: Any = engines.load(spec(chat=False))
        await engine.start()
        engine._eos = []
        task = asyncio.create_task(engine.generate(plain(RAMBLING, max_tokens=100000)))
        engine._context, engine._encoder.context = 1 << 30, None
        while engine._halt is None:
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        await engine.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.perf_counter() - began

    assert asyncio.run(run()) < 10


def test_repositorys_own_temperature_is_used_only_where_it_is_left_to_it(tmp_path: Path) -> None:
    folder = shutil.copytree(WEIGHTS, tmp_path / "nano")
    config = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    says = {**config, "do_sample": True, "temperature": 5.0, "top_k": 50}
    (folder / "generation_config.json").write_text(json.dumps(says), encoding="utf-8")

    def texts(**sampling: Any) -> tuple[set[str], dict[str, Any]]:
        requests = [plain(RAMBLING, max_tokens=8, seed=seed, **sampling) for seed in range(4)]
        replies, record = ask(spec(chat=False, path=str(folder), generation_config=True), requests)
        return {reply.text for reply in replies}, record["generation_config"]

    drawn, record = texts(temperature=None)
    assert len(drawn) > 1
    assert record["applied"] == {"do_sample": True, "temperature": 5.0, "top_k": 50}
    greedy, record = texts(temperature=0.0)
    assert len(greedy) == 1
    assert (record["used"], record["applied"]) == (True, {})
    assert record["says"]["temperature"] == 5.0


def test_identity_holds_what_changes_replies_and_no_more() -> None:
    model = spec(args={"dtype": "float32", "device": "cpu", "max_batch_size": 2})
    _, engine = run_with(lambda _: None, [], args=model.args)
    assert engine.identity == ["transformers", NANO.path, None, True, False, {"dtype": "float32"}]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"max_batch_size": 0}, "args.max_batch_size must be a whole number of at least 1, not 0"),
        ({"max_batch_tokens": "9"}, "args.max_batch_tokens must be a whole number"),
        ({"device": 0}, "args.device must be a string"),
        ({"device": "foo"}, "args.device is 'foo', which torch does not know"),
    ],
)
def test_argument_of_the_wrong_type_is_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        ask(spec(args=args), [])
    assert "\n" not in str(caught.value)


def test_turns_that_the_template_refuses_are_the_items_own_error() -> None:
    from ocli.tokens import Encoder

    encoder = Encoder(toy_tokenizer(True, "{{ raise_exception('roles must alternate') }}"), None, "toy")
    with pytest.raises(ValueError, match=r"refuses the turns: .*roles must alternate"):
        encoder.encode(chat("hello"))


def test_cuda_recipe_on_a_cpu_torch_is_refused_in_words() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(EngineError, match=r"sees no GPU here.*device=cpu"):
        ask(spec(args={"device": "cuda"}), [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": "./nowhere"}, "no such directory"),
        ({"args": {"dtpe": "float32"}}, "did you mean 'dtype'"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        ask(spec(**values), [])
    assert "\n" not in str(caught.value)


def toy_tokenizer(adds_bos: bool, template: str | None) -> Any:
    """A tokenizer of a dozen words, with or without a BOS of its own and a template that writes one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "</s>", "[user]", "[assistant]", "a", "hello", "world", "?"]
    toy = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="?"))
    toy.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if adds_bos:
        toy.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=toy, bos_token="<s>", eos_token="</s>", unk_token="?")
    tokenizer.chat_template = template
    return tokenizer


WITH_BOS = "{{ bos_token }} {% for m in messages %}[user] {{ m.content }} {% endfor %}[assistant]"
WITHOUT_BOS = WITH_BOS.replace("{{ bos_token }} ", "")


@pytest.mark.parametrize(
    ("adds_bos", "template", "make", "count"),
    [
        (True, WITH_BOS, chat, 1),
        (True, WITHOUT_BOS, chat, 1),
        (False, WITH_BOS, chat, 1),
        (False, WITHOUT_BOS, chat, 0),
        (True, None, plain, 1),
        (False, None, plain, 0),
    ],
)
def test_prompt_has_exactly_one_bos_or_none(
    adds_bos: bool, template: str | None, make: Callable[[str], Request], count: int
) -> None:
    from ocli.tokens import Encoder

    encoder = Encoder(toy_tokenizer(adds_bos, template), None, "toy")
    ids = encoder.encode(make("hello world"))
    assert ids.count(0) == count
    assert ids[0] == 0 or count == 0
    assert encoder.chat is (template is not None)


def test_chat_model_without_template_is_refused() -> None:
    from ocli.tokens import Encoder

    with pytest.raises(EngineError, match="no chat template; say 'chat: false'"):
        Encoder(toy_tokenizer(True, None), True, "toy")
