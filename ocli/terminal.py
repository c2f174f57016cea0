"""Text from models, servers and files, made fit for a terminal: what would move the cursor is shown as an escape."""

from __future__ import annotations

import re

# C0 and C1 controls but tab and newline, and the bidirectional overrides, with which a reply can pretend to be another one.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def cut(text: str, longest: int) -> str:
    """Cut a text to so many characters; an ellipsis stands for the rest."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def printable(text: str) -> str:
    r"""Return the text with each control character written out: ``\x1b``, ``\u202e``."""
    return _ACTIVE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def unbroken(text: str) -> str:
    """Return the text as UTF-8 can hold it: half a surrogate pair, of an emoji that max_tokens has cut, becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "\ufffd", text)
    return text
