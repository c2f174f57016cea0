"""From turns or text to token ids, for the engines that run a model themselves. Exactly one BOS, never two.

Whether the chat template is used is decided here, once a model: the recipe's word, else whether the tokenizer has a template.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ocli.errors import EngineError
from ocli.types import Context, Request

SHOWN = 16
"""So many token ids of a prompt's beginning, and of its end, are put on record."""


class UnaskableError(ValueError):
    """One item's prompt that this model cannot be asked: the item's own failure, never the run's."""


class OverlongError(UnaskableError):
    """A prompt that is longer than the model's context."""


class Encoder:
    """Turns requests into token ids with one tokenizer.

    ``prefix`` is what the tokenizer puts before plain text (usually BOS, often nothing). It stands at the start of every
    prompt exactly once, whether or not the chat template writes it too. ``context`` is the longest that prompt and reply can be.
    """

    def __init__(self, tokenizer: Any, chat: bool | None, path: str, context: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.context = context
        has_template = bool(getattr(tokenizer, "chat_template", None))
        if chat and not has_template:
            raise EngineError(
                f"{path}: the model is said to be 'chat: true', but its tokenizer has no chat template; say 'chat: false'"
            )
        self.chat = has_template if chat is None else chat
        self.reason = (
            "as the recipe says" if chat is not None else f"the tokenizer has {'a' if has_template else 'no'} chat template"
        )
        plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
        full = list(tokenizer("a")["input_ids"])
        end = next((i for i in range(len(full)) if full[i : i + len(plain)] == plain), 0)
        self.prefix: list[int] = full[:end]
        begins = [getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id")]
        self.start_ids: list[int] = self.prefix or [token for token in begins if token is not None][:1] or [0]
        """What stands before a text that has nothing before it: BOS, or EOS where the tokenizer has no BOS, as in lm-eval."""

    @property
    def room(self) -> int:
        """How many tokens can be scored at once after one that begins them."""
        return (self.context or 1 << 30) - 1

    def encode(self, request: Request) -> list[int]:
        """Return the token ids of a request's prompt; raise UnaskableError when this model cannot be asked it."""
        [ids] = self.ids([self.render(request.prompt or "" if request.messages is None else request.messages)])
        if not ids:
            raise UnaskableError("the prompt has no tokens")
        self.refuse_overlong(len(ids))
        return ids

    def fits(self, request: Request) -> bool:
        """Whether the model's context holds a request; what cannot be asked for another reason is said when it is asked."""
        contexts = [(choice.context, choice.text) for choice in request.choices] or [
            (request.messages or request.prompt or "", "")
        ]
        try:
            for ids in self.ids([self.render(context) + text for context, text in contexts]):
                # A choice's last token is not read but predicted; a reply must have room for all it may say.
                self.refuse_overlong(len(ids) + (-1 if request.choices else request.sampling.max_tokens - 1))
        except OverlongError:
            return False
        except UnaskableError:
            return True
        return True

    def refuse_overlong(self, tokens: int) -> None:
        """Raise UnaskableError when a prompt of so many tokens leaves no room for one more in the model's context."""
        if self.context is not None and tokens >= self.context:
            raise OverlongError(f"the prompt has {tokens} tokens, the model's context {self.context}; nothing is cut silently")

    def render(self, context: Context) -> str:
        """Write turns as the model's chat template does, up to where the model goes on; text is as it is."""
        if isinstance(context, str):
            return context
        try:
            return str(self.tokenizer.apply_chat_template(list(context), tokenize=False, add_generation_prompt=True))
        except Exception as error:  # noqa: BLE001 - templates raise what they like; it is about this prompt's turns
            raise UnaskableError(f"the model's chat template refuses the turns: {error}") from None

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Tokenise texts, each with the tokens that begin every prompt of this model exactly once."""
        size = len(self.prefix)
        made = []
        for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]:
            begin = 0
            while size and ids[begin : begin + size] == self.prefix:
                begin += size
            made.append([*self.prefix, *ids[begin:]])
        return made

    def record(self) -> dict[str, Any]:
        """Return what was decided, for the run's record."""
        bos = self.tokenizer.convert_ids_to_tokens(self.prefix)
        record = {"chat_template": self.chat, "chat_template_reason": self.reason, "prefix_tokens": bos}
        template = getattr(self.tokenizer, "chat_template", None)
        if not template or not isinstance(template, (str, dict)):
            return record
        text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
        return {**record, "chat_template_sha256": hashlib.sha256(text.encode()).hexdigest()[:12]}

    def sent(self, request: Request) -> dict[str, Any]:
        """Return how a prompt begins and ends as token ids, for the run's record; of choices the first with its context.

        ``bos`` counts the BOS of the whole prompt; chat templates may well write one before each turn.
        """
        context: Context = request.messages if request.messages is not None else request.prompt or ""
        after = ""
        if request.choices:
            context, after = request.choices[0].context, request.choices[0].text
        try:
            [ids] = self.ids([self.render(context) + after])
        except UnaskableError:
            return {}
        bos = getattr(self.tokenizer, "bos_token_id", None)
        first, last = (" ".join(map(str, part)) for part in (ids[:SHOWN], ids[-SHOWN:]))
        return {"tokens": len(ids), "bos": 0 if bos is None else ids.count(bos), "first": first, "last": last}


def stop_token_ids(*sources: Any) -> list[int]:
    """Collect the end-of-sequence ids of generation configs and tokenizers: one id, a list of ids, or none each."""
    ids: list[int] = []
    for source in sources:
        value = getattr(source, "eos_token_id", None)
        ids += value if isinstance(value, list) else [value] if value is not None else []
    return sorted(set(ids))


def cut_at_stop(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """Cut a text before the first stop string in it; say whether there was one."""
    positions = [text.find(word) for word in stop if word in text]
    return (text[: min(positions)], True) if positions else (text, False)
