"""Where each token of an echoed prompt stands in it: told by the tokens' texts, because offsets differ from server to server.

vLLM counts the text of BOS into ``text_offset``, others leave offsets out. Where the texts put together are the prompt, all is
said. Else they are matched to the prompt's bytes as servers write tokens that are no text of their own: ``▁`` or ``Ġ`` for a
space, or the space left out (sentencepiece); ``bytes:\\xe4`` (OpenAI), ``\\xe4`` (DeepSeek) or ``<0xE4>`` (byte fallback) for
bytes; U+FFFD for bytes that are not told (vLLM: nothing at all). Every match that reaches the end is kept, so that what is
ambiguous is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

Place = tuple[int, int]
"""Where a token begins and ends in the prompt, in bytes of UTF-8."""
Places = list[set[Place]]
"""For each token the places where it may stand."""

MARKS = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})
"""How tokenizers write white space inside of tokens."""

_PART = 3
"""The most bytes of a character that one U+FFFD stands for."""
_LOST = 15
"""The most bytes that a token without a text is looked for in: five Chinese characters."""
_MOST = 64
"""So many places at once mean that the texts say nothing."""


def places(tokens: Sequence[str], prompt: str) -> Places | None:
    """Return where the tokens stand that are all of a prompt, the first one perhaps BOS; ``None`` when they do not spell it."""
    for hidden in (0, 1):
        if "".join(tokens[hidden:]) == prompt:
            return _lay_out(tokens, hidden)
    return _match(tokens, prompt.encode("utf-8", "replace"))


def first_of(found: Places, border: int) -> int | None:
    """Return the first token that reaches past a border (bytes), or begins on it; ``None`` where that is ambiguous."""
    for number, where in enumerate(found):
        past = {begin >= border or end > border for begin, end in where}
        if len(past) > 1:
            return None
        if past == {True}:
            return number
    return len(found)


def _lay_out(tokens: Sequence[str], hidden: int) -> Places:
    found: Places = [{(0, 0)}] * hidden
    end = 0
    for token in tokens[hidden:]:
        begin, end = end, end + len(token.encode("utf-8", "replace"))
        found.append({(begin, end)})
    return found


def _match(tokens: Sequence[str], text: bytes) -> Places | None:
    """Walk forward through all that can be, then backward through what led to the end."""
    reached = [{0}]
    for number, token in enumerate(tokens):
        reached.append({end for begin in reached[-1] for end in _ends(token, text, begin, number)})
        if not 0 < len(reached[-1]) <= _MOST:
            return None
    found: Places = []
    alive = {len(text)}
    for number in reversed(range(len(tokens))):
        pairs = ((begin, end) for begin in reached[number] for end in _ends(tokens[number], text, begin, number))
        found.append({(begin, end) for begin, end in pairs if end in alive})
        alive = {begin for begin, _ in found[-1]}
    return found[::-1] if alive else None


def _ends(token: str, text: bytes, begin: int, number: int) -> Iterator[int]:
    """Yield where a token can end that begins at ``begin``; the first one may be BOS, which is not in the text."""
    if number == 0:
        yield begin
    written = token.translate(MARKS)
    spellings = _spellings(token)
    if begin == 0 and written.startswith(" "):  # sentencepiece puts a space in front of a text
        spellings += _spellings(written[1:])
    for pieces in spellings:
        ends = {begin}
        for piece in pieces:
            if piece is None:
                ends = {end + size for end in ends for size in range(1, _PART + 1) if _is_part(text[end : end + size], size)}
            else:
                ends = {end + len(piece) for end in ends if text.startswith(piece, end)}
        yield from ends
    if not token:  # a token that ends inside of a character, which is written at the token that completes it
        yield from (begin + size for size in range(1, _LOST + 1) if _is_part(text[begin : begin + size], size))


def _is_part(part: bytes, size: int) -> bool:
    return len(part) == size and min(part) >= 0x80


@lru_cache(maxsize=1 << 16)
def _spellings(token: str) -> tuple[tuple[bytes | None, ...], ...]:
    """Return what a token's text may stand for, each as pieces of which ``None`` is a byte or more not told."""
    texts = {token, token.translate(MARKS)}
    texts |= {f" {text}" for text in texts}
    found: list[tuple[bytes | None, ...]] = [
        tuple(None if piece == "\N{REPLACEMENT CHARACTER}" else piece.encode("utf-8", "replace") for piece in pieces if piece)
        for pieces in (re.split("(\N{REPLACEMENT CHARACTER})", text) for text in texts)
    ]
    if fallback := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token):
        found.append((bytes.fromhex(fallback[1]),))
    if r"\x" in token:
        written = token.removeprefix("bytes:").encode("utf-8", "replace")
        found.append((re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes.fromhex(match[1].decode()), written),))
    return tuple(dict.fromkeys(found))
