"""Spans of token ids as trees: what spans share is there once. And which trees are worth computing together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ocli.likelihood import Ids, Span, common

PASS = 512
"""What a forward costs beside its tokens, in tokens: a guess between a small model on a CPU and a large one on a GPU."""
MASK = 1 << 27
"""Entries of a batch's attention mask."""


class Tree:
    """Spans of which each begins as the others do. A node is a token after all its ancestors; nodes are in preorder.

    ``ids``, ``depth`` (how many ancestors) and ``end`` (the index after the last descendant) have an entry a node. A span's last
    id predicts nothing and is no node. ``paths`` has the nodes of each span, ``stem`` the ids that all of them go through.
    """

    def __init__(self, span: Span) -> None:
        self.ids: list[int] = []
        self.depth: list[int] = []
        self.end: list[int] = []
        self.paths: dict[Span, list[int]] = {}
        self.stem: Ids = span.ids[:-1]
        self._last: Ids = ()
        self.add(span)

    def shares(self, span: Span) -> bool:
        """Whether a span has more in common with the last one than it differs in."""
        return 2 * common(self._last, span.ids[:-1]) >= min(len(self._last), len(span.ids) - 1)

    def add(self, span: Span) -> None:
        """Add a span; spans come in the order of their ids, so that those that begin alike are neighbours."""
        line = span.ids[:-1]
        kept = common(self._last, line)
        size = len(self.ids) + len(line) - kept
        above = self.paths[next(reversed(self.paths))][:kept] if self.paths else []
        path = [*above, *range(len(self.ids), size)]
        self.ids += line[kept:]
        self.depth += range(kept, len(line))
        self.end += [0] * (len(line) - kept)
        for node in path:
            self.end[node] = size
        self.stem = self.stem[: common(self.stem, line)]
        self.paths[span], self._last = path, line


def trees_of(spans: Sequence[Span]) -> list[Tree]:
    """Return the trees of a request's spans; those that share little (as a choice after a baseline does) have their own."""
    trees: list[Tree] = []
    for span in sorted(spans, key=lambda span: span.ids):
        if trees and trees[-1].shares(span):
            trees[-1].add(span)
        else:
            trees.append(Tree(span))
    return trees


def lines_of(tree: Tree) -> list[Tree]:
    """Return the tree's spans as trees without branches: a span goes with one that it goes on from."""
    lines: list[Tree] = []
    for span in sorted(tree.paths, key=lambda span: span.ids[:-1]):
        if lines and span.ids[: len(lines[-1].ids)] == tuple(lines[-1].ids):
            lines[-1].add(span)
        else:
            lines.append(Tree(span))
    return lines


def stem_of(trees: Sequence[Tree]) -> Ids:
    """Return the ids that all spans of some trees go through."""
    return trees[0].stem[: min(common(trees[0].stem, tree.stem) for tree in trees)]


def pick(trees: Sequence[Tree], rows: int, tokens: int) -> list[int]:
    """Return the indices of the trees to compute now: at most so many rows, of so many tokens with what pads them.

    The first tree, which waits longest, says what the batch begins with: so much that its rows cost least when that is computed
    once (as a rule the few-shot examples of its subset), and the neighbours of others are not lost to them. Of those that begin
    so the longest go, as many as make padding cheap.
    """
    alike = [common(trees[0].stem, tree.stem) for tree in trees]
    pairs = [0, *(common(one.stem, other.stem) for one, other in pairwise(trees)), 0]
    best, shared = float("inf"), 0
    for length in sorted(set(alike), reverse=True):
        lost = [max(0, *pairs[at : at + 2]) - length for at, begins in enumerate(alike) if begins >= length]
        cost = (PASS + length) / min(len(lost), rows) - length + sum(max(0, each) for each in lost) / len(lost)
        if cost < best:
            best, shared = cost, length
    pool = sorted((index for index, length in enumerate(alike) if length >= shared), key=lambda i: -len(trees[i].ids))
    widest = len(trees[pool[0]].ids)
    room = min(rows, tokens // widest, MASK // (widest * (widest - shared + 1)))
    best, size, useful = float("inf"), 1, 0
    for number, index in enumerate(pool[: max(1, room)], start=1):
        useful += len(trees[index].ids) - shared + 1
        cost = (PASS + number * (widest - shared + 1)) / useful
        if cost < best:
            best, size = cost, number
    return pool[:size]
