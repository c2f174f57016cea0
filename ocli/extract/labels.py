"""Read which of a list of labels a reply names: the classes of a text, the events it tells of.

LawBench asks for "[类别]不动产分割、有夫妻共同财产<eoa>". What stands behind the last such mark before ``<eoa>`` is the answer;
without one, what stands behind the only line's beginning "类别："; without that, all that the reply names. A longer label hides
the shorter one within it (合同诈骗 is no 诈骗), and what is denied (不构成盗窃) is not named. The cases are in
``tests/cases/extract/labels.json``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from ocli.errors import RecipeError
from ocli.extract._expr import or_null
from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import ByWays, Way, settle, unread
from ocli.registry import extractor

_SPELLINGS = {"／": "/", " / ": "/", "**": "", "__": "", "`": "", "\r": "", "\u200b": ""}
_DENIED = r"(?:不构成|不成立|不属于|不涉及|没有触发|未触发|不是|并非|而非|而不是|排除)[^，。；,;\n<]*"
_MARK = r"[\[【](?:正确)?(?:答案|类别|标签|争议焦点|罪名|事件)(?:类别)?[\]】]"
_MARKED = rf"(?s)^.*{_MARK}[ :：]*([^\n<\[【 ][^\n<\[【]*|\n.*)"
_LINE = r"(?m)^[ \d.、#>-]*(?:最终|正确)?(?:答案|类别|标签|争议焦点|罪名)(?:类别)?[:：] *([^\n]+|\n+[^\n]+)"
_CUE = r"(?s)^.*(?:答案|类别|标签|焦点|归[为类]|属于|分类)[^。\n]{0,6}?(?:[是为:：于]|属于)([^\n。]*)"


@extractor.promising(
    "{}", "{}。", "**{}**", "[类别]{}<eoa>", "[类别] {} <eoa>", "【类别】{}", "[类别]\n{}", "[争议焦点]**{}**<eoa>",
    "[答案]：{}[eoa]", "类别：{}", "答案是{}。", "该句触发的事件为：{}。", "<think>先看案情，再作判断。</think>\n\n[类别]{}<eoa>",
)  # fmt: skip
@ByWays
def labels(text: pl.Expr, choices: Sequence[str], *, labels: Sequence[str] = (), single: bool = False) -> pl.Expr:
    """Return the labels the reply names, in the order of the list, joined by ";"; null where it names none.

    ``labels`` are those on offer (lists in the list are opened); default: the task's choices. With ``single`` one is right: where
    the reply names several without a mark, that of its last phrase ("争议焦点是") counts, and still several are null.
    """
    offered = as_labels("labels", labels or choices)

    def named(part: pl.Expr) -> pl.Expr:
        found = _named(part, offered)
        return _only(found) if single else found

    ways: list[tuple[str, Way]] = [("marked", lambda reply: named(marked(reply))), ("anywhere", named)]
    if single:
        ways.append(("answer phrase", lambda reply: named(reply.str.extract(_CUE))))
    return settle(unread(affirmed(text)), ways)


@extractor
def lawbench_labels(text: pl.Expr, choices: Sequence[str], *, labels: Sequence[str] = ()) -> pl.Expr:
    """Return every label that occurs anywhere in the raw reply, as LawBench reads it (``multi_choice_judge``, ``compute_wbfl``).

    A label within a longer one counts as named, and so does a label that is denied.
    """
    offered = as_labels("lawbench_labels", labels or choices)
    found = [pl.when(text.str.contains(label, literal=True)).then(pl.lit(label)) for label in offered]
    return or_null(pl.concat_str(found, separator=";", ignore_nulls=True))


def affirmed(text: pl.Expr) -> pl.Expr:
    """Return the reply up to ``<eoa>``, without thoughts and without what it denies."""
    reply = strip_thoughts(text).str.replace(r"(?s)[<\[]eoa[>\]].*$", "")
    return reply.str.replace_many(_SPELLINGS, leftmost=True).str.replace_all(_DENIED, "")


def marked(reply: pl.Expr) -> pl.Expr:
    """Return what stands behind the last mark, else behind the line's beginning that is one, if there is but one.

    It ends with the line; behind a mark with nothing beside it, it is all lines below.
    """
    alone = reply.str.count_matches(_LINE) == 1
    return pl.coalesce(reply.str.extract(_MARKED), pl.when(alone).then(reply.str.extract(_LINE)))


def _named(text: pl.Expr, offered: Sequence[str]) -> pl.Expr:
    """Return the labels that stand in the text, each once, in the order of the list; null for none."""
    longest_first = sorted(offered, key=len, reverse=True)
    found = text.str.extract_all("|".join(map(re.escape, longest_first))).list.unique()
    order = {label: place for place, label in enumerate(offered)}
    places = found.list.eval(pl.element().replace_strict(order, return_dtype=pl.Int64)).list.sort()
    named = places.list.eval(pl.element().replace_strict({v: k for k, v in order.items()}, return_dtype=pl.String))
    return or_null(named.list.join(";"))


def _only(named: pl.Expr) -> pl.Expr:
    return pl.when(~named.str.contains(";", literal=True)).then(named)


def as_labels(name: str, labels: Sequence[str]) -> Sequence[str]:
    """Return the labels on offer, each a text; lists within the list are opened, so that one list may hold another."""
    parts = [labels] if isinstance(labels, str) else labels
    offered = [label for part in parts for label in (part if isinstance(part, list) else [part])]
    if isinstance(labels, str) or not offered or not all(isinstance(label, str) and label for label in offered):
        raise RecipeError(f"extractor {name!r} needs the option labels, a list of texts, or a task with choices; got {labels!r}")
    return offered
