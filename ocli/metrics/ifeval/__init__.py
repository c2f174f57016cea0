"""IFEval: whether a reply follows instructions that a program can check, by nltk and langdetect: ``pip install 'ocli[ifeval]'``.

Source: Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models", https://arxiv.org/abs/2311.07911, and the
protocol of its code, google-research/instruction_following_eval. The target is JSON text: the item's ``key``,
``instruction_id_list`` and ``kwargs``, as the data has them.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import polars as pl
from pydantic import ValidationError, validate_call

from ocli.errors import DataError, RecipeError, did_you_mean
from ocli.extras import need
from ocli.metrics._text import score_pairs
from ocli.metrics.ifeval.checks import CHECKS
from ocli.registry import metric

Check = Callable[[str], bool]
LEVELS = ("prompt", "instruction")

_LOCK = threading.Lock()
"""polars scores a task's rules in several threads, and langdetect's first call must not be two; the second finds the cache."""


@metric
def ifeval(answer: pl.Expr, target: pl.Expr, *, level: str = "prompt", loose: bool = False) -> pl.Expr:
    """1 where the reply follows all its instructions; with ``level: instruction`` the fraction of them that it follows.

    ``loose``: an instruction is followed where the reply follows it, or does without its first line, its last line or both, each
    also without asterisks. An empty text follows nothing.
    """
    if level not in LEVELS or not isinstance(loose, bool):
        raise RecipeError(
            f"metric 'ifeval' needs level {' or '.join(LEVELS)} and loose true or false, not {level!r} and {loose!r}"
        )
    need("metric 'ifeval'", "ifeval", "nltk", "langdetect")
    return score_pairs(answer.fill_null(""), target, partial(_score, level=level, loose=loose))


def _score(reply: str, item: str, *, level: str, loose: bool) -> float:
    with _LOCK:
        followed = _followed(reply, item)[loose]
    return float(all(followed)) if level == "prompt" else sum(followed) / len(followed)


@lru_cache(maxsize=4096)
def _followed(reply: str, item: str) -> tuple[list[bool], list[bool]]:
    """Return for each instruction of an item whether the reply follows it: strictly, and loosely."""
    checks = instructions(item)
    strict, *looser = variants(reply)
    strictly = [_follows(strict, check) for check in checks]
    loosely = [found or any(_follows(text, check) for text in looser) for found, check in zip(strictly, checks, strict=True)]
    return strictly, loosely


def _follows(text: str, check: Check) -> bool:
    return bool(text.strip()) and check(text)


def variants(reply: str) -> list[str]:
    """Return the reply and the up to seven other texts that the loose rules look at, each once."""
    lines = reply.split("\n")
    parts = [reply, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*parts, *(part.replace("*", "") for part in parts)]))


@lru_cache(maxsize=4096)
def instructions(item: str) -> tuple[Check, ...]:
    """Return the checks of an item, each with its arguments; raise DataError, naming the item, where it has none or no such."""
    try:
        row = json.loads(item)
        where = f"metric 'ifeval': item {row['key']}"
        pairs = list(zip(row["instruction_id_list"], row["kwargs"], strict=True))
        checks = tuple(_bound(where, name, dict(arguments)) for name, arguments in pairs)
    except (ValueError, LookupError, TypeError):
        checks = ()
    if not checks:
        raise DataError(
            "metric 'ifeval': the target must be JSON text with an item's key, instruction_id_list and, for each instruction, "
            f"kwargs, not {item[:80]!r}"
        )
    return checks


def _bound(where: str, name: str, arguments: dict[str, Any]) -> Check:
    """Return the check called ``name`` with its arguments, tried on an empty reply."""
    if name not in CHECKS:
        raise DataError(f"{where}: unknown instruction {name!r}{did_you_mean(name, CHECKS)}")
    # The hub's copy gives each instruction the arguments of all, null where they are not its own.
    given = {key: value for key, value in arguments.items() if value is not None}
    try:
        validate_call(config={"strict": True})(CHECKS[name])("", **given)
    except ValidationError as error:
        problem = error.errors()[0]
        raise DataError(f"{where}: {name}: kwargs: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    except re.error as error:
        raise DataError(f"{where}: {name}: kwargs: not a regular expression: {error}") from None
    return partial(CHECKS[name], **given)
