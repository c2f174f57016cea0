"""Score the predictions of a run: no model, no network, no torch."""

from __future__ import annotations

import io
from collections.abc import Callable

import polars as pl

from ocli.errors import RunError
from ocli.runs import Run, write_whole
from ocli.scoring import read_replies, score_replies
from ocli.stages.submission import write_submission

Say = Callable[[str], None]


def score(run: Run, say: Say) -> int:
    """Write ``results/<model>/<task>.parquet`` for every model and task; return how many items could not be scored.

    Of a task whose labels are not public, the answers are written for whoever has them.
    """
    recipe = run.recipe()
    unscored = 0
    for model in recipe.models:
        for name, task in recipe.tasks.items():
            if not run.items(model, name).is_file():
                run.log("score", f"{model}/{name}: nothing was asked")
                say(f"{model}, {name}: nothing was asked yet; the same command with -r goes on")
                unscored += 1
                continue
            try:
                items = pl.read_parquet(run.items(model, name))
            except (OSError, pl.exceptions.PolarsError) as error:
                raise RunError(f"{run.items(model, name)}: cannot be read: {error}; 'ocli infer ... -r' writes it anew") from None
            results = score_replies(items, read_replies(run.predictions(model, name), task), task)
            buffer = io.BytesIO()
            results.write_parquet(buffer)
            write_whole(run.results(model, name), [buffer.getvalue()])
            if not task.labels:
                write_submission(run, model, name, results)
            failed = int((results["status"] == "failed").sum())
            unscored += failed
            run.log("score", f"{model}/{name}: {results.height} items, {failed} without a score")
    return unscored
