"""Three tests that every task gets for its hand-written rows, and again on the real data where that is present.

The golden prompt (``tests/golden/<task>.json``, written by ``make golden``, read in review), the oracle (the right answer
scores 1) and silence (an empty reply scores 0 and is counted as unanswered). ``tests/cases/tasks.json`` says of every task
which OpenCompass configuration writes the same prompts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from ocli import catalog
from ocli.plan import TaskPlan, describe, plan_task
from ocli.recipe import ModelSpec, Recipe
from ocli.sandbox import allowed
from ocli.stages.check import problem_of
from ocli.task import DataSpec, SamplingSpec, TaskSpec
from ocli.types import Request

HERE = Path(__file__).parent
TASKS = [entry.name for entry in catalog.entries("tasks")]
CASES: dict[str, dict[str, Any]] = json.loads((HERE / "cases" / "tasks.json").read_text(encoding="utf-8"))
"""By task: ``data`` (false: the data folder has none of it), ``only`` (subsets whose data is here), ``opencompass`` (a
configuration of golden/opencompass; null: none whose rows are there), ``abbr`` (which of its data sets; left out: the task's
subsets or all), ``golden_data`` (data keys that find its rows, where the task's own would find an empty file), ``base`` (what
OpenCompass puts before and after a base model's text and the task does not), ``hashed`` (only the hashes of its prompts are
there), ``rows`` (the task whose rows it shares) and ``needs`` (the optional module that its metric needs)."""
MODEL = ModelSpec(engine="echo")


def load(name: str, **data: Any) -> TaskSpec:
    """Read a task of the catalog, with these keys of its data changed."""
    [(_, spec)] = catalog.load_tasks(name)
    return spec.model_copy(update={"data": DataSpec.model_validate(spec.data.model_dump() | data)})


def on_rows(name: str, path: Path, folder: Path) -> TaskPlan:
    """Plan a task on one file of rows: its first subset, with the file's last rows as examples."""
    lines = path.read_text(encoding="utf-8").splitlines()
    (folder / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "fewshot.jsonl").write_text("\n".join(reversed(lines)), encoding="utf-8")
    spec = load(name)
    subsets = dict(list(spec.data.subsets.items())[:1])
    splits = spec.data.splits.model_copy(update={"test": "test", "fewshot": "fewshot"})
    local = [str(folder / "{split}.jsonl")]
    data = spec.data.model_copy(update={"local": local, "hub": None, "texts": {}, "subsets": subsets, "splits": splits})
    fewshot = spec.fewshot.model_copy(update={"count": min(spec.fewshot.count, 2), "select": "first"})
    return plan(name, spec.model_copy(update={"data": data, "fewshot": fewshot, "items": None}))


def plan(name: str, spec: TaskSpec, data_dir: Path | None = None) -> TaskPlan:
    recipe = Recipe(name="test", models={}, tasks={name: spec}, data_dir=str(data_dir) if data_dir else None, offline=True)
    return plan_task(name, spec, recipe)


def requests(task: TaskPlan, chat: bool = True) -> list[Request]:
    return list(task.requests(MODEL, chat, SamplingSpec()))


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest, tmp_path: Path) -> TaskPlan:
    rows = CASES[request.param].get("rows", request.param)
    return on_rows(request.param, HERE / "data" / f"{rows}.jsonl", tmp_path)


def golden_prompt(chat: Request, base: Request) -> dict[str, Any]:
    """What a chat and a base model are asked; of choices, the contexts (one, or one a choice) and the texts after them."""
    asked = {"id": chat.id, "messages": describe(chat)["messages"], "text": describe(base)["prompt"]}
    if chat.choices:
        asked["choices"] = [[choice.text for choice in request.choices] for request in (chat, base)]
        asked["right"] = chat.right
    return asked | {"answer": chat.oracle}


def test_prompt_is_the_golden_one(task: TaskPlan) -> None:
    pairs = zip(requests(task), requests(task, chat=False), strict=True)
    # Through JSON, because there tuples are lists.
    rendered = json.loads(json.dumps([golden_prompt(chat, base) for chat, base in pairs]))
    path = HERE / "golden" / f"{task.name}.json"
    if os.environ.get("OCLI_WRITE_GOLDEN"):
        path.write_text(json.dumps(rendered, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert rendered == json.loads(path.read_text(encoding="utf-8"))


def check_scores(task: TaskPlan) -> None:
    if module := CASES[task.name].get("needs"):
        pytest.importorskip(module)
    with allowed("auto"):
        assert problem_of(task) is None


def test_oracle_scores_one_and_silence_zero(task: TaskPlan) -> None:
    check_scores(task)


def test_every_task_has_its_case_and_its_golden_prompt_and_no_other_has() -> None:
    assert sorted(CASES) == sorted(TASKS)
    assert sorted(path.stem for path in (HERE / "golden").glob("*.json")) == sorted(TASKS)


def test_every_twin_is_a_generative_task() -> None:
    twins = {name: spec.twin for name in TASKS for _, spec in catalog.load_tasks(name) if spec.twin}
    assert "ceval_ppl" in twins
    assert {load(twin).mode for twin in twins.values()} == {"generate"}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("data", True)])
def test_real_data_has_the_published_items_and_scores(name: str, shared_data: Path) -> None:
    task = plan(name, load(name, only=CASES[name].get("only")), shared_data)
    assert len(task.items) == task.spec.published
    check_scores(task)


def rows_of_opencompass(golden: Path, file: str, name: str) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
    """Yield data set, row and what OpenCompass renders for it: one case a label in the order of its template."""
    wanted = CASES[name]
    cases = [json.loads(line) for line in (golden / "opencompass" / file).read_text(encoding="utf-8").splitlines()]
    cases = [case for case in cases if case["config"] == wanted["opencompass"]]
    cases = [case for case in cases if case["abbr"] == wanted.get("abbr", case["abbr"])]
    assert cases
    for (abbr, row), group in groupby(cases, key=lambda case: (case["abbr"], case["row"])):
        yield abbr, row, list(group)


def on_golden_data(golden: Path, name: str, abbr: str) -> TaskPlan:
    """Plan a task on the rows that OpenCompass was run on: the subset that its data set is named after."""
    named = sorted((subset for subset in load(name).data.subsets if abbr.endswith(subset)), key=len)
    spec = load(name, only=named[-1:] or None, **CASES[name].get("golden_data", {}))
    return plan(name, spec, golden / "opencompass" / "data")


def whole_texts(name: str, request: Request) -> list[str]:
    """What a base model reads in OpenCompass: the prompt, or context and text of each choice."""
    before, after = CASES[name].get("base", ("", ""))
    return [f"{choice.context}{choice.text}" for choice in request.choices] or [f"{before}{request.prompt}{after}"]


AS_OPENCOMPASS = [name for name, case in CASES.items() if case["opencompass"]]


@pytest.mark.parametrize("name", [name for name in AS_OPENCOMPASS if not CASES[name].get("hashed")])
def test_prompts_equal_those_of_opencompass(name: str, golden: Path) -> None:
    for abbr, row, cases in rows_of_opencompass(golden, "prompts_clean.jsonl", name):
        task = on_golden_data(golden, name, abbr)
        base, chat = requests(task, chat=False)[row], requests(task)[row]
        rendered, texts = [case["rendered"]["base_nometa"] for case in cases], whole_texts(name, base)
        assert texts == rendered[: len(texts)]
        # Where a row has fewer choices than another, OpenCompass asks the first one again.
        assert set(rendered[len(texts) :]) <= {rendered[0]}
        if base.right is not None:
            assert [str(case["label"]) for case in cases].index(str(cases[0]["gold"])) == base.right
        for case in cases:
            roles = {"HUMAN": "user", "BOT": "assistant"}
            turns = [{"role": roles[turn["role"]], "content": turn["prompt"]} for turn in case["rendered"].get("api_meta", ())]
            assert not turns or turns == list(chat.messages or ())


@pytest.mark.parametrize("name", AS_OPENCOMPASS)
def test_prompt_hashes_equal_those_of_opencompass(name: str, golden: Path) -> None:
    for abbr, row, cases in rows_of_opencompass(golden, "prompts_sha.jsonl", name):
        texts = whole_texts(name, requests(on_golden_data(golden, name, abbr), chat=False)[row])
        hashes = [hashlib.sha256(json.dumps(text, ensure_ascii=False).encode()).hexdigest() for text in texts]
        assert hashes == [case["rendered_sha"]["base_nometa"]["sha256"] for case in cases][: len(hashes)]
