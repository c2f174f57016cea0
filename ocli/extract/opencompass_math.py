r"""OpenCompass's extractors of mathematics, reproduced to compare with its published numbers, not because they are good.

Source: repository open-compass/opencompass, files ``opencompass/datasets/agieval/post_process.py`` and
``opencompass/datasets/TheoremQA/legacy.py``. They read the raw reply, thoughts included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import each_reply
from ocli.extract.ways import ByWays, each_reading
from ocli.registry import extractor

_PREFIXES = ("The answer is therefore", "答案是")


@extractor
@ByWays
def agieval_cloze(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    r"""Return the last ``\boxed``, else the last ``$...$`` of a line, else the last number (``parse_math_answer``)."""
    return each_reading(text, _agieval_cloze)


@extractor
@ByWays
def theoremqa(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first word behind "answer is ", else the whole reply (``TheoremQA_postprocess``)."""
    return each_reading(text, _theoremqa)


@extractor
def theoremqa_v2(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the last line's words behind its last "is", "be", "are" or "...:" (``TheoremQA_postprocess_v2``)."""
    return each_reply(text, _theoremqa_v2)


def _agieval_cloze(reply: str) -> tuple[str | None, str]:
    for prefix in _PREFIXES:
        if prefix in reply:
            start = 0 if reply.startswith(prefix) else reply.rfind(prefix)
            reply = reply[start + len(prefix) :].strip()
    if "\\boxed" in reply:
        box = _last_box(reply)
        return box and _behind_equals(box), "boxed"
    dollars = re.findall(r"\$(.*)\$", reply)
    if dollars and (formula := _behind_equals(dollars[-1])):
        return formula, "dollars"
    if "=" in reply:
        return _behind_equals(reply).rstrip(".").split("\\n")[0], "last sum"
    numbers: list[str] = re.findall(r"\$?\d+(?:\.\d+)?(?!\w)", reply)
    return numbers[-1] if numbers else None, "last number"


def _behind_equals(text: str) -> str:
    return text.rpartition("=")[2].lstrip(" ") if "=" in text else text


def _last_box(reply: str) -> str | None:
    r"""Return what stands in the last ``\boxed{...}``; null where its braces do not close or do not follow at once."""
    rest = reply[reply.rfind("\\boxed") + len("\\boxed") :]
    depth = 0
    for place, character in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "}" and depth == 0:
            return rest[1:place] if rest.startswith("{") else None
    return None


def _theoremqa(reply: str) -> tuple[str, str]:
    words = re.findall(r"answer is (\S+)", reply.strip())
    return (words[0].strip(".,?!\"';:"), "answer phrase") if words else (reply.strip(), "whole reply")


def _theoremqa_v2(reply: str) -> str:
    words: list[str] = []
    for word in reversed(reply.strip().split("\n")[-1].split(" ")):
        if word in ("is", "be", "are") or word.endswith(":"):
            break
        words.insert(0, word)
    return " ".join(words).strip().strip(".")
