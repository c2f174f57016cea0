r"""OpenCompass's rule of MATH: finds the answer in the raw reply, cleans both sides and compares their spellings.

Source: repository open-compass/opencompass, file ``opencompass/datasets/math.py`` (``math_postprocess_v2``; ``MATHEvaluator``,
``version='v2'``), which has its clean-up from Minerva (Lewkowycz et al. 2022, appendix D.1). Reproduced to compare with its
published numbers, not because it is good. Both steps are one metric, because the clean-up is part of both.
"""

from __future__ import annotations

import re

import polars as pl

from ocli.metrics._text import score_pairs
from ocli.registry import metric

# Minerva's, in its order.
_SUBSTITUTIONS = (
    ("an ", ""), ("a ", ""), (".$", "$"), ("\\$", ""), ("\\ ", ""), (" ", ""), ("mbox", "text"), (",\\text{and}", ","),
    ("\\text{and}", ","), ("\\text{m}", "\\text{}"), ("\\le", "<"),
)  # fmt: skip
_LEFT_OUT = (
    "square", "ways", "integers", "dollars", "mph", "inches", "ft", "hours", "km", "units", "\\ldots", "sue", "points", "feet",
    "minutes", "digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals", "edges", "students", "childrentickets",
    "multiples", "\\text{s}", "\\text{.}", "\\text{\ns}", "\\text{}^2", "\\text{}^3", "\\text{\n}", "\\text{}", "\\mathrm{th}",
    "^\\circ", "^{\\circ}", "\\;", ",\\!", "{,}", '"', "\\dots", "\n", "\r", "\f",
)  # fmt: skip
_UNWRAPPED = (
    (r"(\\text\{)\((.*?)\)(\})", r"\2"), (r"(\\text\{)(.*?)(\})", r"\2"), (r"(\\textbf\{)(.*?)(\})", r"\2"),
    (r"(\\overline\{)(.*?)(\})", r"\2"), (r"(\\boxed\{)(.*)(\})", r"\2"),
)  # fmt: skip
_ANNOUNCED = (r"finalansweris(.*)", r"answer?is:?(.*)", r"oxed\{(.*?)\}", r"\$(.*?)\$")


@metric
def opencompass_math(answer: pl.Expr, target: pl.Expr) -> pl.Expr:
    """1 where the reply's box, else its first sentence with "answer is", else its first, is spelled as the target."""
    return score_pairs(answer, target, lambda given, wanted: same_spelling(find_answer(given), wanted))


def find_answer(reply: str) -> str:
    """Return the answer of a raw reply, cleaned where it is not boxed (``math_postprocess_v2``)."""
    if box := _last_box(reply):
        return box
    sentences = reply.split(".")
    stated = (sentence for sentence in sentences if re.search("final answer|answer is", sentence.lower()))
    return normalize(next(stated, sentences[0]))


def _last_box(reply: str) -> str | None:
    r"""Return what stands in the last ``\boxed{...}``, of ``{{7}}`` the 7; null where no braces follow and close."""
    _, found, rest = reply.rpartition("\\boxed")
    if not found or not rest.startswith("{"):
        return None
    depth = 0
    for place, character in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            double = re.match(r"^\{(.*)\}$", rest[1:place])
            return double[1] if double else rest[1:place]
    return None


def same_spelling(given: str, wanted: str) -> bool:
    """Tell whether two formulas are the same after one of the clean-ups (``MATHEvaluator.is_equiv``)."""
    try:
        left, right = strip(given), strip(wanted)
        if left == right or normalize(left) == normalize(right):
            return True
    except ValueError:  # there, too, a fraction of letters ends this clean-up
        pass
    return normalize(given) == normalize(wanted)


def normalize(text: str) -> str:
    """Clean up a final answer as Minerva does (``normalize_final_answer``)."""
    for before, after in _SUBSTITUTIONS:
        text = text.replace(before, after)
    for part in _LEFT_OUT:
        text = text.replace(part, "")
    for pattern, by in _UNWRAPPED:
        text = re.sub(pattern, by, text)
    for pattern in _ANNOUNCED:
        if found := re.findall(pattern, text):
            text = found[-1]
    text = text.strip()
    if "rac" in text and "\\frac" not in text:
        text = text.replace("rac", "\\frac")
    text = re.sub(r"(frac)([^{])(.)", r"frac{\2}{\3}", text)
    text = re.sub(r"(sqrt)([^{])", r"sqrt{\2}", text).replace("$", "")
    return text.replace(",", "") if text.replace(",", "").isdigit() else text


def strip(text: str) -> str:
    """Clean up a formula as ``MATHEvaluator._strip_string_v2`` does; raise ValueError on a fraction ``a/b`` of no numbers."""
    text = text.strip().replace("\n", "").rstrip(".")
    for before, after in (("\\!", ""), ("\\ ", ""), ("\\\\", "\\"), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac")):
        text = text.replace(before, after)
    text = text.replace("\\left", "").replace("\\right", "")
    text = re.sub(r"\\text{.*?}$", "", text).strip() or text
    for part in ("^{\\circ}", "^\\circ", "\\$", "$", "\\text", "x\\in", "\\%", "%"):
        text = text.replace(part, "")
    text = text.replace(" .", " 0.").replace("{.", "{0.").replace("\\cdot", "").replace("infinity", "\\infty")
    text = text if "\\infty" in text else text.replace("inf", "\\infty")
    text = text.replace("+\\inity", "\\infty").replace("and", "").replace("\\mathbf", "")
    text = re.sub(r"\\mbox{.*?}", "", text)
    text = text.replace("j", "i") if "j" in text and "i" not in text else text
    text = re.sub(r"(\d+)\.0+$", r"\1", re.sub(r"(\d+)\.0+([^\d])", r"\1\2", text))
    if not text:
        return text
    text = "0" + text if text[0] == "." else text
    name, equals, value = text.partition("=")
    text = value if equals and "=" not in value and len(name) <= 2 else text
    text = re.sub(r"\\sqrt(\w+)", r"\\sqrt{\1}", text).replace(" ", "")
    return _fraction(_braced_fractions(text))


def _braced_fractions(text: str) -> str:
    r"""Write ``\frac12`` as ``\frac{1}{2}``; where one is torn, all stay."""
    first, *fractions = text.split("\\frac")
    written = first
    for part in fractions:
        if part.startswith("{"):
            written += "\\frac" + part
        elif len(part) < 2:
            return text
        else:
            written += f"\\frac{{{part[0]}}}" + (part[1:] if part[1] == "{" else f"{{{part[1]}}}{part[2:]}")
    return written


def _fraction(text: str) -> str:
    r"""Write ``3/4`` as ``\frac{3}{4}``."""
    if text.count("/") != 1:
        return text
    above, below = map(int, text.split("/"))
    return f"\\frac{{{above}}}{{{below}}}" if text == f"{above}/{below}" else text
