"""Forms of a summary for other programs: papers, spreadsheets, model cards, lm-eval's readers, experiment trackers.

A form is a function from a summary to text or bytes. What it needs beyond ocli's core it imports itself, when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ocli.errors import OcliError, did_you_mean, one_of
from ocli.stages import tables
from ocli.stages.exports.latex import to_latex
from ocli.stages.exports.lm_eval import to_lm_eval
from ocli.stages.exports.model_card import to_model_card
from ocli.stages.exports.parquet import to_parquet
from ocli.stages.exports.xlsx import to_xlsx
from ocli.stages.report import Summary


@dataclass(frozen=True)
class Form:
    """How a summary is written: by what, into a file of which suffix, and whether a document holds one model."""

    write: Callable[[Summary], str | bytes]
    suffix: str
    page: str | None = None
    """The file below ``summary/`` that it is written to where nobody says another; None: it is text and is printed."""
    single: bool = False

    def content(self, summary: Summary) -> bytes:
        """Return what is written to a file."""
        made = self.write(summary)
        return made if isinstance(made, bytes) else made.encode()


def _html(summary: Summary) -> str:
    from ocli.stages.html import to_html

    return to_html(summary)


FORMS = {
    "table": Form(tables.to_text, "txt"),
    "csv": Form(tables.to_csv, "csv"),
    "md": Form(tables.to_markdown, "md"),
    "json": Form(Summary.to_json, "json"),
    "html": Form(_html, "html", page="report.html"),
    "latex": Form(to_latex, "tex"),
    "parquet": Form(to_parquet, "parquet", page="summary.parquet"),
    "xlsx": Form(to_xlsx, "xlsx", page="summary.xlsx"),
    "lm-eval": Form(to_lm_eval, "json", single=True),
    "model-card": Form(to_model_card, "md", single=True),
}
"""By the name that ``--format`` takes."""


def form_of(name: str) -> Form:
    """Return a form; raise OcliError with the nearest names."""
    one_of("--format", name, FORMS)
    return FORMS[name]


def only(summary: Summary, models: Sequence[str]) -> Summary:
    """Return a summary of some of its models; raise OcliError where one is not there."""
    for name in models:
        if name not in summary.models:
            near = did_you_mean(name, summary.models)
            raise OcliError(f"-m {name}: the report has no such model{near} (it has: {', '.join(summary.models)})")
    kept = [name for name in summary.models if name in models]
    return replace(
        summary,
        models=kept,
        rows=[row for row in summary.rows if row.model in kept],
        spent={name: spent for name, spent in summary.spent.items() if name in kept},
        sources={name: source for name, source in summary.sources.items() if name in kept},
        unasked=[(name, task) for name, task in summary.unasked if name in kept],
    )
