"""OpenCompass's extractors, reproduced to compare with its published numbers, not because they are good.

Source: repository open-compass/opencompass, file ``opencompass/utils/text_postprocessors.py`` unless a function names another.
They read the raw reply, thoughts included, as OpenCompass does; where it returns an empty string (or "NULL"), these return null.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from ocli.errors import RecipeError
from ocli.extract._expr import or_null
from ocli.extract.ways import ByWays, Way, reading, settle, unread
from ocli.registry import extractor

# Python's white space; Rust's \s knows no U+001C to U+001F.
SPACE = r"[\s\x1c-\x1f]"
_NUMBER = r"-?\d+\.\d+|-?\d+"


def _has_group(pattern: str) -> bool:
    try:
        return re.compile(pattern).groups > 0
    except re.error:  # Rust's syntax, or a mistake that polars will name
        return True


def strip(text: pl.Expr) -> pl.Expr:
    """Do as Python's ``str.strip``."""
    return text.str.replace(rf"^{SPACE}+", "").str.replace(rf"{SPACE}+$", "")


def _before(text: pl.Expr, mark: str) -> pl.Expr:
    """Return what stands before the first ``mark``: the whole text where there is none."""
    return text.str.split(mark).list.first()


def _after(text: pl.Expr, mark: str) -> pl.Expr:
    """Return what stands behind the last ``mark``: the whole text where there is none."""
    return text.str.split(mark).list.last()


@extractor
def first_capital(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    r"""Return the first upper-case character, offered or not (``first_capital_postprocess``).

    ``\p{Uppercase}`` and not ``\p{Lu}``: Python's ``str.isupper`` also holds for Other_Uppercase, such as Ⅳ.
    Title-case characters such as ǅ are not upper-case for either of the two.
    """
    return text.str.extract(r"(\p{Uppercase})", 1)


@extractor
def last_capital(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the last upper-case character, offered or not (``last_capital_postprocess``)."""
    return text.str.extract(r"(?s)^.*(\p{Uppercase})", 1)


@extractor
def first_capital_multi(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first run of letters from A to D (``first_capital_postprocess_multi``)."""
    return text.str.extract(r"([A-D]+)", 1)


@extractor
def multiple_select(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return all upper-case characters, each once, sorted (``multiple_select_postprocess``)."""
    return or_null(text.str.extract_all(r"\p{Uppercase}").list.unique().list.sort().list.join(""))


@extractor
def last_option(text: pl.Expr, choices: Sequence[str], *, options: str = "") -> pl.Expr:
    """Return the last of the letters ``options`` (default: the task's choices) (``last_option_postprocess``)."""
    return text.str.extract_all(f"[{letters_of(options, choices, 'last_option')}]").list.last()


@extractor
def first_number(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first number, which knows no thousands separators (``first_number_postprocess``, which makes it a float)."""
    return text.str.extract(r"(-?\d*\.?\d+)", 1)


@extractor
def gsm8k(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the last number before "Question:"; "70,000" gives "000" (``gsm8k_postprocess`` in ``datasets/gsm8k.py``)."""
    return _before(text, "Question:").str.extract_all(_NUMBER).list.last()


@extractor
def general(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the text up to the first line end, point or comma, without punctuation and articles (``general_postprocess``)."""
    return or_null(plain(text))


@extractor
def triviaqa(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first line behind "answer is", "a:" or "answer:" as ``general`` does (``datasets/triviaqa.py``)."""
    line = _before(strip(text), "\n").str.to_lowercase()
    for mark in ("answer is", "a:", "answer:"):
        line = _after(line, mark)
    return or_null(plain(strip(line)))


@extractor
def natural_question(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first line behind "answer is" as ``general`` does (``datasets/natural_question.py``)."""
    return or_null(plain(_after(_before(strip(text), "\n").str.to_lowercase(), "answer is")))


@extractor
def strategyqa(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first "yes" or "no", also inside a word, behind "answer is " (``datasets/strategyqa.py``)."""
    return _after(_before(text, "\n\n"), "answer is ").str.to_lowercase().str.extract(r"(yes|no)", 1)


@extractor
@ByWays
def bbh_mcq(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the first capital in brackets, else the first, behind "answer is ", else all of it (``datasets/bbh.py``)."""
    parts = text.str.split("answer is ")
    answer = pl.coalesce(strip(parts.list.get(1, null_on_oob=True)), text)
    ways: list[tuple[str, Way]] = [
        ("capital in brackets", lambda reply: reply.str.extract(r"\(([A-Z])\)*", 1)),
        ("first capital", lambda reply: reply.str.extract(r"([A-Z])", 1)),
        ("all of it", or_null),
    ]
    return settle(unread(answer), ways)


@extractor
def bbh_freeform(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the line behind the last "answer is", its bold part, "Yes" or "True" alone (``datasets/bbh.py``)."""
    line = text.str.replace(rf"(?is)^.*answer is{SPACE}*:?{SPACE}*", "").str.extract(r"^([^\n]*)", 1)
    answer = strip(strip(line).str.replace(r"\.$", ""))
    answer = strip(answer.str.replace(r"(?s)^.*?\*\*(.*?)\*\*.*$", "${1}"))
    verdict = answer.str.extract(r"(?i)^(yes|no|true|false)(?:[^\p{L}\p{N}_]|$)", 1)
    verdict = verdict.str.slice(0, 1).str.to_uppercase() + verdict.str.slice(1).str.to_lowercase()
    digits = answer.str.contains(rf"\d{SPACE}*,{SPACE}*\d")
    bare = pl.when(digits).then(answer).otherwise(answer.str.replace_all(rf"{SPACE}*,{SPACE}*", " "))
    return or_null(pl.coalesce(verdict, strip(bare.str.replace_all(rf"{SPACE}+", " "))))


@extractor
@ByWays
def bbh(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return what ``bbh_mcq`` reads where letters are offered, else what ``bbh_freeform`` does (``bbh_gen_ee62e9``)."""
    letters = bool(choices) and all(re.fullmatch("[A-Z]", choice) for choice in choices)
    return reading(bbh_mcq if letters else bbh_freeform, text, choices)


@extractor
def match_answer(text: pl.Expr, choices: Sequence[str], *, pattern: str) -> pl.Expr:
    """Return group 1 of the first match of ``pattern`` (``match_answer_pattern``).

    The pattern is a Rust regular expression: Python's syntax without look-around and backreferences.
    """
    if not isinstance(pattern, str) or not _has_group(pattern):
        raise RecipeError(f"match_answer: the pattern {pattern!r} must be a text with one group (...): the answer")
    return or_null(text.str.extract(pattern, 1))


def plain(text: pl.Expr) -> pl.Expr:
    """Do as ``general_postprocess``; Python's word characters are letters, numbers of all kinds and "_".

    Two spaces between words, so that each article has its own on both sides.
    """
    bare = text.str.extract(r"^([^\n.,]*)", 1).str.replace_all(r"[^\p{L}\p{N}_\s\x1c-\x1f]", "")
    spaced = pl.format(" {} ", bare.str.replace_all(rf"{SPACE}+", "  "))
    return spaced.str.replace_all(" (?i:a|an|the) ", " ").str.replace_all(" +", " ").str.strip_chars(" ")


def letters_of(options: object, choices: Sequence[str], name: str) -> str:
    """Return the letters to look for: the option, else the task's choices."""
    letters = options or "".join(choices)
    if not isinstance(letters, str) or not re.fullmatch("[A-Za-z]+", letters):
        raise RecipeError(f"extractor {name!r} needs its letters, such as options: ABCD; got {letters!r}")
    return letters
