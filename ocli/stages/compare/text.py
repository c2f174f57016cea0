"""A comparison as text: for a terminal of 80 columns, plain in a pipe, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, chop_cells

from ocli.stages.compare.comparison import Comparison, Task
from ocli.stages.compare.difference import Measured
from ocli.stages.compare.flips import Flip, Said
from ocli.stages.tables import aligned, in_cell
from ocli.terminal import printable

WIDTH = 80
SUBSETS = 8
"""Subsets whose flips are listed; the others are counted."""
QUESTION, REPLY = 2, 3
"""Lines of a question's end, of a reply."""


def verdict(measured: Measured) -> str:
    """Say in words whether one is better."""
    unit = measured.unit
    if measured.shown:
        low, high = _towards(measured)
        better = "B" if measured.gain > 0 else "A"
        size = f"{_size(abs(measured.difference), unit)} {unit}, 95 % interval {_size(low, unit)} to {_size(high, unit)}"
        return f"{better} is better by {size}, {_p(measured)}"
    if measured.spread is None and measured.difference == 0 and not measured.worse + measured.better:
        return "no difference at all: every item has the same score on both sides, 95 % interval 0 to 0, p = 1"
    if measured.interval is None:
        return f"no difference can be shown: one {measured.drawn[:-1]} alone has no spread"
    could = f"; this n could show {_size(measured.smallest, unit)} {unit}" if measured.smallest else ""
    interval = f"95 % interval {_signed(measured.interval[0], unit)} to {_signed(measured.interval[1], unit)}"
    return f"no difference shown ({_signed(measured.difference, unit)} {unit}, {interval}, {_p(measured)}){could}"


def lines(comparison: Comparison) -> Iterator[str]:
    """Yield the comparison in lines of at most ``WIDTH`` columns."""
    yield from _head(comparison)
    for task in comparison.tasks:
        yield ""
        yield from _block(task)
        if task.verdict and len(comparison.tasks) > 1:
            yield f"  {task.verdict}"
        for flip in task.flips.shown:
            yield ""
            yield from _flip(flip)
    if comparison.verdict is not None:
        yield ""
        yield from _wrapped(_judged(comparison), "  ")


def _head(comparison: Comparison) -> Iterator[str]:
    """Yield who is compared, and under which conditions each was asked."""
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        yield from _wrapped(f"{letter}  {side.label}, {side.run.path}", "   ")
    for reason in comparison.reasons:
        yield from _wrapped(f"NOT COMPARABLE: {reason}", "  ")
    for remark in comparison.remarks:
        yield from _wrapped(f"ASKED OTHERWISE: {remark}", "  ")
    yield ""
    if comparison.settings:
        yield "settings that differ, largest typical effect first"
        for name, one, other in comparison.settings:
            yield from _wrapped(f"  {name}: {one}  ->  {other}", "      ")
    else:
        yield "no setting on record differs"
    if comparison.untold:
        yield from _wrapped(f"on record of one side alone: {', '.join(comparison.untold)}", "  ")


def _block(task: Task) -> Iterator[str]:
    measured = task.measured
    over = f", {measured.average}" if measured.average else ""
    yield from _wrapped(f"{measured.task}: {measured.metric}{over}, {_counted(measured.n, 'item')}", "  ")
    yield from _wrapped(f"  {verdict(measured)}", "  ")
    rows = [_side(letter, measured, number) for number, letter in enumerate("AB")]
    yield from (f"  {line}" for line in aligned(rows, right=(1,)))
    if measured.adjusted_p is not None:
        yield f"  p for being one of several tasks (Holm): {_number(measured.adjusted_p)}"
    for line in _details(task):
        yield from _wrapped(f"  {line}", "    ")


def _counted(number: float, noun: str) -> str:
    return f"{number:.10g} {noun}{'' if number == 1 else 's'}"


def _side(letter: str, measured: Measured, number: int) -> tuple[str, ...]:
    counts = measured.counts[number]
    wrong = [f"{word} {counts[word]}" for word in ("unanswered", "truncated", "failed") if counts[word]]
    only = [f"{measured.only[number]} scored here alone"] if measured.only[number] else []
    return letter, _score(measured.scores[number]), ", ".join(wrong + only)


def _details(task: Task) -> Iterator[str]:
    measured = task.measured
    if measured.lower_is_better:
        yield f"B is worse on {measured.worse} texts, better on {measured.better}"
    else:
        right = "right to wrong", "wrong to right"
        words = right if measured.test == "McNemar" else ("lower", "higher")
        yield f"flipped: {measured.worse} {words[0]}, {measured.better} {words[1]}"
        several = [(name, *both) for name, both in task.flips.subsets.items()]
        several.sort(key=lambda row: -row[1] - row[2])
        if several:
            more = f", and {len(several) - SUBSETS} subsets more" if len(several) > SUBSETS else ""
            yield "in " + ", ".join(f"{name} {worse}:{better}" for name, worse, better in several[:SUBSETS]) + more
    if measured.shown and measured.smallest:
        size = f"{_size(measured.smallest, measured.unit)} {measured.unit}"
        yield f"this n could show {size} with 80 % power, over {measured.draws} {measured.drawn}"


def _judged(comparison: Comparison) -> str:
    """Say what the tolerance makes of it all, and what would help where it cannot say."""
    tolerance = comparison.tolerance or 0.0
    tasks = [task for task in comparison.tasks if task.verdict == comparison.verdict]
    names = ", ".join(task.measured.task for task in tasks)
    if comparison.verdict == "FAIL":
        noise = [task.measured.task for task in tasks if not task.measured.shown]
        doubt = f" (within what chance can do: {', '.join(noise)})" if noise else ""
        return f"FAIL: B is worse than A by more than {_counted(tolerance, 'point')}: {names}{doubt}"
    if comparison.verdict == "PASS":
        without = [task.measured.task for task in tasks if task.measured.counts[1]["failed"]]
        but = f"; failed items of B are not in it: {', '.join(without)}" if without else ""
        unjudged = [task.measured.task for task in comparison.tasks if task.verdict is None]
        but += f"; not judged, being a perplexity: {', '.join(unjudged)}" if unjudged else ""
        return f"PASS: B is not worse than A by more than {_counted(tolerance, 'point')}{but}"
    needed = [needed for task in tasks if (needed := task.measured.needed(tolerance))]
    help_ = f"; about {max(needed)} items could" if needed else ""
    return f"INCONCLUSIVE: too few items to show a loss of {_counted(tolerance, 'point')}: {names}{help_}"


def _flip(flip: Flip) -> Iterator[str]:
    direction = "worse" if (flip.said[1].score or 0.0) < (flip.said[0].score or 0.0) else "better"
    sample = f", sample {flip.sample}" if flip.sample else ""
    yield from _wrapped(f"  {flip.id}{sample}: B is {direction}; right is {_short(flip.target or '-', 60)}", "    ")
    if flip.question:
        yield from _boxed("...", _end(flip.question, QUESTION))
    for letter, said in zip("AB", flip.said, strict=True):
        yield f"    {letter}: {_answer(said)}"
        if said.reply is not None:
            yield from _boxed("|", _start(said.reply, REPLY))


def _answer(said: Said) -> str:
    score = "no score" if said.score is None else f"{100 * said.score:.4g}"
    status = "" if said.status == "ok" else f", {said.status}"
    return f"{'no answer' if said.answer is None else _short(said.answer, 50)} ({score}{status})"


def _boxed(mark: str, rows: list[str]) -> Iterator[str]:
    yield from (f"      {mark if number == 0 or mark == '|' else '   '} {row}" for number, row in enumerate(rows))


def _start(text: str, most: int) -> list[str]:
    rows = _rows(text)
    return [*rows[:most], *(["..."] if len(rows) > most else [])]


def _end(text: str, most: int) -> list[str]:
    return _rows(text[-WIDTH * most :])[-most:]


def _rows(text: str) -> list[str]:
    """Break a text of any script into rows that fit."""
    return [row.strip() for row in chop_cells(_words(text), WIDTH - 12)] or ["(empty)"]


def _short(text: str, width: int) -> str:
    words = _words(text)
    return words if cell_len(words) <= width else f"{chop_cells(words, width - 3)[0]}..."


def _words(text: str) -> str:
    """Return as much of a text as can matter here; runs of white space are one space, control characters are shown."""
    return printable(" ".join(text[: WIDTH * 40].split()))


def _wrapped(text: str, indent: str) -> Iterator[str]:
    """Break a line between words; a word that is longer than a line, as Chinese ones are, anywhere."""
    row = printable(text)[: len(text) - len(text.lstrip())]
    for word in printable(text).split():
        joined = f"{row} {word}" if row.strip() else f"{row}{word}"
        if cell_len(joined) <= WIDTH:
            row = joined
            continue
        if row.strip():
            yield row
        *whole, rest = chop_cells(word, WIDTH - len(indent)) or [""]
        yield from (f"{indent}{part}" for part in whole)
        row = f"{indent}{rest}"
    yield row


def _towards(measured: Measured) -> tuple[float, float]:
    """Return the interval of how much the better one is better."""
    low, high = sorted(map(abs, measured.interval or (0.0, 0.0)))
    return low, high


def _p(measured: Measured) -> str:
    """Say p; McNemar's counts items, so where these are not independent and alike, the difference's own is said too."""
    said = _equal(measured.p or 0.0)
    if measured.draws_p is None:
        return said
    return f"{said} by items, {_equal(measured.draws_p)} by {'the mean' if measured.drawn == 'items' else measured.drawn}"


def _equal(p: float) -> str:
    return f"p = {_number(p)}" if p >= 1e-4 else "p < 0.0001"


def _number(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "below 0.0001"


def _size(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f}" if unit == "points" else f"{value:.3g}"


def _signed(value: float, unit: str) -> str:
    return f"{value:+.1f}" if unit == "points" else f"{value:+.3g}"


def _score(value: float) -> str:
    return f"{value:.2f}"


HEAD = (
    "task", "metric", "n", "A", "B", "B - A", "95 % interval", "p", "Holm", "could show", "right to wrong", "wrong to right",
)  # fmt: skip


def to_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown; what models said stands in indented code."""
    warnings = [f"- NOT COMPARABLE: {in_cell(reason)}" for reason in comparison.reasons]
    warnings += [f"- ASKED OTHERWISE: {in_cell(remark)}" for remark in comparison.remarks]
    rows = [f"A: {in_cell(comparison.a.label)}, B: {in_cell(comparison.b.label)}", "", *warnings, *([""] if warnings else [])]
    rows += [_line(HEAD), "|" + " --- |" * 2 + " ---: |" * (len(HEAD) - 2)]
    rows += [_line(_cells(task.measured)) for task in comparison.tasks]
    rows += ["", *(f"- {task.measured.task}: {verdict(task.measured)}" for task in comparison.tasks)]
    if comparison.verdict is not None:
        rows.append(f"- {_judged(comparison)}")
    if comparison.settings:
        rows += ["", _line(["setting", "A", "B"]), "|" + " --- |" * 3]
        rows += [_line([in_cell(text) for text in setting]) for setting in comparison.settings]
    for flip in (flip for task in comparison.tasks for flip in task.flips.shown):
        rows += ["", *(f"    {line}" for line in _flip(flip))]
    return "\n".join([*rows, ""])


def _cells(measured: Measured) -> list[str]:
    unit = measured.unit
    interval = "-" if measured.interval is None else " to ".join(_signed(end, unit) for end in measured.interval)
    scores = [*map(_score, measured.scores), _signed(measured.difference, unit), interval]
    return [
        in_cell(measured.task), in_cell(measured.metric), str(measured.n), *scores,
        *("-" if p is None else _number(p) for p in (measured.p, measured.adjusted_p)), _size(measured.smallest, unit),
        str(measured.worse), str(measured.better),
    ]  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
