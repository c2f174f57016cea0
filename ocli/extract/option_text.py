"""Read a reply that gives an option's text in place of its letter: "No" where "A. Yes" and "B. No" are shown.

It counts where the reply names no letter. Where the texts are yes and no, the reply is read as ``yes_no`` does; other texts must
be all of a line, at most behind a phrase ("答案是", "Answer:"), and the only one that is. The cases are in
``tests/cases/extract/option_text.json``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from ocli.errors import RecipeError
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.yes_no import yes_no

_YES = ("yes", "true", "是", "对")
_NO = ("no", "false", "否", "错")
_ARTICLE = r"(?-u:\b)A [a-z]"  # "No. A dog is no cat." names no letter
_AROUND = r"(?:\\boxed|\\text|[^\p{L}\p{N}\n])*"
_LEAD_IN = (
    r"(?:(?:[a-z]+, )?(?:the )?(?:[a-z]+ )?(?:answer|relation(?:ship)?|option)(?: is)?"
    r"|[^\x00-\x7f：不非无误错]{0,12}[:：]|[^\x00-\x7f不非无误错]{0,8}[是为选])?"
)


def option_of_text(reply: pl.Expr, letters: str, texts: Sequence[str]) -> pl.Expr:
    """Return the letter of the one option whose text the reply gives; null where it names a letter, or several texts."""
    if isinstance(texts, str) or len(texts) != len(letters) or not all(isinstance(text, str) and text for text in texts):
        raise RecipeError(f"choice: texts are those of {', '.join(letters)}, in quotes and in this order; got {texts!r}")
    plain = strip_thoughts(reply)
    named = plain.str.replace_all(_ARTICLE, "").str.contains(rf"(?-u:\b)[{letters}](?-u:\b)")
    unnamed = pl.when(~named).then(plain)
    letter_of = {text.lower(): letter for text, letter in zip(texts, letters, strict=True)}
    yes = next((letter_of[text] for text in _YES if text in letter_of), None)
    no = next((letter_of[text] for text in _NO if text in letter_of), None)
    if yes and no and len(texts) == 2:
        return yes_no(unnamed, (), words=(yes, no))
    pattern = rf"(?im)^{_AROUND}{_LEAD_IN}{_AROUND}({'|'.join(map(re.escape, letter_of))}){_AROUND}$"
    found = unnamed.str.extract_all(pattern).list.eval(pl.element().str.extract(pattern).str.to_lowercase()).list.unique()
    return pl.when(found.list.len() == 1).then(found.list.first()).replace_strict(letter_of, default=None, return_dtype=pl.String)
