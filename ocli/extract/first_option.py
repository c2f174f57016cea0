"""OpenCompass's ``first_option_postprocess``, which about a hundred of its configurations read multiple-choice replies with.

Source: repository open-compass/opencompass, file ``opencompass/utils/text_postprocessors.py``. The patterns are tried one after
the other, in its order and with its slips: a missing comma joins two of them (故选 and 只有), and "1." means "1 and any
character". None of them looks around, so that they are polars expressions here as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl

from ocli.extract.opencompass import SPACE, letters_of, strip
from ocli.extract.ways import ByWays, settle, unread
from ocli.registry import extractor

# In the patterns: <L> one of the letters, in a group of its own.
_PATTERNS = (
    r"答案是?\s*<L>",
    r"答案是?\s*：\s*<L>",
    r"答案是?\s*:\s*<L>",
    r"答案选项应?该?是\s*<L>",
    r"答案选项应?该?为\s*<L>",
    r"答案应该?是\s*<L>",
    r"答案应该?选\s*<L>",
    r"答案选项为?\s*：\s*<L>",
    r"答案选项为?\s+\(?\*?\*?<L>\*?\*?\)?",
    r"答案选项是?\s*:\s*<L>",
    r"答案为\s*<L>",
    r"答案选\s*<L>",
    r"选择?\s*<L>",
    r"故选?\s*<L>只有选?项?\s?<L>\s?是?对",
    r"只有选?项?\s?<L>\s?是?错",
    r"只有选?项?\s?<L>\s?不?正确",
    r"只有选?项?\s?<L>\s?错误",
    r"说法不?对选?项?的?是\s?<L>",
    r"说法不?正确选?项?的?是\s?<L>",
    r"说法错误选?项?的?是\s?<L>",
    r"<L>\s?是正确的",
    r"<L>\s?是正确答案",
    r"选项\s?<L>\s?正确",
    r"所以答\s?<L>",
    r"所以\s?<L>[.。$]?$",
    r"所有\s?<L>[.。$]?$",
    r"[\s，：:,]<L>[。，,\.]?$",
    r"[\s，,：:][故即]<L>[。\.]?$",
    r"[\s，,：:]因此<L>[。\.]?$",
    r"[是为。]\s?<L>[。\.]?$",
    r"因此\s?<L>[。\.]?$",
    r"显然\s?<L>[。\.]?$",
    r"答案是\s?(\S+)(?:。|$)",
    r"答案应该是\s?(\S+)(?:。|$)",
    r"答案为\s?(\S+)(?:。|$)",
    r"(?i)ANSWER\s*:\s*<L>",
    r"[Tt]he answer is:?\s+\(?<L>\)?",
    r"[Tt]he answer is:?\s+\(?\*?\*?<L>\*?\*?\)?",
    r"[Tt]he answer is option:?\s+\(?<L>\)?",
    r"[Tt]he correct answer is:?\s+\(?<L>\)?",
    r"[Tt]he correct answer is option:?\s+\(?<L>\)?",
    r"[Tt]he correct answer is:?.*?boxed\{<L>\}",
    r"[Tt]he correct option is:?.*?boxed\{<L>\}",
    r"[Tt]he correct answer option is:?.*?boxed\{<L>\}",
    r"[Tt]he answer to the question is:?\s+\(?<L>\)?",
    r"^选项\s?<L>",
    r"^<L>\s?选?项",
    r"^<L>[\s。，,：:\.$]",  # (\s|^) in the original, whose group 1 is then the white space and holds no letter
    r"1.\s?(.*?)$",
    r"1.\s?<L>[.。$]?$",
)
_CUSHION = (r"<L>:", r"<L>")


@extractor
@ByWays
def first_option(text: pl.Expr, choices: Sequence[str], *, options: str = "", cushion: bool = True) -> pl.Expr:
    """Return the letter of the first pattern that finds one; with ``cushion`` any letter at all, where none does.

    ``options`` are the letters to look for; default: the task's choices. The way that read an answer is named by its pattern.
    """
    letters = letters_of(options, choices, "first_option")
    patterns = _PATTERNS + (_CUSHION if cushion else ())
    return settle(unread(strip(text)), [(pattern, partial(_find, pattern=pattern, letters=letters)) for pattern in patterns])


def _find(reply: pl.Expr, pattern: str, letters: str) -> pl.Expr:
    """Return the first of ``letters``, in their order, that the pattern's group 1 (or, were it empty, its match) holds."""
    built = "(?s)" + pattern.replace("<L>", f"([{letters}])").replace(r"\s", SPACE)
    found = reply.str.extract(built, 1)
    if "<L>" in pattern and "(?i)" not in pattern:
        return found
    held = pl.when(found == "").then(reply.str.extract(built, 0)).otherwise(found)
    return pl.coalesce(pl.when(held.str.contains(letter, literal=True)).then(pl.lit(letter)) for letter in letters)
