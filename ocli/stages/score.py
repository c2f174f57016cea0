"""Score the predictions of a run: no model, no network, no torch."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import polars as pl

from ocli.errors import ConsentError, RunError
from ocli.recipe import Recipe
from ocli.runs import Run, write_whole
from ocli.sandbox import NO_CONSENT, allowed, prepare
from ocli.scoring import read_replies, runs_code, score_replies
from ocli.stages.submission import write_submission

Say = Callable[[str], None]


def need_consent(recipe: Recipe, say: Say) -> None:
    """Where a score is found by running code, raise ConsentError if nobody has allowed it, and try the sandbox."""
    names = [name for name, task in recipe.tasks.items() if runs_code(task)]
    if names and not recipe.allow_code_exec:
        raise ConsentError(f"{', '.join(names)}: {NO_CONSENT}")
    if names:
        prepare(recipe.sandbox, say)


def score(run: Run, say: Say, allow_code_exec: bool = False) -> int:
    """Write ``results/<model>/<task>.parquet`` for every model and task; return how many items could not be scored.

    Of a task whose labels are not public, the answers are written for whoever has them.
    """
    recipe = run.recipe()
    if allow_code_exec:
        recipe = recipe.model_copy(update={"allow_code_exec": True})
    need_consent(recipe, say)
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
            with allowed(recipe.sandbox if recipe.allow_code_exec else None, partial(_say_of, f"{model}, {name}", say)):
                replies = read_replies(run.predictions(model, name), task)
                results = score_replies(items, replies, task, task.samples)
            buffer = io.BytesIO()
            results.write_parquet(buffer)
            write_whole(run.results(model, name), [buffer.getvalue()])
            if not task.labels:
                write_submission(run, model, name, results)
            failed = int((results["status"] == "failed").sum())
            unscored += failed
            run.log("score", f"{model}/{name}: {results.height} items, {failed} without a score")
    return unscored


def _say_of(what: str, say: Say, text: str) -> None:
    say(f"{what}: {text}")
