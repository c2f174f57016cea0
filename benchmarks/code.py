"""How long it takes to score samples of HumanEval: every program is run in the sandbox, none twice.

    python benchmarks/code.py --data-dir ../shared/data                         164 x 10 samples, the best sandbox there is
    python benchmarks/code.py --data-dir ../shared/data --sandbox subprocess
    python benchmarks/code.py --data-dir ../shared/data --slow 0.02             as many of them never end, and are timed out

The samples are the published solutions, each with a comment of its own; every other one returns nothing, and fails. Prints one
JSON line: seconds, programs a second, cores, verdicts.
"""

from __future__ import annotations

import argparse
import json
import random
import time

import polars as pl

from ocli import sandbox
from ocli.catalog import load_recipe
from ocli.metrics.code import passes
from ocli.plan import plan_task


def samples(count: int, slow: float, data_dir: str) -> pl.DataFrame:
    """Return ``count`` answers to each question, with their targets."""
    recipe = load_recipe(None, ["echo"], ["humaneval"], {"data_dir": data_dir, "offline": True})
    plan = plan_task("humaneval", recipe.tasks["humaneval"], recipe)
    chance = random.Random(0)
    rows = []
    for item in plan.items:
        for number in range(count):
            body = item.values["canonical_solution"] if number % 2 == 0 else "    return None\n"
            body = "    while True:\n        pass\n" if chance.random() < slow else body
            rows.append((f"    # sample {number}\n{body}", item.target))
    return pl.DataFrame(rows, schema=["answer", "target"], orient="row")


def main() -> None:
    """Score the samples once and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--timeout", type=float, default=10.0)
    options = parser.parse_args()
    frame = samples(options.samples, options.slow, options.data_dir)
    with sandbox.allowed(options.sandbox, print):
        sandbox.prepare(options.sandbox, print)
        started = time.perf_counter()
        told = passes(frame["answer"], frame["target"], timeout=options.timeout)
        seconds = time.perf_counter() - started
    verdicts = dict(told["verdict"].value_counts(sort=True).iter_rows())
    rate = round(frame.height / seconds, 1)
    print(
        json.dumps(
            {"programs": frame.height, "seconds": round(seconds, 1), "per_second": rate, "cores": sandbox.cores(), **verdicts}
        )
    )


if __name__ == "__main__":
    main()
