"""Take a reasoning model's thoughts out of its reply; knows the tags models write, registers no extractor.

A thought may lack its opening tag (the chat template ends the prompt with ``<think>``) or its closing tag
(the reply hit its token limit). In the second case nothing after the tag is an answer.
"""

from __future__ import annotations

import polars as pl

_TAGS = r"(?:think(?:ing)?|thought|seed:think)"
_OPEN = rf"(?:<{_TAGS}>|<\|begin_of_thought\|>|◁think▷|<\|channel\|>analysis<\|message\|>)"
_CLOSE = rf"(?:</{_TAGS}>|<\|end_of_thought\|>|◁/think▷|<\|channel\|>final<\|message\|>)"
_CLOSED_BLOCK = rf"(?s){_OPEN}.*?{_CLOSE}"
# A literal prefilter: most replies hold no tag, and a row set to null costs the later expressions nothing.
_MARKS = ["think", "thought", "<|channel|>"]


def strip_thoughts(text: pl.Expr) -> pl.Expr:
    """Return the reply without its thoughts; an unclosed thought takes the rest of the reply with it."""
    tagged = pl.when(text.str.contains_any(_MARKS)).then(text)
    stripped = tagged.str.replace_all(_CLOSED_BLOCK, "").str.replace(rf"(?s)^.*{_CLOSE}", "").str.replace(rf"(?s){_OPEN}.*$", "")
    return pl.coalesce(stripped, text)


def unclosed_thought(text: pl.Expr) -> pl.Expr:
    """Say whether the reply opens a thought and never closes it."""
    return text.str.replace_all(_CLOSED_BLOCK, "").str.contains(_OPEN)
