"""Read a yes-or-no reply (yes, true, correct, 是, 对, 正确; no, false, wrong, 否, 不是, 错误) in the task's own words.

Rules, in order: the last verdict behind a phrase ("the answer is", "答案是"); a verdict that ends the reply; one that opens it;
the verdicts of its first and last line ("the statement is false", "说法不正确") where they all agree. Else null. The cases are in
``tests/cases/extract/yes_no.json``.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ocli.errors import RecipeError
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import ByWays, Way, settle, unread
from ocli.registry import extractor

_SPELLINGS = {
    **{chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)},
    **dict.fromkeys(["**", "__", "`", "$", "\\text{", "\\textbf{", "\\(", "\\)", "\\[", "\\]", "\u200b"], ""),
    **dict.fromkeys(["。", "！", "？", "；"], ". "),
    **dict.fromkeys(["、", "\r", "“", "”", "【", "】", "「", "」", "\u3000", "\xa0"], " "),
    **dict.fromkeys(["⊕", "⊖"], ""),
    **{"\\boxed": "□", "<|begin_of_box|>": "□", "<|end_of_box|>": " ", "’": "'", "–": "-", "—": "-"},
}
# "⊕" and "⊖" stand for a verdict that needs no phrase around it.
_QUESTIONS = (
    r"\b(?:yes|true|correct|right)(?: ?/ ?| or )(?:no|not|false|incorrect|wrong)\b|\byes and no\b"
    r"|\bwhether (?:[a-z]+ ){1,6}?(?:is|are|was|were) (?:true|correct|right|false|valid)\b"
    r"|\bno (?:one|idea|doubt|matter|longer|more|such)\b"
    r"|正确(?:性|率|地|选项|的(?:方法|方式|做法|选项|顺序))|错误(?:率|在于)|是?(?:正确|对|真)的?[吗么]"
    r"|(?:如果|假如|假设|倘若|若)[^,.;\n]*|(?:答案|结论|判断|回答|说法)是(?:[\s:.]*$|\(\s*\))"
    r"|是否(?:正确|成立|属实|[是为]?[真假])?|为?真还是为?假|是不是|对不对|对还是错|对错|正确与否|正确还是错误"
    r"|能不能|会不会|能否|会否|可否"
)
_BE = r"(?:\b(?:is|are|was|were|be|it's|that's|seems|as)|\b(?:is|are|was|were|does|do)(?:n't| not))"
_ADVERB = r"(?: (?:also|indeed|actually|clearly|definitely|generally|completely|entirely|partly|probably|likely|therefore|thus))*"
_BACK_TO_YES = (
    rf"(?:\b(?:not|never)|n't){_ADVERB} (?:false|incorrect|wrong|untrue|inaccurate)\b"
    r"|没有?错误?|没有?问题|不错|无误|不为假|(?:不是|并非)(?:错误?|假)的?"
)
_NO = (
    rf"(?:\b(?:not|never)|n't){_ADVERB} (?:true|correct|right|accurate|the case)\b"
    r"|\b(?:certainly|definitely|absolutely|of course) not\b|^[\s(\"']*n[\s.)\"']*$"
    rf"|\b(?:so|thus|hence|therefore|overall|generally),? no[,.]"
    rf"|{_BE}{_ADVERB} (?:false|incorrect|wrong|untrue|inaccurate)\b"
    r"|(?:不是?|并?非|不太|不完全)(?:正确|对|准确|属实|成立|真)的?|不为真"
    r"|(?:[是为]假|是错)(?:误?的|命题|[^\p{Han}]|$)|错误|有误|[×✗✘❌]"
)
_YES = (
    rf"\byes\b|^[\s(\"']*y[\s.)\"']*$|{_BE}{_ADVERB} (?:true|correct|right|accurate)\b"
    r"|[是为]真(?:的|命题|[^\p{Han}]|$)|是对的|正确|属实|成立|[√✓✔✅]"
)
_WORD = r"\b(?:true|correct|right|yeah|yep|no|nope|not|false|incorrect|wrong|untrue)"
_CHARACTER = r"(?:不(?:是|能|会|可以|可能|行|对)?|没有|否|错|对|是|真|假|可以|能|会)"
_END = r"(?:[的吧啊呀了]?(?:[^\p{L}\p{N}]|$))"
_WORD_END = r"(?:[^a-z \p{N}-]|$| -| (?:it|they|he|she|this|that|because|since|as|you|we|i|there)\b)"
_FILL = (
    r"(?:[\s:*\"'(){}\[\]=,]|\b(?:is|was|be|would|should|must|therefore|thus|clearly|probably|likely|definitely|that|so"
    r"|to|the|this|your|my|question)\b|应该?|当然|[是为的就]|到|最终)*"
)
_SUBJECT = r"(?:\banswer|\bverdict|\bconclusion|答案|结论|判断|回答|我认为|我觉得|说法|观点|命题|□)"
_CUE = rf"{_SUBJECT}{_FILL}([⊕⊖]|{_WORD}\b|{_CHARACTER}){_END}"
_ENDING = (
    r"(?:[.!?;:,\n→]|\b(?:so|thus|hence|therefore|evaluates? to)\b|所以|因此|故)[\s,\"'(-]*"
    rf"([⊕⊖]|{_WORD}\b|{_CHARACTER})的?[\s.!\"')}}]*$"
)
_OPENING = rf"^[\s\"'(#>-]*(?:([⊕⊖])|({_WORD}){_WORD_END}|({_CHARACTER}){_END})"
# Prose that says somewhere that something is true is no verdict: what counts are short lines at its two ends.
_FIRST_LINE = r"^\s*([^\n]{1,300})(?:\n|$)"
_LAST_LINE = r"(?:^|\n)([^\n]{1,300}?)\s*$"
_IS_NO = r"^(?:⊖|no|nope|not|false|incorrect|wrong|untrue|不.*|没有|否|错|假)$"
_AFFIRMATIVE = r"^(?i:yes|y|true|t|correct|right|1|entailment)$|^(?:是的?|对的?|正确|真|能|会|可以)$"


@extractor.promising(
    "{}", "{}.", "**{}**", "The answer is {}.", "Answer: {}", "**Answer:** {}", "So the final answer is: **{}**.",
    "{}, because the passage says so.", "\\boxed{{}}", "$\\boxed{\\text{{}}}$.", "答案：{}", "答案是{}。", "【答案】{}",
    "最终答案：**{}**", "<think>The answer is yes. 答案：否</think>\n\nThe answer is {}.",
    "The passage speaks of both.\n\n**Answer: {}**\n\nIt follows from its last sentence.",
)  # fmt: skip
@ByWays
def yes_no(text: pl.Expr, choices: Sequence[str], *, words: Sequence[str] | None = None) -> pl.Expr:
    """Return the reply's verdict as the first of ``words`` (yes) or the second (no).

    Default: the task's two choices, in whichever order they stand; "yes" and "no" where the task names none.
    """
    positive, negative = _pair(words, choices)
    ways: list[tuple[str, Way]] = [
        ("answer phrase", _behind_cue),
        ("closing word", lambda reply: reply.str.extract(_ascii(_ENDING), 1)),
        ("opening word", lambda reply: pl.coalesce(reply.str.extract(_ascii(_OPENING), group) for group in (1, 2, 3))),
        ("agreeing lines", _agreed),
    ]
    verdict = pl.field("answer")
    word = pl.when(verdict.str.contains(_IS_NO)).then(pl.lit(negative)).when(verdict.is_not_null()).then(pl.lit(positive))
    return settle(unread(_marked(text)), ways).struct.with_fields(word.alias("answer"))


def _behind_cue(reply: pl.Expr) -> pl.Expr:
    """Return the verdict behind the last phrase."""
    return reply.str.extract_all(_ascii(_CUE)).list.last().str.extract(_ascii(_CUE), 1)


def _agreed(reply: pl.Expr) -> pl.Expr:
    """Return the one verdict of the first and the last line."""
    ends = pl.concat_str(reply.str.extract(_FIRST_LINE, 1), reply.str.extract(_LAST_LINE, 1), ignore_nulls=True)
    marks = ends.str.extract_all("[⊕⊖]").list.unique()
    return pl.when(marks.list.len() == 1).then(marks.list.first())


def _marked(text: pl.Expr) -> pl.Expr:
    """Bring spellings together and mark the plain verdicts; "true or false" and "是否" are none."""
    reply = strip_thoughts(text).str.replace_many(_SPELLINGS, leftmost=True).str.to_lowercase()
    for pattern, mark in (("正确的?(答案)", "${1}"), (_QUESTIONS, " "), (_BACK_TO_YES, "⊕"), (_NO, "⊖"), (_YES, "⊕")):
        reply = reply.str.replace_all(_ascii(pattern), mark)
    return reply


def _ascii(pattern: str) -> str:
    r"""Make \b an ASCII word boundary: there is one between 是 and "yes"."""
    return pattern.replace(r"\b", r"(?-u:\b)")


def _pair(words: Sequence[str] | None, choices: Sequence[str]) -> tuple[str, str]:
    """Return the task's words for yes and no."""
    if words is not None:
        if isinstance(words, str) or len(words) != 2 or not all(isinstance(word, str) for word in words):
            raise RecipeError(f"yes_no: words are two texts, the one for yes first, got {words!r}")
        return words[0], words[1]
    if not choices:
        return "yes", "no"
    if len(choices) != 2:
        raise RecipeError(f"extractor 'yes_no' needs two choices or the option words, got {list(choices)}")
    first, second = choices
    swap = pl.Series([first, second]).str.strip_chars().str.contains(_AFFIRMATIVE).to_list() == [False, True]
    return (second, first) if swap else (first, second)
