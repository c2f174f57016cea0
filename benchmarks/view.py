"""How fast ``ocli view`` pages through a run that is too large for one file, and how much memory it takes.

    python benchmarks/view.py                         2 models, 1,000,000 items each
    python benchmarks/view.py --items 100000
    python benchmarks/view.py --keep DIR              make the run there, or measure the one that is there

Prints one JSON line: seconds from the process's start until the server answers, then of each request, and the server's peak
resident memory (VmHWM).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from score import CHOICES, REPLIES, ROW

from ocli.catalog import load_recipe
from ocli.plan import Item, TaskPlan
from ocli.prompts import Prompt
from ocli.runs import Predictions, Run, to_line
from ocli.scoring import items_frame
from ocli.types import Reply, Request, Sampling, Usage

TASK = "ceval_gen"
MODELS = ("echo", "echo:oracle")


def make_run(folder: Path, count: int) -> Run:
    """Write a run of two models and ``count`` items each, scored: five-shot prompts, short replies."""
    rng = random.Random(0)
    recipe = load_recipe(None, list(MODELS), [TASK], {"work_dir": str(folder)})
    task, run = recipe.tasks[TASK], Run.create(recipe)
    run.save(recipe.model_copy(update={"record": {"tasks": {TASK: {"digest": "", "asked": count, "of": count}}}}))
    prompt, subsets = Prompt(task.prompt), list(task.data.subsets.items())
    items: list[Item] = []
    for number in range(count):
        subset, fields = subsets[number * len(subsets) // count]
        target = rng.choice("ABCD")
        items.append(Item(f"{subset}/{number}", subset, {**ROW, **fields, "target": target}, target, CHOICES[TASK]))
    for model in recipe.models:
        lines = Predictions(run.predictions(model, TASK))
        for number, item in enumerate(items):
            if number % 1000 == 0:
                messages = prompt.messages(item.values, [prompt.shot(item.values)] * task.fewshot.count)
            request = Request(f"{rng.getrandbits(128):032x}", TASK, item.id, item.subset, 0, Sampling(), messages)
            lines.append(to_line(request, Reply(rng.choice(REPLIES), None, "stop", Usage(1000, 900, 12), 0.25)))
        lines.close()
        path = run.items(model, TASK)
        path.parent.mkdir(parents=True)
        items_frame(TaskPlan(TASK, task, prompt, items, {}, count, {}, "")).write_parquet(path)
    subprocess.run([sys.executable, "-m", "ocli", "score", str(run.path)], check=True, capture_output=True)
    return run


def ask(url: str, path: str, **query: Any) -> tuple[float, bytes]:
    """Return the seconds that a request took, and what came."""
    began = time.perf_counter()
    with urlopen(f"{url}{path}?{urlencode(query)}") as answer:
        body: bytes = answer.read()
    return round(time.perf_counter() - began, 3), body


def measure(run: Run) -> dict[str, Any]:
    """Start the server on the run and ask it what a reader asks."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "ocli", "view", str(run.path), "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        url = server.stdout.readline().split()[-1].rstrip("/")
        figures: dict[str, Any] = {"start_s": round(time.perf_counter() - began, 2)}
        figures["html_s"], _ = ask(url, "/")
        figures["page_s"], page = ask(url, "/api/page")
        total = figures["items"] = json.loads(page)["tasks"][TASK]["items"]
        first, *_ = json.loads(page)["models"]
        asked = {
            "first": {},
            "first_again": {},
            "wrong": {"filter": "wrong", "model": first},
            "far_down": {"offset": total * 9 // 10},
            "wrong_far_down": {"filter": "wrong", "offset": total // 2},
            "differ": {"filter": "differ"},
            "truncated": {"filter": "truncated"},
            "search_id": {"q": f"/{total // 2}"},
            "search_replies": {"q": "无法确定"},
            "search_nothing": {"q": "nobody says this"},
        }
        for name, query in asked.items():
            figures[f"{name}_s"], body = ask(url, "/api/items", task=TASK, limit=50, **query)
            found = json.loads(body)
            figures.setdefault("totals", {})[name] = found["total"]
        row = json.loads(ask(url, "/api/items", task=TASK, limit=1, offset=total - 1)[1])["items"][0]
        figures["item_s"], _ = ask(url, "/api/item", task=TASK, id=row["id"], sample=row["sample"])
        status = Path(f"/proc/{server.pid}/status").read_text()
        figures["peak_mb"] = int(status.split("VmHWM:")[1].split()[0]) // 1024
        return figures
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Make the run, measure the server, print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        there = sorted(folder.glob("*/*/results"))
        run = Run(there[-1].parent) if there else make_run(folder, arguments.items)
        size = sum(path.stat().st_size for path in run.path.glob("predictions/*/*"))
        print(json.dumps({"predictions_gb": round(size / 1e9, 2), **measure(run)}))


if __name__ == "__main__":
    main()
