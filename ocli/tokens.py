"""From turns or text to token ids, for the engines that run a model themselves. Exactly one BOS, never two.

Whether the chat template is used is decided here, once a model: the recipe's word, else whether the tokenizer has a template.
"""

from __future__ import annotations

from typing import Any

from ocli.errors import EngineError
from ocli.types import Request


class UnaskableError(ValueError):
    """One item's prompt that this model cannot be asked: the item's own failure, never the run's."""


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

    def encode(self, request: Request) -> list[int]:
        """Return the token ids of a request's prompt; raise UnaskableError when this model cannot be asked it."""
        ids = self._ids(request.prompt or "" if request.messages is None else self._render(request))
        if not ids:
            raise UnaskableError("the prompt has no tokens")
        if self.context is not None and len(ids) >= self.context:
            raise UnaskableError(f"the prompt has {len(ids)} tokens, the model's context {self.context}; nothing is cut silently")
        return ids

    def _render(self, request: Request) -> str:
        turns = list(request.messages or ())
        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # noqa: BLE001 - templates raise what they like; it is about this prompt's turns
            raise UnaskableError(f"the model's chat template refuses the turns of item {request.id}: {error}") from None

    def _ids(self, text: str) -> list[int]:
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        size = len(self.prefix)
        if not size:
            return ids
        while ids[:size] == self.prefix:
            ids = ids[size:]
        return self.prefix + ids

    def record(self) -> dict[str, Any]:
        """Return what was decided, for the run's record."""
        bos = self.tokenizer.convert_ids_to_tokens(self.prefix)
        return {"chat_template": self.chat, "chat_template_reason": self.reason, "prefix_tokens": bos}


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
