"""The scores of one model as the ``model-index`` of a Hugging Face model card, by huggingface_hub.

The block goes to the top of the model's ``README.md``. Scores are between 0 and 100, as in the table. A model index has no place
for an interval or a number of items, so a metric's name says them.
"""

from __future__ import annotations

from ocli.errors import OcliError
from ocli.stages.exports.reading import Reading
from ocli.stages.report import Summary, SummaryRow


def to_model_card(summary: Summary) -> str:
    """Return the YAML block of the one model that the summary has."""
    from huggingface_hub import EvalResult, ModelCardData

    [label] = summary.models
    reading = Reading(summary)
    found = []
    for row in reading.means(label):
        task = reading.task(row)
        if task is None or row.task is None or row.to_json()["score"] is None or row.average == "micro":
            continue
        dataset = task.data.hub or task.data.modelscope or row.task
        result = EvalResult(
            task_type="text-generation", task_name="Text generation", dataset_type=dataset,
            dataset_name=dataset.rpartition("/")[2], dataset_split=task.data.splits.test, dataset_revision=task.data.revision,
            metric_type=reading.metric(row), metric_name=_named(row, task.fewshot.count), metric_value=round(row.score or 0.0, 2),
        )  # fmt: skip
        found.append(result)
    if not found:
        raise OcliError(f"--format model-card: {label} has no score yet")
    card = ModelCardData(model_name=label, eval_results=found)
    return f"---\n{card.to_yaml(line_break=chr(10))}\n---\n"


def _named(row: SummaryRow, shots: int) -> str:
    """Say what was measured and how sure it is: ``ceval_gen accuracy, 5-shot, gen, 95 % interval 70.00 to 72.00, n = 1346``."""
    interval = f", 95 % interval {row.ci95[0]:.2f} to {row.ci95[1]:.2f}" if row.ci95 else ""
    failed = f", {row.failed} failed" if row.failed else ""
    return f"{row.task} {row.metric}, {shots}-shot, {row.mode}{interval}, n = {row.n}{failed}"
