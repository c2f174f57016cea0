r"""Read the number a reply settles on: a stated answer if there is one, else the last number; null when there is none.

Stated are "the answer is 18", "答案是18", "#### 18" and ``\boxed{18}``; the last of them counts, and in "the answer is
9 * 2 = 18" what follows the last "=". Words of magnitude ("3 million", "3万") are not multiplied out, numbers written in
words ("eighteen", "十八") are not read. The cases are in ``tests/cases/extract/number.json``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import where_found
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import ByWays
from ocli.registry import extractor

# One pass brings spellings together; where two begin at the same place, the first counts.
_SPELLINGS = {
    **{chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F) if code not in b"$"},
    # Digits of other scripts (Bengali, Thai, ...), which a regular expression takes for digits too.
    **{chr(code): str(unicodedata.decimal(chr(code))) for code in range(0x660, 0xFF10) if chr(code).isdecimal()},
    **dict.fromkeys(["-\\$", "-$", "-€", "-£", "-¥", "-￥", "−\\$", "−$", "−", "﹣"], "-"),
    **dict.fromkeys(["\\$", "$", "＄", "€", "£", "¥", "￥", "\u3000", "\xa0"], " "),
    **dict.fromkeys(["**", "__", "`", "\\,", "\\!", "\\;", "\\ ", "\\left", "\\right", "\u200b", "\r"], ""),
    **dict.fromkeys(["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\(", "\\)", "\\[", "\\]"], " "),
    **{"\\boxed": "□", "\\fbox": "□", "<|begin_of_box|>": "□{", "<|end_of_box|>": "}", "\u2009": "\u202f"},
    **dict.fromkeys(["\\times", "\\cdot", "×", "·"], "*"),
    **{"{,}": ",", "\\%": "%", "\\dfrac": "\\frac", "\\tfrac": "\\frac", "<answer>": "\nanswer:", "<br>": "\n"},
}
# A base model writes on with the next question, whose numbers are not this question's.
_NEXT = (
    r"(?:\n\s*(?:#+ *)?(?:(?:Next )?(?:Question|Problem)|Q|Human|User|问题|题目|问|用户)(?: ?\d+)? ?:"
    r"|<\|im_end\|>|<\|eot_id\|>|<\|endoftext\|>|<\|end\|>|</s>|<eoa>)"
)
_FRACTION = r"\\frac\s*\{\s*(-?[\d,.]+)\s*\}\s*\{\s*([\d,.]+)\s*\}"
_POWER_OF_TEN = r"(\d) ?[*x] ?10 ?\^ ?\{?([-+]?\d+)\}?"
_POWER_OF_UNIT = r"([A-Za-z]\}?) ?\^ ?\{?-?\d+\}?"
_SQUARE_OR_CUBE = r"(?-u:\b)([cdkm]?m|ft)[23](?-u:\b)"
# 70 000, as in French and in SI; but neither "3 1000-piece puzzles" nor the row "98 99 100" is one number.
_SPACED = r"((?:^|[^\d\s.,]|\n) {0,2})(\d{1,3}) (\d{3})(?: (\d{3}))?(\s?[^\d\s-]|\s*$)"
_DETACHED_SIGN = r"([=:(]\s*)- (\d)"

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_UNSIGNED = rf"(?:(?:\d{{1,3}} )?\d+/\d+|(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)"
# A minus behind a digit, a letter or a bracket is a subtraction, a hyphen or a range. The character before the sign is
# part of the match, as Rust's regex cannot look back.
_NUMBER = rf"(?:(?:^|[^\w)\]}}%]|\p{{Han}})[-+])?{_UNSIGNED}"
_THEN_EQUALS = rf"(?:(?:[^\n=.。,;:!?□]|[.,]\d)*=\s*[-+]?{_UNSIGNED})*"
_WRAPPED = r"[\s*_:=(\[{\"'~≈>]*"
_WORDS = r"[^\d\n.。;!?]*?"
_STATED = (
    rf"□[ {{]*[^\d}}\n]*?[-+]?{_UNSIGNED}{_THEN_EQUALS}"
    rf"|\#{{4}}[^\dA-Za-z\n\p{{Han}}]*{_UNSIGNED}(?:[ *_}}\]%]|\p{{L}}|\.? *(?:\n|$))"
    rf"|(?:(?i:\b(?:the|my|our|final|correct) +answer)|(?:^|\n)[\s*#_>(-]*(?i:answer))\b"
    rf"(?:[^\d\n.。;:!?]*?\b(?:is|are|was|be|equals)\b|[\s*_\])]*[:=\n])"
    rf"{_WRAPPED}{_WORDS}[-+]?{_UNSIGNED}{_THEN_EQUALS}"
    rf"|(?:答案[^\d\n。.;,是为:=】]*(?:是|为|等于|[:=】\n])|(?:^|\n)\s*答 ?:)"
    rf"{_WRAPPED}{_WORDS}[-+]?{_UNSIGNED}{_THEN_EQUALS}"
).replace(r"\b", r"(?-u:\b)")  # an ASCII word boundary: the Unicode one is ten times slower on Chinese text


@extractor.promising(
    "{}", "**{}**.", "The answer is {}.", "The answer is ${}.", "Answer: {}", "**Answer:** {}", "#### {}", "#### **{}**",
    "\\boxed{{}}.", "$\\boxed{{}}$.", "2 * 3 = {}", "答案：{}", "答案是{}。", "【答案】{}", "所以一共是{}个。", "＝{}",
    "The answer is {} dollars. I solved it in 2 steps.",
    "<think>12 * 4 = 48, so the answer is 48.</think>\n\nThe answer is {}.",
    "First, 12 + 30 = 42. Then 42 / 7 = 6.\n\n**Final answer: {}**\n\nI checked it in 3 ways.",
)  # fmt: skip
@ByWays
def number(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the reply's final number without separators, currency, percent sign or zeros that say nothing ("29.50" is "29.5").

    A fraction stays one ("3/4"), scientific notation becomes "1.5e3".
    """
    read = pl.struct(_plain(text).alias("reply"))
    read = read.struct.with_fields(pl.field("reply").str.extract_all(_STATED).list.last().alias("stated"))
    stated = pl.field("stated")
    found = pl.coalesce(stated, pl.field("reply")).str.extract_all(_NUMBER).list.last()
    pattern = (
        pl.when(stated.is_null())
        .then(pl.lit("last number"))
        .when(stated.str.contains("□", literal=True))
        .then(pl.lit("boxed"))
        .when(stated.str.starts_with("#"))
        .then(pl.lit("behind ####"))
        .otherwise(pl.lit("answer phrase"))
    )
    return read.struct.with_fields(_shortest(found).alias("answer"), pattern.alias("pattern"))


def _plain(text: pl.Expr) -> pl.Expr:
    """Bring spellings together; take out thoughts, a next question and the powers of units (m^2)."""
    reply = strip_thoughts(text).str.replace_many(_SPELLINGS, leftmost=True)
    reply = where_found(_NEXT, reply, _before_next)
    reply = reply.str.replace_all("-" + _FRACTION, "-${1}/${2}").str.replace_all(_FRACTION, " ${1}/${2}")
    reply = where_found(r"\^", reply, _without_powers).str.replace_all(_SQUARE_OR_CUBE, "${1} ")
    reply = where_found(r"\d[ \x{202f}]\d{3}", reply, _without_spaces)
    return reply.str.replace_all(_DETACHED_SIGN, "${1}-${2}")


def _before_next(reply: pl.Expr) -> pl.Expr:
    return reply.str.replace(rf"(?s)^(.*?\d.*?){_NEXT}.*$", "${1}")


def _without_spaces(reply: pl.Expr) -> pl.Expr:
    """Write thousands together; the narrow space U+202F is nothing but their separator."""
    return reply.str.replace_all(r"\x{202f}(\d{3})", "${1}").str.replace_all(_SPACED, "${1}${2}${3}${4}${5}")


def _without_powers(reply: pl.Expr) -> pl.Expr:
    return reply.str.replace_all(_POWER_OF_TEN, "${1}e${2}").str.replace_all(_POWER_OF_UNIT, "${1} ")


def _shortest(found: pl.Expr) -> pl.Expr:
    """Return a matched number in its one shortest spelling."""
    bare = found.str.replace(r"^[^\d.+-]?\+?", "").str.replace_all(",", "", literal=True)
    bare = bare.str.replace(r"^(-?)0+(\d)", "${1}${2}").str.replace(r"^(-?)\.", "${1}0.")
    bare = bare.str.replace(r"^([^.]*)\.0*([eE].*)?$", "${1}${2}").str.replace(r"(\.\d*?[1-9])0+([eE].*)?$", "${1}${2}")
    return bare.str.replace(r"[eE]\+?(-?)0*", "e${1}").str.replace(r"^-0$", "0")
