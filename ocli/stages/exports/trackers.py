"""A summary in an experiment tracker: Weights & Biases (``pip install 'ocli[wandb]'``), MLflow (``pip install 'ocli[mlflow]'``).

Each model is a run there: its conditions are the configuration, its scores the metrics, the rows a table. Where to and as whom is
said as these packages have it: WANDB_API_KEY, WANDB_MODE, WANDB_ENTITY; MLFLOW_TRACKING_URI and its user and password.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from ocli import __version__
from ocli.errors import OcliError, did_you_mean
from ocli.extras import need, package
from ocli.stages import tables
from ocli.stages.exports import only
from ocli.stages.exports.reading import Reading
from ocli.stages.report import Summary

COUNTS = ("n", "unanswered", "truncated", "failed")


def check_target(target: str) -> None:
    """Raise OcliError, before anything is read, where a tracker is not known or not installed."""
    name = target.partition(":")[0]
    if name not in TRACKERS:
        raise OcliError(
            f"--to {target}: unknown{did_you_mean(name, TRACKERS)} (known: {', '.join(TRACKERS)}, as in wandb:PROJECT)"
        )
    need(f"--to {name}", name, name)


def track(summary: Summary, target: str) -> Iterator[str]:
    """Send a summary to ``wandb``, ``mlflow``, or either with the name of a project or experiment; yield where it went."""
    name, _, project = target.partition(":")
    yield from TRACKERS[name](summary, project or "ocli")


def metrics(reading: Reading, label: str) -> dict[str, float]:
    """Return a model's numbers: ``task/metric`` with ``_stderr`` and ends of the interval, and how many items went which way."""
    found: dict[str, float | None] = {}
    for row in reading.means(label):
        name, told = f"{row.task or row.dataset}/{row.metric}", row.to_json()
        low, high = told["ci95"] or (None, None)
        found |= {name: told["score"], f"{name}_stderr": told["stderr"], f"{name}_ci95_low": low, f"{name}_ci95_high": high}
        if row.is_headline:
            found |= {f"{row.task}/{word}": told[word] for word in COUNTS}
    return {name: float(value) for name, value in found.items() if value is not None}


def _about(reading: Reading, label: str) -> dict[str, str]:
    run = reading.summary.sources[label].run
    return {"ocli": __version__, "recipe": reading.recipes[label].name, "run": str(run.path)}


def _wandb(summary: Summary, project: str) -> Iterator[str]:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers
    wandb: Any = package("--to wandb", "wandb", "wandb")
    reading = Reading(summary)
    for label in summary.models:
        run = summary.sources[label].run
        # The same id each time: a second report of a run updates what the first one has written.
        identity = hashlib.sha256(f"{run.path.resolve()}/{summary.sources[label].model}".encode()).hexdigest()[:16]
        config = {**dict(reading.conditions(label)), **_about(reading, label)}
        rows = [row.to_json() for row in summary.rows if row.model == label]
        columns = [name for name in rows[0] if name != "reference"] if rows else []
        cells = [[str(row[name]) if isinstance(row[name], list) else row[name] for name in columns] for row in rows]
        quiet = {"silent": True, "console": "off", "disable_git": True, "save_code": False, "x_save_requirements": False}
        settings = wandb.Settings(**quiet, x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True)
        try:
            with wandb.init(
                project=project, name=label, id=identity, resume="allow", group=reading.recipes[label].name[:128], config=config,
                allow_val_change=True, job_type="ocli", settings=settings,
                dir=os.environ.get("WANDB_DIR") or run.path / "logs",
            ) as there:  # fmt: skip
                there.summary.update(metrics(reading, label))
                there.log({"rows": wandb.Table(columns=columns, data=cells)})
                place = there.dir if there.offline else there.url
        except (wandb.errors.Error, OSError, ValueError) as error:
            raise OcliError(f"--to wandb: {_line(error)}") from None
        yield f"wandb: {label}: {place}"


def _mlflow(summary: Summary, experiment: str) -> Iterator[str]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # of 7 with pauses that double
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    mlflow: Any = package("--to mlflow", "mlflow", "mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    reading = Reading(summary)
    for label in summary.models:
        try:
            yield f"mlflow: {label}: {_mlflow_run(mlflow, reading, label, experiment)}"
        except (mlflow.exceptions.MlflowException, OSError) as error:
            raise OcliError(f"--to mlflow: {_line(error)}; MLFLOW_TRACKING_URI names the server") from None


def _mlflow_run(mlflow: Any, reading: Reading, label: str, experiment: str) -> str:
    """Make a run of one model; return where it is."""
    summary = reading.summary
    client = mlflow.MlflowClient()
    known = client.get_experiment_by_name(experiment)
    where = known.experiment_id if known else client.create_experiment(experiment)
    tags = {f"ocli.{name}": text for name, text in _about(reading, label).items()}
    made = client.create_run(where, run_name=label, tags=tags).info
    now = int(time.time() * 1000)
    numbers = [mlflow.entities.Metric(_key(name), value, now, 0) for name, value in metrics(reading, label).items()]
    params = [mlflow.entities.Param(_key(name), text[:6000]) for name, text in reading.conditions(label)]
    for start in range(0, max(len(numbers), len(params)), 100):  # MLflow takes 100 params and 1000 metrics at once
        client.log_batch(made.run_id, metrics=numbers[start : start + 100], params=params[start : start + 100])
    one = only(summary, [label])
    for name, text in (("summary.md", tables.to_markdown(one)), ("summary.json", one.to_json())):
        client.log_text(made.run_id, text, name)
    client.set_terminated(made.run_id)
    return f"experiment {experiment}, run {made.run_id}"


TRACKERS: dict[str, Callable[[Summary, str], Iterator[str]]] = {"wandb": _wandb, "mlflow": _mlflow}


def _key(name: str) -> str:
    """Return a name of characters that MLflow takes: ``pass@2`` is ``pass_2``."""
    return re.sub(r"[^\w.\- :/]", "_", name)[:250]


def _line(error: Exception) -> str:
    """Return the first line of an error, without a user and password in a URL."""
    text = str(error).strip() or type(error).__name__
    return re.sub(r"//[^/@\s]*@", "//", text.splitlines()[0])
