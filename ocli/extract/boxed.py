r"""Read what stands in the last ``\boxed{...}`` of a reply, as math-tuned models write their answer.

Rust's regex has no recursion: braces are followed eight deep, escaped ones (``\{``) are plain characters.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import or_null
from ocli.extract.thoughts import strip_thoughts
from ocli.registry import extractor

_DEPTH = 8


def _balanced(depth: int) -> str:
    """Return a pattern for text whose braces are balanced, at most ``depth`` deep."""
    inner = rf"|\{{{_balanced(depth - 1)}\}}" if depth else ""
    return rf"(?:[^{{}}\\]|\\(?s:.){inner})*"


_BOXED = rf"\\(?:boxed|fbox)\s*(?:\{{({_balanced(_DEPTH)})\}}|([^\s{{}}$\\]+))"
_EMPTY = r"\\(?:boxed|fbox)\s*\{\s*\}"  # a mention of the command ("within \boxed{} as asked")
_GLM = r"(?s)<\|begin_of_box\|>(.*?)<\|end_of_box\|>"


@extractor.promising(
    "\\boxed{{}}", "\\boxed{{}}.", "$\\boxed{{}}$", "$\\boxed{{}}$.", "$$\\boxed{{}}$$", "\\(\\boxed{{}}\\)",
    "\\[\n\\boxed{{}}\n\\]", "$\\boxed{ {} }$", "**\\boxed{{}}**", "The answer is $\\boxed{{}}$.",
    "**Final answer:** $\\boxed{{}}$", "答案是 $\\boxed{{}}$。", "$\\fbox{{}}$",
    "<think>Maybe \\boxed{0}?</think>\n\nSo it is \\boxed{{}}.",
    "At first I found $\\boxed{1}$, but the sign was wrong.\n\n$$\n\\boxed{{}}\n$$\n\nThis can be checked.",
)  # fmt: skip
def boxed(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    r"""Return the content of the last ``\boxed{...}`` (or ``\boxed 7``), thoughts aside; of boxes in a box the innermost."""
    reply = strip_thoughts(text).str.replace_all(_EMPTY, "").str.replace_all(_GLM, "\\boxed{$1}")
    last = reply.str.extract_all(_BOXED).list.last()
    for _ in range(2):
        last = last.str.replace(rf"(?s)^\s*{_BOXED}\s*[.]?$", "${1}${2}")
    return or_null(last.str.strip_chars())
