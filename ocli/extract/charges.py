"""Read the charges that a reply names; of one that lists alternatives (走私、贩卖、运输、制造毒品) some are enough (贩卖毒品罪).

LawBench asks for "[罪名]盗窃;诈骗<eoa>". The reply is cut in pieces at punctuation, at 罪 and at 构成. A piece is the charges it
consists of, or else the shortest charge with alternatives of which it is a part that begins as one of them does; before 罪 its
end may be either. Else it is what its own parts between 、 are, or has the charges that stand in it. The cases are in
``tests/cases/extract/charges.json``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from ocli.extract._expr import each_reply
from ocli.extract.labels import affirmed, as_labels, marked
from ocli.extract.ways import ByWays, Way, settle, unread
from ocli.registry import extractor

# 罪 ends a charge, but not in 犯罪所得 or 罪名.
_PIECE_ENDS = re.compile(r"(罪)(?!所得|方法|分子|嫌|责|名|行|犯)|[;；，,。：:\s\[\]【】（）()<>“”\"]|构成了?|触犯了?|涉嫌")
_LINKS = "、和及与 "
_SHORTEST = 4
"""Characters of a charge's part that are enough to know it by."""


@extractor.promising(
    "{}", "{}。", "**{}**", "[罪名]{}<eoa>", "[罪名] {} <eoa>", "【罪名】{}", "[罪名]\n{}", "[罪名]**{}**<eoa>",
    "[罪名]：{}罪[eoa]", "罪名：{}", "罪名:{}。", "被告人的行为构成{}罪。", "被告人触犯{}罪，应予处罚。",
    "<think>先看案情，再作判断。</think>\n\n[罪名]{}<eoa>",
)  # fmt: skip
@ByWays
def charges(text: pl.Expr, choices: Sequence[str], *, labels: Sequence[str] = ()) -> pl.Expr:
    """Return the charges the reply names, in the order of the list, joined by ";"; null where it names none.

    ``labels`` are all charges (lists in the list are opened); default: the task's choices.
    """
    reader = _Charges(as_labels("charges", labels or choices))
    ways: list[tuple[str, Way]] = [
        ("marked", lambda reply: each_reply(marked(reply), reader.read)),
        ("anywhere", lambda reply: each_reply(reply, reader.read)),
    ]
    return settle(unread(affirmed(text)), ways)


class _Charges:
    """All charges, and what each of those with alternatives looks like."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._exact = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
        self._listing = sorted((name for name in names if "、" in name), key=len)

    def read(self, text: str) -> str | None:
        """Return the charges of a text, joined; None for none."""
        cut = _PIECE_ENDS.split(text)
        found = {name for piece, end in zip(cut[::2], [*cut[1::2], None], strict=True) for name in self._piece(piece, bool(end))}
        return ";".join(name for name in self._names if name in found) or None

    def _piece(self, piece: str, before_guilt: bool) -> list[str]:
        piece = piece.strip(_LINKS)
        for start in range(len(piece) if before_guilt else 1):
            head, end = piece[:start], piece[start:]
            if end[:1] not in _LINKS and (found := self._all_of(end)):
                return [*self._piece(head, head[-1:] in _LINKS), *found] if head else found
        pieces = piece.split("、")
        if len(pieces) == 1:
            return self._exact.findall(piece)
        return [name for one in pieces for name in self._piece(one, before_guilt)]

    def _all_of(self, piece: str) -> list[str]:
        """Return the charges that the piece consists of, or else the one with alternatives that it is a part of."""
        if not self._exact.sub("", piece).strip(_LINKS):
            return self._exact.findall(piece)
        listing = self._listing_of(piece)
        return [listing] if listing else []

    def _listing_of(self, piece: str) -> str | None:
        """Return the shortest charge with alternatives that the piece is a part of."""
        bare = piece.replace("、", "")
        for name in self._listing:
            ways = name.split("、")
            begins = any(piece.startswith(way[:2]) for way in ways)
            if len(bare) >= _SHORTEST and begins and _within(bare, name):
                return name
            if piece in ways and all(len(way) == len(piece) for way in ways):  # 窝藏、包庇
                return name
        return None


def _within(part: str, whole: str) -> bool:
    """Say whether the characters of ``part`` stand in ``whole`` in their order."""
    signs = iter(whole)
    return all(sign in signs for sign in part)
