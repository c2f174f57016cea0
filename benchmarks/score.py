"""How long ``ocli score`` and ``ocli report`` take, and how much memory, on a synthetic run.

    python benchmarks/score.py                        1,000,000 short replies to five-shot prompts of ceval_gen
    python benchmarks/score.py --replies 100000
    python benchmarks/score.py --replies 100000 --task gsm8k_gen

The other tasks (gsm8k_gen, mmlu_pro_gen, agieval_multi_gen, and boolq_gen with its headline rule replaced by yes_no) get replies
of about 600 characters: prose and sums, then the answer, stated in one of several ways. Prints one JSON line: seconds and peak
resident memory of each command, each in a fresh process, start-up included.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

from ocli.catalog import load_recipe
from ocli.plan import Item, TaskPlan
from ocli.prompts import Prompt
from ocli.runs import Predictions, Run, to_line
from ocli.scoring import items_frame
from ocli.task import Rule
from ocli.types import Reply, Request, Sampling, Usage

REPLIES = [
    "A", "B", "C", "D", "B。", "答案：C", "答案是 D。", "故选A", "The answer is B.", "**C**",
    "根据题意，传输控制协议是面向连接的，用户数据报协议是无连接的，所以选A。",
    "本题考查网络协议。A项错误，B项错误，C项错误，因此正确答案是D。", "这个问题无法确定。",
]  # fmt: skip
PROSE = "she sold half of the apples in april and then each friend paid for a box so that every class has more than before"
ANSWERS = {
    "ceval_gen": list("ABCD"),
    "gsm8k_gen": [str(number) for number in range(1, 99_999)],
    "mmlu_pro_gen": list("ABCDEFGHIJ"),
    "agieval_multi_gen": ["".join(letters) for size in (1, 2, 3) for letters in combinations("ABCD", size)],
    "boolq_gen": ["yes", "no"],
}
CHOICES = {"ceval_gen": tuple("ABCD"), "mmlu_pro_gen": tuple("ABCDEFGHIJ")}
ENDINGS = ["The answer is {}.", "**Answer:** {}", "答案：{}", "$\\boxed{{}}$.", "So the final answer is **{}**."]
ROW: dict[str, Any] = {
    "question": "下列关于网络协议的说法中，正确的一项是____。" * 2, **dict.fromkeys("ABCD", "传输控制协议是面向连接的"),
    "options": ["传输控制协议是面向连接的"] * 10, "letters": list("ABCDEFGHIJ"), "passage": "", "hint": "答案是：", "intro": "",
    "solution": "",
}  # fmt: skip


def reasoned(rng: random.Random, answer: str) -> str:
    """Return about 600 characters of reasoning that end in the answer."""
    lines: list[str] = []
    while sum(map(len, lines)) < 520:
        first, second = rng.randint(2, 200), rng.randint(2, 200)
        words = " ".join(rng.choices(PROSE.split(), k=10))
        lines.append(rng.choice([f"{words}: {first} + {second} = {first + second}.", f"{words} costs ${first}.50 each."]))
    return "\n".join([*lines, rng.choice(ENDINGS).replace("{}", answer)])


def make_run(folder: Path, name: str, count: int) -> Run:
    """Write a run of the task called ``name`` with ``count`` replies spread over its subsets."""
    rng = random.Random(0)
    recipe = load_recipe(None, ["echo"], [name], {"work_dir": str(folder)})
    if name == "boolq_gen":
        rule = Rule.model_validate({"extract": "yes_no", "metric": "accuracy"})
        recipe.tasks[name] = recipe.tasks[name].model_copy(update={"score": [rule], "choices": None})
    task, run = recipe.tasks[name], Run.create(recipe)
    run.save(recipe.model_copy(update={"record": {"tasks": {name: {"digest": "", "asked": count, "of": count}}}}))
    prompt = Prompt(task.prompt)
    subsets: list[tuple[str | None, dict[str, Any]]] = list(task.data.subsets.items()) or [(None, {})]
    items: list[Item] = []
    lines = Predictions(run.predictions("echo", name))
    for number in range(count):
        subset, fields = subsets[number * len(subsets) // count]
        target = rng.choice(ANSWERS[name])
        item = Item(f"{subset}/{number}", subset, {**ROW, **fields, "target": target}, target, CHOICES.get(name, ()))
        items.append(item)
        if number % 1000 == 0:
            messages = prompt.messages(item.values, [prompt.shot(item.values)] * task.fewshot.count)
        request = Request(f"{rng.getrandbits(128):032x}", name, item.id, subset, 0, Sampling(), messages)
        text = rng.choice(REPLIES) if name == "ceval_gen" else reasoned(rng, target)
        lines.append(to_line(request, Reply(text, None, "stop", Usage(1000, 900, 12), 0.25)))
    lines.close()
    plan = TaskPlan(name, task, prompt, items, {}, count, {}, "")
    path = run.items("echo", name)
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
    parser.add_argument("--task", choices=ANSWERS, default="ceval_gen")
    arguments = parser.parse_args()
    name, count = arguments.task, arguments.replies
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), name, count)
        size = run.predictions("echo", name).stat().st_size
        score_s, score_gb = measure("score", str(run.path))
        report_s, report_gb = measure("report", str(run.path), "--format", "csv")
    figures = {"score_s": score_s, "score_peak_gb": score_gb, "report_s": report_s, "report_peak_gb": report_gb}
    print(json.dumps({"task": name, "replies": count, "predictions_gb": round(size / 1e9, 2), **figures}))


if __name__ == "__main__":
    main()
