r"""The summary as a LaTeX table: ``booktabs`` (part of every TeX distribution), models as columns, tasks by capability."""

from __future__ import annotations

import math
from itertools import groupby

from ocli import __version__
from ocli.stages.exports.reading import Reading
from ocli.stages.report import Summary, SummaryRow
from ocli.stages.tables import notes, table_lines
from ocli.terminal import printable

_SPECIAL = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "-": "{-}", "[": "{[}", "]": "{]}",
})  # fmt: skip


def escaped(text: str) -> str:
    """Return a text that LaTeX prints as it is, in one line; hyphens do not join to dashes."""
    return " ".join(printable(text).translate(_SPECIAL).split())


def to_latex(summary: Summary) -> str:
    """Return the table: scores with the distances to both ends of their 95 % interval, the best bold, notes as comments."""
    reading = Reading(summary)
    columns = len(summary.models) + 1
    lines = [
        f"% ocli {__version__}: {_comment(summary.recipe)}",
        r"% \usepackage{booktabs,textcomp} and \usepackage[T1]{fontenc}; Chinese names need XeLaTeX and \usepackage{xeCJK}",
        rf"\begin{{tabular}}{{l{'r' * len(summary.models)}}}",
        r"\toprule",
        " & ".join(["", *map(escaped, summary.models)]) + r" \\",
    ]
    marked = False
    heads = [cells for _, cells in table_lines(summary) if _is_shown(next(iter(cells.values())))]
    for capability, group in groupby(heads, key=lambda cells: _capability(next(iter(cells.values())), summary)):
        lines += [r"\midrule", rf"\multicolumn{{{columns}}}{{l}}{{\textit{{{escaped(capability)}}}}} \\"]
        for cells in group:
            best = reading.best(cells)
            row = next(iter(cells.values()))
            texts = [_score(cells.get(model), model in best) for model in summary.models]
            marked |= any(map(_lacks, cells.values()))
            name = row.task or "mean"
            lines.append(" & ".join([f"{escaped(name)}, {escaped(row.metric)}" if row.task else name, *texts]) + r" \\")
    lines.append(r"\bottomrule")
    if marked:
        lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\footnotesize $^\dagger$ some of its items have no score}} \\")
    lines += [r"\end{tabular}", *(f"% {_comment(note)}" for note in notes(summary))]
    return "\n".join(lines) + "\n"


def _is_shown(row: SummaryRow) -> bool:
    return row.is_headline or row.task is None


def _capability(row: SummaryRow, summary: Summary) -> str:
    return summary.capabilities[row.task] if row.task else row.dataset


def _score(row: SummaryRow | None, best: bool) -> str:
    """Return a cell: ``$71.20^{+1.08}_{-1.12}$``."""
    if row is None or row.score is None:
        return "--"
    if not math.isfinite(row.score):
        return r"$\infty$"
    number = f"{row.score:.2f}"
    number = rf"\mathbf{{{number}}}" if best else number
    if row.ci95 and all(map(math.isfinite, row.ci95)):
        up, down = (max(0.0, distance) for distance in (row.ci95[1] - row.score, row.score - row.ci95[0]))
        number += f"^{{+{up:.2f}}}_{{-{down:.2f}}}"
    return f"${number}$" + (r"$^\dagger$" if _lacks(row) else "")


def _lacks(row: SummaryRow) -> bool:
    return row.score is not None and bool(row.failed or (row.subsets and row.subsets[0] < row.subsets[1]))


def _comment(text: str) -> str:
    return " ".join(printable(text).split())
