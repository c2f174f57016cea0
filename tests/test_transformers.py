"""The transformers engine on the tiny model that comes with ocli, and the rule of exactly one BOS."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocli import engines
from ocli.catalog import load_model
from ocli.documents import Document
from ocli.errors import EngineError
from ocli.recipe import ModelSpec, validate
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
        await engine.start()
        try:
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


def test_prompt_longer_than_the_context_is_an_error_not_a_cut(tmp_path: Path) -> None:
    folder = shutil.copytree(WEIGHTS, tmp_path / "nano")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 16}), encoding="utf-8")
    [reply], _ = ask(spec(path=str(folder)), [chat("one two three four five six seven eight nine ten eleven twelve thirteen")])
    assert "the model's context 16" in (reply.error or "")


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
