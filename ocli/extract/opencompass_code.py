"""OpenCompass' readings of programs, reproduced to compare with its numbers. They read the raw reply, thoughts included.

Source: repository open-compass/opencompass, ``opencompass/datasets/humaneval.py`` and ``opencompass/datasets/mbpp.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import each_reply
from ocli.registry import extractor

_BLOCK = re.compile(r"```\w*\n(.*?)```", re.S)
_MBPP = [
    re.compile(pattern, re.S)
    for pattern in (
        r"\[BEGIN\]\s*'(.*)'\s*\[DONE\]", r"BEGIN\s*'(.*)'\s*\[DONE\]", r"\[BEGIN\]\s*'(.*)'\s*DONE", r"BEGIN\s*'(.*)'\s*DONE",
        r"\[BEGIN\]\s*'(.*)\s*\[DONE\]", r"BEGIN\s*'(.*)\s*\[DONE\]", r"\[BEGIN\]\s*'(.*)\s*DONE", r"BEGIN\s*'(.*)\s*DONE",
        r"\[BEGIN\]\s*(.*)\s*\[DONE\]", r"BEGIN\s*(.*)\s*\[DONE\]", r"\[BEGIN\]\s*(.*)\s*DONE", r"BEGIN\s*(.*)\s*DONE",
        r"```python\s*(.*)\s*```", r"```\s*(.*)\s*```", r"```python\s*(.*)\s*$", r"```\s*(.*)\s*$", r"(.*)\s*```.*",
        r"\[BEGIN\]\s*'(.*)", r"\[BEGIN\](.*)", r"'(.*)'\s*\[DONE\]",
    )
]  # fmt: skip
_DONE = re.compile(r"'?\s*\[?DONE\]?")


@extractor
def humaneval_v2(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first fenced block, else the reply, without the white space before it (``humaneval_postprocess_v2``).

    So a body loses the indentation of its first line, and is no program behind its prompt.
    """

    def read(reply: str) -> str:
        blocks = _BLOCK.findall(reply)
        return str(blocks[0] if blocks else reply).lstrip()

    return each_reply(text, read)


@extractor
def mbpp(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return what the first of 20 patterns finds: between BEGIN and DONE, between fences (``MBPPEvaluator._process_answer``)."""

    def read(reply: str) -> str:
        found = next((match.group(1) for pattern in _MBPP if (match := pattern.search(reply))), reply)
        return _DONE.split(found.split("```")[0])[0].replace("\\_", "_").strip()

    return each_reply(text, read)
