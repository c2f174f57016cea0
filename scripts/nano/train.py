"""Train nano, a language model of a million weights, from scratch on a CPU.

The whole run lasts `--minutes`: the learning rate follows the clock and not a step count, so that a
slow machine gives a somewhat weaker model and not a later one.

    python scripts/nano/train.py --out recipes/models/nano/weights
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import corpus
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

SPECIALS = ["<pad>", corpus.BOS, corpus.EOS, corpus.TURN, corpus.END]
PAD_ID, BOS_ID, EOS_ID, _, END_ID = range(len(SPECIALS))
VOCAB, TOKENS_PER_BATCH, CHUNK = 2048, 3072, 1024
PROMPT_SHARE = 0.02  # of the tokens that are no answer, this share is trained on as well
# A lone letter and a number never carry the space before them, so "Answer: C" holds the same token "C"
# as a reply that begins with it, and a prompt may end in a space.
SPLIT = r" ?\p{L}{2,}|\p{L}|\p{N}{1,3}|[^\s\p{L}\p{N}]+|\s"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 128,
    "intermediate_size": 192, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 4,
    "head_dim": 32, "hidden_act": "silu", "max_position_embeddings": 16384, "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5, "initializer_range": 0.05, "attention_bias": False, "mlp_bias": False,
    "tie_word_embeddings": True, "use_cache": True, "pad_token_id": PAD_ID, "bos_token_id": BOS_ID,
    "eos_token_id": EOS_ID, "torch_dtype": "float16",
}  # fmt: skip


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE over the corpus's words, which puts `<s>` before a text unless told not to."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, min_frequency=1, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(corpus.lexicon(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{corpus.BOS} $A", pair=f"{corpus.BOS} $A $B", special_tokens=[(corpus.BOS, BOS_ID)]
    )
    return tokenizer


def encode(tokenizer: Tokenizer, documents: list[corpus.Pieces]) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each document, and which of them are answers."""
    texts = [text for document in documents for text, _ in document]
    ids = iter(tokenizer.encode_batch(texts, add_special_tokens=False))
    out = []
    for document in documents:
        tokens: list[int] = []
        answer: list[bool] = []
        for _, is_answer in document:
            piece = next(ids).ids
            tokens += piece
            answer += [is_answer] * len(piece)
        out.append((tokens, answer))
    return out


class Curriculum:
    """Which documents to read: the next stage begins once nearly all letters of this one are right.

    It cannot be skipped: without the first stages nano learns facts and sums, but after twenty million
    tokens still has only one letter in four right.
    """

    def __init__(self) -> None:
        """Begin with bare letters."""
        self.stage, self.share = 0, 0.0

    def update(self, right: float, done: float) -> None:
        """Take in the share of right letters of one batch; 45 % of the time is the most to spend on this."""
        self.share += 0.02 * (right - self.share)
        if self.stage < 3 and (self.share > (0.95, 0.9, 0.85)[self.stage] or done > 0.45):
            self.stage, self.share = self.stage + 1, 0.0
            print(f"{done:6.1%} stage {self.stage}", flush=True)


def batches(tokenizer: Tokenizer, rng: random.Random, plan: Curriculum) -> Iterator[tuple[torch.Tensor, ...]]:
    """Endless (ids, answer mask) batches of documents of about the same length."""
    while True:
        encoded = encode(tokenizer, [corpus.document(rng, plan.stage) for _ in range(CHUNK)])
        encoded.sort(key=lambda pair: len(pair[0]))
        groups, group = [], []
        for pair in encoded:
            if (len(group) + 1) * len(pair[0]) > TOKENS_PER_BATCH:
                groups.append(group)
                group = []
            group.append(pair)
        rng.shuffle(groups)
        for group in groups:
            width = len(group[-1][0])
            yield (
                torch.tensor([ids + [PAD_ID] * (width - len(ids)) for ids, _ in group]),
                torch.tensor([mask + [False] * (width - len(mask)) for _, mask in group]),
            )


def loss_of(
    model: LlamaForCausalLM, ids: torch.Tensor, answer: torch.Tensor, letters: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """Cross-entropy on all answer tokens and a few of the others; and the share of letters it has right."""
    keep = answer | ((torch.rand(answer.shape) < PROMPT_SHARE) & (ids != PAD_ID))
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    logits, targets = model.lm_head(hidden[keep[:, 1:]]), ids[:, 1:][keep[:, 1:]]
    is_letter = torch.isin(targets, letters)
    right = (logits[is_letter].argmax(-1) == targets[is_letter]).float().mean().item()
    return torch.nn.functional.cross_entropy(logits, targets), right


@torch.no_grad()
def accuracy(model: LlamaForCausalLM, tokenizer: Tokenizer, items: list[corpus.Item]) -> dict[str, float]:
    """Share of right first tokens by topic and overall, asked in the form of the quickstart task."""
    right: dict[str, list[bool]] = {}
    rng = random.Random(1)
    for item in items:
        options = [item.answer, *item.wrong]
        rng.shuffle(options)
        user = corpus.question_text(item, options, rng.choice(corpus.LASTS[:2]))
        prompt = f"{corpus.BOS}{corpus.TURN}user\n{user}{corpus.END}\n{corpus.TURN}assistant\n"
        ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False).ids])
        guess = tokenizer.decode([int(model(ids).logits[0, -1].argmax())])
        right.setdefault(item.topic, []).append(guess == corpus.LETTERS[options.index(item.answer)])
    scores = {topic: sum(hits) / len(hits) for topic, hits in right.items()}
    return {"overall": sum(map(sum, right.values())) / len(items), **scores}


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write the folder that transformers and vLLM load."""
    out.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    del state["lm_head.weight"]  # tied to the embeddings
    weights = {name: value.to(torch.float16).contiguous() for name, value in state.items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    pad, bos, eos, turn, end = SPECIALS
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos, "pad_token": pad,
        "additional_special_tokens": [turn, end], "clean_up_tokenization_spaces": False,
        "model_max_length": CONFIG["max_position_embeddings"], "chat_template": CHAT_TEMPLATE,
    }  # fmt: skip
    generation = {"bos_token_id": BOS_ID, "eos_token_id": [EOS_ID, END_ID], "pad_token_id": PAD_ID, "do_sample": False}
    (out / "model.safetensors").chmod(0o644)  # safetensors makes it readable by its owner alone
    files = {"config.json": CONFIG, "tokenizer_config.json": settings, "generation_config.json": generation}
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def make_model(peak: float) -> tuple[LlamaForCausalLM, list[torch.optim.Optimizer]]:
    """A fresh model and its optimizers."""
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in CONFIG.items() if k != "torch_dtype"}))
    body = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return model, [  # Muon gets further than AdamW in the same time, but is made for matrices alone
        torch.optim.Muon(body, lr=peak, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=peak, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def update(model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """One step of the optimizers along the gradients at hand."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()


def train(out: Path, minutes: float, peak: float, seed: int) -> None:
    """Train until the clock runs out, report now and then, and write the weights."""
    torch.manual_seed(seed)
    check, topics = random.Random(seed + 1), corpus.EASY + corpus.NUMERIC + corpus.LOOKUPS
    items = [corpus.make_item(check, topic, lang, held=True) for topic in topics for lang in ("en", "zh") for _ in range(15)]
    tokenizer, plan = make_tokenizer(), Curriculum()
    letters = torch.tensor([tokenizer.token_to_id(letter) for letter in corpus.LETTERS])
    model, optimizers = make_model(peak)
    started, tokens, next_report = time.monotonic(), 0, 0.05
    for step, (ids, answer) in enumerate(batches(tokenizer, random.Random(seed), plan), 1):
        done = (time.monotonic() - started) / (60 * minutes)
        if done >= 1:
            break
        loss, right = loss_of(model, ids, answer, letters)
        loss.backward()
        update(model, optimizers, peak * min(1, step / 200) * (0.505 + 0.495 * math.cos(math.pi * done)))
        if not math.isnan(right):  # a batch without letters
            plan.update(right, done)
        tokens += int((ids != PAD_ID).sum())
        if step % 100 == 0:
            print(f"{done:6.1%} step {step} loss {loss.item():.3f} {tokens / 1e6:.1f} M tokens", flush=True)
        if done >= next_report:
            next_report += 0.05
            save(model, tokenizer, out)
            print({k: round(v, 2) for k, v in accuracy(model, tokenizer, items).items()}, flush=True)
    save(model, tokenizer, out)
    speed = tokens / (time.monotonic() - started)
    print(f"{tokens / 1e6:.1f} M tokens, {speed:.0f} tokens/s, {accuracy(model, tokenizer, items)}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--minutes", type=float, default=28)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.out, args.minutes, args.lr, args.seed)


if __name__ == "__main__":
    main()
