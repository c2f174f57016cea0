"""What servers send, read liberally: what is not of the API's shape is mended or is that request's error."""

from __future__ import annotations

from typing import Any

from ocli.types import Usage


class MalformedError(ValueError):
    """A reply that is not what the API promises; the message goes on from "the server's reply"."""


def get(value: Any, name: str) -> Any:
    """Read a part of a reply: the client makes objects of what it knows and leaves the rest as it came."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def first_choice(answer: Any) -> Any:
    """Return what the server made of the one prompt it was sent."""
    if isinstance(answer, str):
        raise MalformedError(f"is no JSON, but {' '.join(answer.split())[:80]!r}")
    choices = get(answer, "choices")
    if error := get(answer, "error"):
        raise MalformedError(f"is an error: {get(error, 'message') or error}")
    if not isinstance(choices, list) or not choices or choices[0] is None:
        raise MalformedError("has no choices")
    return choices[0]


def text_of(content: Any) -> str:
    """Return a reply's text, which some servers send in parts; thoughts among them are no text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part if isinstance(part, str) else get(part, "text") for part in content if _is_text(part)]
        if all(isinstance(text, str) for text in texts):
            return "".join(texts)
    raise MalformedError(f"has a text that is no string: {str(content)[:80]}")


def _is_text(part: Any) -> bool:
    return isinstance(part, str) or get(part, "type") in (None, "text", "output_text")


def chat_fields(answer: Any) -> dict[str, Any]:
    """Return what ``/chat/completions`` has sent. Thoughts are kept apart; a refusal in a field of its own is the text."""
    choice = first_choice(answer)
    message = get(choice, "message")
    if message is None:
        raise MalformedError("has no message")
    fields = common(answer, choice)
    text = text_of(get(message, "content"))
    reasoning = get(message, "reasoning_content") or get(message, "reasoning")
    refusal = get(message, "refusal")
    if not text and isinstance(refusal, str) and refusal:
        text, fields["finish_reason"] = refusal, "refusal"
    return {"text": text, "reasoning": reasoning if isinstance(reasoning, str) else None, **fields}


def text_fields(answer: Any) -> dict[str, Any]:
    """Return what ``/completions`` has sent."""
    choice = first_choice(answer)
    return {"text": text_of(get(choice, "text")), **common(answer, choice)}


def is_blank(fields: dict[str, Any], chat: bool) -> bool:
    """Whether a reply says nothing for no reason that it tells: servers that fail send such replies, models hardly ever.

    A base model that ends at once is no such case: it has written a token, the one that ends the text.
    """
    if fields["text"] or fields.get("reasoning") or fields["finish_reason"] not in (None, "stop"):
        return False
    return chat or not fields["usage"].completion


def common(answer: Any, choice: Any) -> dict[str, Any]:
    """Return what every kind of reply says beside its text."""
    reason = get(choice, "finish_reason")
    return {"finish_reason": reason if isinstance(reason, str) else None, "usage": usage_of(answer)}


def usage_of(answer: Any) -> Usage:
    """Return a reply's counts of tokens."""
    usage = get(answer, "usage")
    cached = get(get(usage, "prompt_tokens_details"), "cached_tokens")
    return Usage(count(get(usage, "prompt_tokens")), count(cached), count(get(usage, "completion_tokens")))


def count(value: Any) -> int | None:
    """Return a count of tokens; what is none is not known."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or not 0 <= value < 1 << 53:
        return None
    return int(value)


def words_of(error: Exception) -> str:
    """Return the server's own words in one line."""
    body = getattr(error, "body", None)
    text = body.get("message") if isinstance(body, dict) else None
    cause = f" ({error.__cause__})" if error.__cause__ and not text else ""
    return " ".join(str(text or error).split())[:500] + cause
