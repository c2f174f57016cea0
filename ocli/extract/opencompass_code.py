"""OpenCompass' readings of programs, reproduced to compare with its numbers. They read the raw reply, thoughts included.

Source: repository open-compass/opencompass, ``opencompass/datasets/humaneval.py`` and ``opencompass/datasets/mbpp.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from ocli.extract.ways import ByWays, each_reading
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
@ByWays
def humaneval_v2(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first fenced block, else the reply, without the white space before it (``humaneval_postprocess_v2``).

    So a body loses the indentation of its first line, and is no program behind its prompt.
    """

    def read(reply: str) -> tuple[str, str]:
        blocks = _BLOCK.findall(reply)
        return (blocks[0].lstrip(), "fenced") if blocks else (reply.lstrip(), "whole reply")

    return each_reading(text, read)


@extractor
@ByWays
def mbpp(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return what the first of 20 patterns finds: between BEGIN and DONE, between fences (``MBPPEvaluator._process_answer``).

    The way that read a program is named by its pattern.
    """

    def read(reply: str) -> tuple[str, str]:
        matches = ((match.group(1), pattern.pattern) for pattern in _MBPP if (match := pattern.search(reply)))
        found, way = next(matches, (reply, "whole reply"))
        return _DONE.split(found.split("```")[0])[0].replace("\\_", "_").strip(), way

    return each_reading(text, read)
