"""Score files of published replies by the published rule and by ours, and name every reply on which a verdict differs.

``python benchmarks/published.py FILE...`` takes the files as they are published and knows them by their names:

- ``example_model_solutions.jsonl`` (openai/grade-school-math, ``grade_school_math/data``): four models, a verdict each
- ``sports_understanding_few_shot_template_0-255000.jsonl`` (suzgunmirac/BIG-Bench-Hard@e26f26d60a13, ``code-davinci-002-outputs/
  code-davinci-002-cot``), with ``..._eval_metrics.jsonl`` beside it: the mean in per cent
- ``*_result.json`` (TIGER-AI-Lab/MMLU-Pro, ``eval_results/gpt4o``): the letter that was read, each
- ``1-2.json`` (open-compass/LawBench, ``predictions/*/MODEL``), with ``results.csv`` two folders up: the mean
- ``*_2012-2022_English_Cloze_Test.json`` and ``*_2010-2022_Chinese_Lang_and_Usage_MCQs.json`` (OpenLMLab/GAOKAO-Bench,
  ``Results/*_obj``): the letters that were read, each
- ``outcome_summary.parquet`` (the source archive of inspect_evals 0.26.0 on PyPI, ``agent_artefacts/trajectory_analysis/
  aime2026``): a verdict each

The rules are those of ``tests/cases/published.json``. Parts of these files are in ``tests/data/published``.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from ocli import catalog

Rows = list[dict[str, Any]]
CASES = json.loads((Path(__file__).parents[1] / "tests" / "cases" / "published.json").read_text(encoding="utf-8"))
PROMPT = "{% block user %}{{ id }}{% endblock %}\n{% block assistant %}{{ target }}{% endblock %}\n"


def gsm8k(path: Path) -> Iterator[tuple[str, Rows, float | None]]:
    """Give each model's solutions with their verdicts."""
    problems = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
        rows = [
            {
                "text": problem[model]["solution"],
                "target": problem["ground_truth"].rsplit("A: ", 1)[1].replace(",", ""),
                "right": problem[model]["is_correct"],
            }
            for problem in problems
        ]
        yield f"gsm8k_{model}", rows, None


def bbh(path: Path) -> Iterator[tuple[str, Rows, float | None]]:
    """Give the replies, and their published mean."""
    replies = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    metrics = path.with_name(path.stem + "_eval_metrics.jsonl")
    mean = json.loads(metrics.read_text(encoding="utf-8"))["accuracy"] if metrics.exists() else None
    rows = [{"text": reply["prediction"], "target": reply["target"]} for reply in replies]
    yield "bbh_sports_understanding_code_davinci_002", rows, mean


def mmlu_pro(path: Path) -> Iterator[tuple[str, Rows, float | None]]:
    """Give the replies to one category; right is what was read and is the answer."""
    rows = [
        {
            "text": entry["response"],
            "letters": "ABCDEFGHIJ"[: len(entry["options"])],
            "target": entry["answer"],
            "right": entry["pred"] == entry["answer"],
        }
        for entry in json.loads(path.read_text(encoding="utf-8"))
    ]
    yield "mmlu_pro_history_gpt_4o", rows, None


def lawbench(path: Path) -> Iterator[tuple[str, Rows, float | None]]:
    """Give one model's replies, and their published mean."""
    replies = json.loads(path.read_text(encoding="utf-8"))
    rows = [{"text": reply["prediction"], "target": reply["refr"].strip("正确答案：。")} for reply in replies.values()]
    table, mean = path.parents[1] / "results.csv", None
    if table.exists():
        with table.open(encoding="utf-8") as lines:
            means = {(row["task"], row["model_name"]): float(row["score"]) for row in csv.DictReader(lines)}
        mean = 100 * means[path.stem, path.parent.name]
    yield "lawbench_1_2_internlm_chat_7b_8k", rows, mean


def gaokao(path: Path) -> Iterator[tuple[str, Rows, float | None]]:
    """Give one model's letters; right is the share of an item's that were read in their place."""
    rows, cloze = [], "Cloze" in path.name
    for entry in json.loads(path.read_text(encoding="utf-8"))["example"]:
        wanted, read = entry["standard_answer"], entry["model_answer"]
        right = sum(one == other for one, other in zip(wanted, read, strict=False)) / len(wanted)
        target, points = ("" if cloze else " ").join(wanted), entry["score"] * len(wanted)
        rows.append({"text": entry["model_output"], "target": target, "points": points, "right": right})
    yield "gaokao_english_cloze_gpt_4_0314" if cloze else "gaokao_chinese_usage_gpt_4_0314", rows, None


def aime(path: Path) -> Iterator[tuple[str, Rows, float | None]]:
    """Give one model's last messages with their verdicts; its encrypted reasoning is left out."""
    rows, model = [], ""
    for problem in pl.read_parquet(path).sort(pl.col("transcript_task_id").cast(pl.Int64)).iter_rows(named=True):
        model = problem["transcript_model"].rsplit("/", 1)[-1].replace("-", "_").replace(".", "_")
        about = json.loads(problem["transcript_metadata"])
        content = json.loads(problem["input"])["messages"][-1]["content"]
        text = content if isinstance(content, str) else "".join(part["text"] for part in content if part["type"] == "text")
        rows.append({"text": text, "target": about["target"], "right": about["score_aime_scorer"] == "C"})
    yield f"aime2026_{model}", rows, None


READERS = {
    "example_model_solutions.jsonl": gsm8k,
    "sports_understanding_few_shot_template_0-255000.jsonl": bbh,
    "*_result.json": mmlu_pro,
    "1-2.json": lawbench,
    "*_2012-2022_English_Cloze_Test.json": gaokao,
    "*_2010-2022_Chinese_Lang_and_Usage_MCQs.json": gaokao,
    "outcome_summary.parquet": aime,
}


def score(case: dict[str, Any], rows: Rows, folder: Path) -> pl.DataFrame:
    """Replay the replies in a folder and score them by both rules; return a row for each with its verdicts."""
    numbered = [{"id": str(number), **row} for number, row in enumerate(rows)]
    (folder / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in numbered), encoding="utf-8")
    (folder / "prompts").mkdir()
    (folder / "prompts" / "published.jinja").write_text(PROMPT, encoding="utf-8")
    [(_, ours)] = catalog.load_tasks(case["ours"])
    headline = ours.score[0].model_dump(exclude_defaults=True)
    task = {
        "data": {"local": "./replies.jsonl", "fields": {"target": "target", **case.get("fields", {})}},
        "prompt": "published",
        "choices": case.get("choices", "[]"),
        "score": [{**headline, "name": "ours"}, {**case["rule"], "name": "published"}],
    }
    (folder / "task.yaml").write_text(json.dumps(task), encoding="utf-8")
    command = [sys.executable, "-m", "ocli", "eval", "-m", "replay:replies.jsonl", "-t", "task.yaml"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    [results] = folder.glob("outputs/*/2*/results/*/*.parquet")
    return pl.read_parquet(results).join(pl.DataFrame(numbered), on="id")


def told(name: str, path: Path, results: pl.DataFrame, mean: float | None) -> None:
    """Print the means, and the replies on which the verdicts differ."""
    said = results["right"].cast(pl.Float64) if "right" in results.columns else None
    published = mean if said is None else 100 * float(said.mean() or 0)
    means = {rule: 100 * float(results[rule].mean() or 0) for rule in ("published", "score")}  # type: ignore[arg-type]
    claim = "no mean" if published is None else f"{published:.4f}"
    print(f"{name} ({path}): {len(results)} replies")
    print(f"  published {claim}, by its rule {means['published']:.4f}, by ours {means['score']:.4f}")
    verdict = results["published"] if said is None else said
    for row in results.filter((results["published"] != verdict) | (results["score"] != verdict)).iter_rows(named=True):
        print(f"  {row['id']}: target {row['target']}, we read {row['answer']}: ...{row['text'][-120:]!r}")


def main() -> None:
    """Score every file that is named."""
    for path in map(Path, sys.argv[1:]):
        readers = [reader for pattern, reader in READERS.items() if path.match(pattern)]
        if not readers:
            sys.exit(f"{path}: a file of this name is not known; known are {', '.join(READERS)}")
        for name, rows, mean in readers[0](path):
            with tempfile.TemporaryDirectory() as folder:
                told(name, path, score(CASES[name], rows, Path(folder)), mean)


if __name__ == "__main__":
    main()
