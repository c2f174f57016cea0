"""How long ``ocli score`` and ``ocli report`` take, and how much memory, on a synthetic run of the ``ceval_gen`` kind.

    python benchmarks/score.py                        1,000,000 replies with five-shot prompts (2.6 GB of predictions)
    python benchmarks/score.py --replies 100000

Prints one JSON line: seconds and peak resident memory of each command, each in a fresh process, start-up included.
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

from ocli.catalog import load_recipe
from ocli.plan import Item, TaskPlan
from ocli.prompts import Prompt
from ocli.runs import Predictions, Run, to_line
from ocli.scoring import items_frame
from ocli.types import Reply, Request, Sampling, Usage

REPLIES = [
    "A", "B", "C", "D", "B。", "答案：C", "答案是 D。", "故选A", "The answer is B.", "**C**",
    "根据题意，传输控制协议是面向连接的，用户数据报协议是无连接的，所以选A。",
    "本题考查网络协议。A项错误，B项错误，C项错误，因此正确答案是D。", "这个问题无法确定。",
]  # fmt: skip


def make_run(folder: Path, count: int) -> Run:
    """Write a run with ``count`` replies spread over the 52 subjects of C-Eval."""
    rng = random.Random(0)
    recipe = load_recipe(None, ["echo"], ["ceval_gen"], {"work_dir": str(folder)})
    task = recipe.tasks["ceval_gen"]
    run = Run.create(recipe)
    run.save(recipe.model_copy(update={"record": {"tasks": {"ceval_gen": {"digest": "", "asked": count, "of": count}}}}))
    prompt = Prompt(task.prompt)
    subjects = list(task.data.subsets.items())
    row = {"question": "下列关于网络协议的说法中，正确的一项是____。" * 2, **dict.fromkeys("ABCD", "传输控制协议是面向连接的")}
    items: list[Item] = []
    lines = Predictions(run.predictions("echo", "ceval_gen"))
    for number in range(count):
        subject, fields = subjects[number * len(subjects) // count]
        values = {**row, **fields, "target": rng.choice("ABCD")}
        item = Item(f"{subject}/{number}", subject, values, values["target"], ("A", "B", "C", "D"))
        items.append(item)
        if number % 1000 == 0:
            messages = prompt.messages(values, [prompt.shot(values)] * 5)
        request = Request(f"{rng.getrandbits(128):032x}", "ceval_gen", item.id, subject, 0, Sampling(), messages)
        reply = Reply(rng.choice(REPLIES), None, "stop", Usage(1000, 900, 12), 0.25)
        lines.append(to_line(request, reply))
    lines.close()
    plan = TaskPlan("ceval_gen", task, prompt, items, {}, count, {}, "")
    path = run.items("echo", "ceval_gen")
    path.parent.mkdir(parents=True)
    items_frame(plan).write_parquet(path)
    return run


def measure(*arguments: str) -> tuple[float, float]:
    """Run one ocli command in a fresh process; return its seconds and its peak memory in GB."""
    program = (
        "import sys\nfrom ocli.cli import app\n"
        "try:\n    app(sys.argv[1:], standalone_mode=False)\n"
        # VmHWM and not getrusage: the latter starts with the peak of the process that forked this one.
        "finally:\n    print('PEAK', open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    return round(seconds, 2), round(int(done.stderr.split("PEAK")[1]) / 1e6, 2)


def main() -> None:
    """Make the run, measure both commands, print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=1_000_000)
    count = parser.parse_args().replies
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), count)
        size = run.predictions("echo", "ceval_gen").stat().st_size
        score_s, score_gb = measure("score", str(run.path))
        report_s, report_gb = measure("report", str(run.path), "--format", "csv")
    figures = {"score_s": score_s, "score_peak_gb": score_gb, "report_s": report_s, "report_peak_gb": report_gb}
    print(json.dumps({"replies": count, "predictions_gb": round(size / 1e9, 2), **figures}))


if __name__ == "__main__":
    main()
