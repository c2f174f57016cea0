"""What ``choice`` and ``option_set`` share: how replies name letters; registers no extractor.

Everything is a polars expression over static regular expressions, each built once for the letters on offer.
Rust's regex has no look-around, so letters that are part of something else ("A man", "vitamin C", "P(A)") are
taken out too, instead of being excluded in every pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from string import ascii_letters

import polars as pl

from ocli.errors import RecipeError
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import open_replies, settle

# One pass over the reply brings spellings together. "。" stays apart from ".": no phrase reaches across it.
SPELLINGS = {
    **{chr(ord(c) + 0xFEE0): c for c in ascii_letters},
    **dict(zip("（）【】［］[]〔〕「」『』《》", "()()()()()()()()", strict=True)),
    **dict(zip("：，．；＝！？\u3000\xa0“”‘’", ":,.;=!?  \"\"''", strict=True)),
    **dict.fromkeys(["*", "_", "`", "$", "\r", "\\(", "\\)", "\\[", "\\]", "\\text{", "\\textbf{"], ""),
    **dict.fromkeys(["\\mathrm{", "\\mathbf{", "\\rm", "\\bf", "\\,", "\\ ", "<b>", "</b>", "<strong>"], ""),
    **dict.fromkeys(["N/A", "</strong>", "<|im_start|>assistant", "<|begin_of_solution|>", "\u200b", "\ufeff"], ""),
    **dict.fromkeys(["\\boxed", "\\fbox"], "□"),
    **{"<|begin_of_box|>": "□{", "<|end_of_box|>": "}"},
    **dict.fromkeys(["<answer>", "<Answer>", "<ANSWER>"], "答案:"),
    **dict.fromkeys(["</answer>", "</Answer>", "</ANSWER>", "<br>", "<br/>", "<p>", "</p>"], "\n"),
}
_STOP = r"(?s)(?:<\|im_end\|>|</s>|<eoa>|<\|eot_id\|>|<\|endoftext\|>|<\|end\|>|<\|end_of_solution\|>).*$"
# A base model writes on with the next question: its letters are not this question's answer.
_NEXT_QUESTION = (
    r"(?s)^((?:.*?[^A-Za-z])??<L>\b.*?)\n\s*(?:#+ *)?(?:(?:Next )?Question|Q|Human|User|问题|题目|问"
    r"|用户)(?: ?\d+)? ?[:.].*$"
)

# In the patterns: <L> one offered letter, <l> one in lower case, <S> one or more ("A、C"), <1> and <2> the
# first two letters, \b an ASCII word boundary (so that there is one between 选 and B).
_ENUMERATION = r"\b<L>(?:(?:[)\"' ]*(?:[、/&,]|,? ?(?:and|or|and/or)\b|和|或|与|及|以及)[(\"' ]*(?:选?项 ?)?)?<L>)*\b"
_OPTIONS_ECHO = (
    r"(?m)^[ (#>-]*<1>[.、:)](?:[^\n]*\n+)?[^\n]*?[ \n(]<2>[.、:)](?:[ (]*<L>[.、:)])*(?:[^\n]*\n+[ (#>-]*<L>[.、:)])*|^A ?: ?"
)

_KEEP = (
    r"(?:只有|仅有?|唯有?)(?:选?项)?[ (\"]*<L>\b"  # 只有 C 错误: C it is, whatever is said of it
    r"|\b<L>\b\)?(?:[ 、.,:是]|选?项|的|说法|表述|错误|正确|有误|不正确|不对|错){1,6}(?:[,.] ?)?(?:故|因此"
    r"|所以)?符合题[意干]"
    r"|(?:选|是|为|:|=|\b(?:is|choose|pick|select)\b)[ (\"']*\b<L>\b[)\"']*(?:[,;]| (?:and|but|as|because"
    r"|since|while)\b)"
)
_REJECTED = (
    r"(?:不|没有?|非|别|排除|去掉|剔除|而非|除了?)(?:[能应该可会是要宜了掉选择项为当 (\"]|答案)*<S>"
    r"|<S>[)\" ]*(?:选?项|答案)?(?:[ :,、都均皆全则也就是才并完中的]|显然|明显|所述|表述|说法|叙述|描述"
    r"|内容|正确)*"
    r"(?:错|有误|误[,.;。]|不(?:正确|对|符|成立|合|准确|恰当|属于|是正确|是答案|能|应|可|当|全面|行)|无关"
    r"|被?排除)"
    r"|<S>[)\"' ]*(?:选?项)?(?:[?]|还是|吗|呢|中|里|提到|提及|涉及)"
    r"|(?:如果|假如|若|假设|是否)(?:[选择项为是 (\"]|答案)*<S>|\b(?i:whether|if|suppose"
    r"|assuming)(?: (?:it is|the answer is|the|option|we choose|answer|choice))* <S>"
    r"|(?:\b(?i:not|never|neither|nor|cannot be|rather than|instead of|rul(?:e[sd]?|ing) out"
    r"|eliminat(?:e[sd]?|ing)|exclud(?:e[sd]?|ing)"
    r"|discard|reject|except|than|vs|versus|between)\b|n't)(?:[ .:(\"']|\b(?i:be|the|options?|choices?"
    r"|answers?|both|either)\b)*<S>"
    r"|<S><ASIDE> *(?:\b(?:options?|choices?|statements?|answers?) )?(?:(?i:is|are|was|were|seems?|looks?"
    r"|would be|can be|could be|being)"
    r"(?: (?:also|clearly|obviously|definitely|both|all|simply|therefore|thus|just|the|an|a|completely"
    r"|totally|probably|partially))*"
    r" (?:not|incorrect|wrong|false|invalid|inaccurate|irrelevant|eliminated|ruled|excluded|unlikely|out"
    r"|untrue|less)\b"
    r"|(?i:isn't|aren't|can't|cannot|doesn't|don't|does not|do not|won't|wouldn't|fails?|contradicts?)\b)"
    r"|<S>[)\"']* ?[:-] (?i:wrong|incorrect|false|not)\b"
)
_THINGS = "点地车球城市校班厂国型类级股超卷语组区队极端角股罩轮"
_PART_OF = (
    r"\b(?i:vitamin|plan|hepatitis|type|group|fig(?:ure)?\.?|table|section|part|point|class|grade|step|case"
    r"|team|model|company"
    r"|country|person|line|angle|set|matrix|event|node|circle|triangle|side|region|train|box|variable"
    r"|appendix|schedule) <L>\b"
    r"|(?:[甲乙丙丁明红华]选|维生素|点|方案|集合|事件|角|矩阵|物体|公司|∠|°|△|[)A-Z0-9] ?[×÷∪∩∈]) ?<L>\b"
    r"|\b<L>-<L>\b|\b<L> ?\^|\b<L>\([a-z] ?[+,)-]"
    r"|\b<L>(?:[" + _THINGS + r"]|细胞|公司|物[体质]|同学|元素|[+]+|#|'[a-z]|-[a-z]|[.][A-Z]\b"
    r"| ?[=<>≤≥] ?[^\s]| ?[∈∪∩×÷→]| (?:minor|major|flat|sharp)\b| ?[+-] ?[A-Z0-9]\b)"
    r"|\b[A-Za-z]\(<L>(?:[|∩∪,] ?[A-Z])*\)"
)
_ARTICLE_BEFORE = (
    r"(\bA (?:because|since|as|is|was|are|and|or|but|seems?|looks?|would|should|must|due|given|based|so"
    r"|which|best)\b)"
)
_ARTICLE = r"\bA( [a-z]|'[a-z])"
_LETTER_I = r"(\bI (?:is|fits|seems|looks|works|matches|satisfies)\b)"  # no verb of the pronoun "I"
_PRONOUN = r"\bI([ ,][ a-z]|'[a-z])"

MARKED = r"^[ \n(\"<>{#^\p{So}-]*(<L>|<l>)[)}\"'<>.!?,:。 \n\p{So}\x{fe0f}]*$"
BOXED = r"□[{( ]*(?:\b(?i:answer|option|choice)\b|答案|选项)?[:{( \"']*<S>[)\"' ]*(?:\}|[.:)][^}=]*\}?|$)|□\{ *\(?<l>\)? *\}"
_CLOSE = r"[)\"' }]*(?:[.;:!。\n]|, ?(?:[^<IN> ]|$)|$|\b(?:because|since|as)\b|选?项|是?正确|是?对|因为)"
CUE = (
    r"(?:答 ?案|[正准]确的?(?:选项|一项|一个|说法)?[是为:]|(?:正确|错误?|有误|不当|恰当|准确|适当"
    r"|符合[^ 。,\n]{0,4}|合适|合理|属于[^ 。,\n]{0,8}|对)的"
    r"(?:一?项|选项|说法|答案|表述|叙述|描述|一个)*[是为:])(?:[ :=\n()\"'>^,-]|选择?"
    r"|[项是为应该当就只能有第]|最终|正确|的|选项)*(?:<S>|<LOWER>)"
    r"|选(?:择?(?:了|的)?(?:是|为)?(?:答案|正确)?(?:[ :(\"\n]|选项)*|择(?:选?项)?[ (\"]*)(?:<S>|<LOWER>)"
    r"|(?:所以|因此|因而|故而?|显然|综上(?:所述)?|于是|应该?[是为]|而是|就是|只能是|可知|可得|得出|推出|即"
    r"|定是|→|⇒|=>)"
    r"(?:[ ,:(\"'是选择项为应该有就]|只有)*<S><CLOSE>"
    r"|(?:只有|仅|唯有?)(?:选?项)?[ (\"]*<S>"
    r"|<S>[)\"' ]*(?:选?项)?[ ,]*(?:[是为]?(?:本题|此题|该题)?的?(?:正确|最佳)?的?答案"
    r"|[是为](?:本题|此题|该题)?的?(?:正确|最佳)?的?选项|(?:的|是)?(?:正确|最佳)的?选项"
    r"|[^<IN>。;\n]{0,20}符合题[意干])"
    r"|\b(?i:answers?|(?:correct|right|best|appropriate|likely) (?:option|choice|statement|one|selection"
    r"|response|letter)"
    r"|(?:incorrect|wrong|false|untrue|true|odd) (?:option|choice|statement|one|answer)[ ]?(?:is|:|out is)"
    r"|choose|chose|choosing|pick|select|go(?:ing)? with|opt for|filled (?:in )?with|(?:choice|option|guess|pick|selection"
    r"|conclusion)(?: is|:))"
    r"(?i:<FILL>)*(?:<S>|<LOWER>)"
    r"|\b(?i:so|thus|therefore|hence|consequently|it is|it's|must be|should be|this is|that's|that is"
    r"|leaves|left with|looks like|only|i'd say|would say|think|believe)\b"
    r"(?i:[ ,:(\"']|\b(?:it|is|it's|the|options?|choice|answer|must|be|with|us|only|probably|likely"
    r"|definitely)\b)*<S>(?:<CLOSE>| to me\b| (?:is (?:the|correct|right|true|best)|fits|works|satisfies|meets)\b| \()"
    r"|\b(?i:one|word|phrase|term|option|choice|statement)\b[^.\n]{1,80}? is [(\"']*<S><CLOSE>"
    r"|<S>,? it is(?:[.!]|$)"
    r"|<S>[)\"' .]*(?i:is|would be|must be|should be|as)(?: (?:clearly|indeed|definitely"
    r"|therefore))* (?i:the|my|our)(?: [a-z]+)? (?:answer|choice|option)\b"
    r"|(?:[^0-9][.]|[\n。!?;:])[ (\">#-]*<S>[)\"'.!。 ]*$"
)
_ASIDE = r"[)\"']*(?: \([^()\n]{1,80}\))?,?"  # B (its text)
_LOWER = r"\b<l>(?: ?(?:[,/]|and|or) ?<l>\b)*[ ]*(?:[.。)\"',;:!\n]|$|\b(?:because|since)\b)"
_FILL = (
    r"[ :=\n\"'(>#-]|\b(?:is|are|was|be|would|will|should|must|the|option|choice|letter|correct|right|best"
    r"|most|likely|probably"
    r"|clearly|definitely|therefore|thus|indeed|final|answer|here|actually|simply|appropriate|as follows"
    r"|to (?:this|the) question)\b"
    r"|to [^.\n:]{1,60}? is\b"
)
OPENING = (
    r"^[ \n(\">#^=-]*(<S>)[)\"']*(?:[.。);!]|[、,] ?(?:[^<IN> ]|$)|\n|$|:[^\n]| ?(?:because|since|as|is)\b"
    r"| - | \(|\((?:解|详解|分析|理由)|(?:选|因为|由于|理由|解析))"
)
VERDICT = (
    r"<S>[)\" ]*(?:选?项)?(?:[ ,:、是才为则最也就都均]|的|说法|表述|叙述|描述)*(?:正确|对(?:[的.,;!。\n ]"
    r"|$)|成立|恰当|准确|合适|合理|选[ .,。\n])"
    r"|<S><ASIDE> (?i:is|are|seems|looks|appears|must be|would be)(?: (?:the|also|indeed|clearly|definitely"
    r"|most|more|a|to be|both|all))*"
    r" (?i:correct|right|true|better|best|stronger|closest|valid|accurate)\b|<S>[)\"']* ?[:-] (?i:correct|right|true)\b"
)
UNDECIDED = (
    r"(?i)无法|不确定|不知道|不清楚|难以|都不|均不|都错|皆非|cannot|can't|unable|not able"
    r"|not sure|unsure|uncertain|don't know|do not know|the (?:options|choices) are|none of|not listed|sorry"
)
_LISTED = r"\b<L>[.、:)] ?[^\s]"
_SHORT = 60
_AT_END = r"<L>[)}\"' ]*(?:选?项)?吧?[.。!;, ]*(?:\n|$)"

Rule = Callable[..., pl.Expr]
"""Of a reply, a pattern and the offered letters it makes what the reply settles on, null for nothing."""
Step = Callable[[pl.Expr, str], pl.Expr]
"""Of a reply and the offered letters it makes a simpler reply."""


def apply_rules(read: pl.Expr, letters: str, steps: Sequence[Step], rules: Sequence[tuple[str, Rule, str]]) -> pl.Expr:
    """Simplify each reply step by step, then let the rules read it in their order until one of them finds something."""
    for step in steps:
        read = read.struct.with_fields(step(open_replies(), letters).alias("reply"))
    ways = [(name, partial(rule, pattern=build(pattern, letters), letters=letters)) for name, rule, pattern in rules]
    return settle(read, ways)


def as_letters(choices: Sequence[str]) -> str:
    """Return the offered letters as one string, checked."""
    if any(len(letter) != 1 for letter in choices) or not re.fullmatch("[A-Z]{2,}", "".join(choices)):
        raise RecipeError(f"extractor 'choice' needs choices that are capital letters, got {list(choices)}")
    return "".join(choices)


@cache
def build(pattern: str, letters: str) -> str:
    """Fill a pattern's placeholders for the offered letters."""
    parts = {"<ASIDE>": _ASIDE, "<FILL>": _FILL, "<CLOSE>": _CLOSE, "<LOWER>": _LOWER, "<S>": _ENUMERATION, "<IN>": letters}
    parts |= {"<L>": f"[{letters}]", "<l>": f"[{letters.lower()}]", "<1>": letters[0], "<2>": letters[1]}
    for name, part in parts.items():
        pattern = pattern.replace(name, part)
    return pattern.replace(r"\b", r"(?-u:\b)")


def strip(text: pl.Expr, letters: str) -> pl.Expr:
    """Take out thoughts."""
    return strip_thoughts(text)


def normal(text: pl.Expr, letters: str) -> pl.Expr:
    """Bring spellings together; cut stop tokens, a next question and echoed options."""
    reply = text.str.replace(_STOP, "").str.replace_many(SPELLINGS, leftmost=True).str.strip_chars()
    reply = reply.str.replace(build(_NEXT_QUESTION, letters), "${1}")
    return reply.str.replace_all(build(_OPTIONS_ECHO, letters), "")


def clean(reply: pl.Expr, letters: str) -> pl.Expr:
    """Take out rejected letters and letters that are part of something else; the groups are what stays."""
    rules = [f"({_KEEP})", _REJECTED, _ARTICLE_BEFORE, _PART_OF, _ARTICLE]
    if "I" in letters:
        rules += [_LETTER_I, _PRONOUN]
    kept = "${1}${2}${3}${4}${5}" if "I" in letters else "${1}${2}${3}"
    return reply.str.replace_all(build("|".join(rules), letters), kept)


def first(reply: pl.Expr, pattern: str, letters: str) -> pl.Expr:
    """Return group 1 of the first match."""
    return reply.str.extract(pattern)


def last(reply: pl.Expr, pattern: str, letters: str) -> pl.Expr:
    """Return the letters of the last match."""
    match = reply.str.extract_all(pattern).list.last()
    upper = match.str.extract(build("(<S>)", letters))
    return pl.coalesce(upper, match.str.extract(build(r"\b(<l>(?:[ ]?(?:[,/]|and|or) ?<l>\b)*)\b", letters)))


def only(reply: pl.Expr, pattern: str, letters: str) -> pl.Expr:
    """Return the letters of the matches where they all name the same."""
    matches = reply.str.extract_all(pattern).list.join(" ")
    named = matches.str.extract_all(build("<S>", letters)).list.unique()
    return pl.when(named.list.len() == 1).then(named.list.first())


def only_if_brief(reply: pl.Expr, pattern: str, letters: str) -> pl.Expr:
    """Do as ``only`` where the reply is short, ends in a letter, does not decline and lists no option."""
    ends_in_letter = reply.str.contains(build(_AT_END, letters))
    undecided = reply.str.contains(build(f"{_LISTED}|{UNDECIDED}", letters))
    brief = reply.str.len_chars() <= _SHORT
    return only(pl.when(brief & ends_in_letter & ~undecided).then(reply), pattern, letters)
