"""Prompt files and expressions: blocks are roles, what is undefined is an error with its line, and nothing is left to chance."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, Ocli, Write

from ocli.errors import OcliError, PromptError
from ocli.plan import TaskPlan, plan_task
from ocli.prompts import Prompt, compile_field
from ocli.recipe import ModelSpec, Recipe
from ocli.task import SamplingSpec, TaskSpec

ROW = {"question": "1+1?", "answer": "2"}
WHOLE = """{#- where it is from -#}
{% block system %}Be brief.{% endblock %}
{% block user %}
Q: {{ question }}

A:{{ ' ' }}
{% endblock %}
{% block assistant %}{{ answer }}{% endblock %}
"""


@pytest.fixture
def prompt(write: Write) -> Callable[[str], Prompt]:
    """Make a prompt of its text."""

    def make(text: str) -> Prompt:
        write("prompts/x/p.jinja", text)
        return Prompt("x/p")

    return make


def test_blocks_are_roles(prompt: Callable[[str], Prompt]) -> None:
    whole = prompt(WHOLE)
    assert whole.messages(ROW, []) == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q: 1+1?\n\nA: "},
    )
    assert whole.shot(ROW) == ("Q: 1+1?\n\nA: ", "2")


def test_system_block_may_be_absent_or_empty(prompt: Callable[[str], Prompt]) -> None:
    for system in ("", "{% block system %}{% endblock %}"):
        messages = prompt(system + "{% block user %}x{% endblock %}").messages(ROW, [])
        assert [message["role"] for message in messages] == ["user"]


def test_models_system_text_stands_in_for_the_block_and_an_empty_one_removes_it(prompt: Callable[[str], Prompt]) -> None:
    whole = prompt(WHOLE)
    assert whole.messages(ROW, [], system="Other.")[0] == {"role": "system", "content": "Other."}
    assert [message["role"] for message in whole.messages(ROW, [], system="")] == ["user"]
    assert whole.text(ROW, [], system="Other.").startswith("Other.\nQ: ")


def test_examples_are_turns_or_text_inside_one_turn(prompt: Callable[[str], Prompt]) -> None:
    whole = prompt(WHOLE)
    shots = [whole.shot({"question": "0+1?", "answer": "1"})]
    turns = whole.messages(ROW, shots)
    assert [(turn["role"], turn["content"]) for turn in turns[1:]] == [
        ("user", "Q: 0+1?\n\nA: "),
        ("assistant", "1"),
        ("user", "Q: 1+1?\n\nA: "),
    ]
    [system, only] = whole.messages(ROW, shots, as_text=True)
    assert system["role"] == "system"
    assert only == {"role": "user", "content": "Q: 0+1?\n\nA: \n1\nQ: 1+1?\n\nA: "}


def test_base_model_gets_the_blocks_joined_by_newlines(prompt: Callable[[str], Prompt]) -> None:
    whole = prompt(WHOLE)
    shots = [whole.shot({"question": "0+1?", "answer": "1"})]
    assert whole.text(ROW, shots) == "Be brief.\nQ: 0+1?\n\nA: \n1\nQ: 1+1?\n\nA: "


def test_text_of_a_block_is_kept_to_the_character(prompt: Callable[[str], Prompt]) -> None:
    assert prompt("{% block user %}\n  a \n\n\tb&<'  \n\n{% endblock %}\n").render("user", {}) == "  a \n\n\tb&<'  \n"
    assert prompt("{% block user %}x{% endblock %}").render("user", {}) == "x"


def test_included_file_is_shared_text_of_the_row(prompt: Callable[[str], Prompt], write: Write) -> None:
    write("prompts/_shared/mine.jinja", "[{{ question }}]\n")
    made = prompt("{% block user %}\n{% include '_shared/mine.jinja' %}\nend\n{% endblock %}\n")
    assert made.render("user", ROW) == "[1+1?]\nend"
    assert "[{{ question }}]" in made.source()


def test_included_file_may_come_with_ocli(prompt: Callable[[str], Prompt]) -> None:
    made = prompt("{% block user %}{% include '_shared/abcd.jinja' %}{% endblock %}")
    assert made.render("user", dict.fromkeys("ABCD", "x")) == "A. x\nB. x\nC. x\nD. x"


def test_included_file_of_the_working_directory_hides_the_packaged_one(prompt: Callable[[str], Prompt], write: Write) -> None:
    text = "{% block user %}{% include '_shared/abcd.jinja' %}{% endblock %}"
    write("prompts/_shared/abcd.jinja", "mine")
    assert prompt(text).render("user", {}) == "mine"


REFUSED = [
    ("Hello\n{% block user %}x{% endblock %}", r"p\.jinja:1: everything in a prompt file must stand inside a block"),
    ("{% block user %}x{% endblock %}\n\n{{ question }}", r"p\.jinja:\d: everything in a prompt file must stand"),
    ("{% block user %}x{% endblock %}{% include 'a' %}", r"everything in a prompt file must stand inside a block"),
    ("{% set a = 1 %}{% block user %}x{% endblock %}", r"p\.jinja:1: everything in a prompt file must stand"),
    ("{% extends 'exam/custom_qa.jinja' %}", r"everything in a prompt file must stand inside a block"),
    ("{% block user %}x{% endblock %}\n{% block asistant %}{% endblock %}", r"p\.jinja:2: unknown block 'asistant'; did you"),
    ("{% block assistant %}x{% endblock %}", r"p\.jinja: has no \{% block user %\}, so there is nothing to ask"),
    ("{% block user %}\n{{ question }\n{% endblock %}", r"p\.jinja:2: "),
    ("{% block user %}\n{% if %}\n{% endblock %}", r"p\.jinja:2: "),
    ("{% block user %}\nx\n{{ question|nope }}{% endblock %}", r"p\.jinja:3: No filter named 'nope'"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text[:30] for text, _ in REFUSED])
def test_wrong_prompt_file_is_refused_with_its_line(prompt: Callable[[str], Prompt], text: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        prompt(text)


FAILING = [
    ("a\n\n{{ qustion }}", r"p\.jinja:4: 'qustion' is undefined; did you mean 'question'\?; the row has: question, answer$"),
    ("{{ zzz }}", r"p\.jinja:2: 'zzz' is undefined; the row has: question, answer$"),
    ("a\n{{ question.foo }}", r"p\.jinja:3: 'str object' has no attribute 'foo'; the row has: question, answer"),
    ("{% if zzz %}a{% endif %}", r"p\.jinja:2: 'zzz' is undefined"),
    ("{% for a in zzz %}{% endfor %}", r"p\.jinja:2: 'zzz' is undefined"),
    ("a\nb\n{{ 1 / 0 }}", r"p\.jinja:4: ZeroDivisionError"),
    ("{{ question + 1 }}", r"p\.jinja:2: TypeError"),
    ("{{ 'x'|fromjson }}", r"p\.jinja:2: JSONDecodeError"),
    ("{{ ''.__class__.__mro__ }}", r"p\.jinja:2: not allowed in a prompt|p\.jinja:2: access to attribute"),
    ("{{ range(1000000000)|list }}", r"p\.jinja:2: OverflowError|p\.jinja:2: .*[Rr]ange"),
    ("{% include '_shared/none.jinja' %}", r"none\.jinja"),
]


@pytest.mark.parametrize(("text", "message"), FAILING, ids=[text for text, _ in FAILING])
def test_failing_prompt_names_file_and_line(prompt: Callable[[str], Prompt], text: str, message: str) -> None:
    with pytest.raises(OcliError, match=message) as caught:
        prompt("{% block user %}\n" + text + "\n{% endblock %}").render("user", ROW)
    assert "\n" not in str(caught.value)


def test_failing_include_names_the_included_file_and_its_line(prompt: Callable[[str], Prompt], write: Write) -> None:
    write("prompts/_shared/mine.jinja", "a\nb {{ qustion }}\n")
    made = prompt("{% block user %}\n\n\n{% include '_shared/mine.jinja' %}{% endblock %}")
    with pytest.raises(PromptError, match=r"prompts/_shared/mine\.jinja:2: 'qustion' is undefined; did you mean 'question'"):
        made.render("user", ROW)


def test_row_cannot_be_changed_by_a_prompt(prompt: Callable[[str], Prompt]) -> None:
    with pytest.raises(PromptError):
        prompt("{% block user %}{{ row.clear() }}{% endblock %}").render("user", {"row": dict(ROW)})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'ABCD'[number]", "B"),
        ("number", 1),
        ("number == 1", True),
        ("none", None),
        ("[number, 2.5]", [1, 2.5]),
        ("{'a': number}", {"a": 1}),
        ("text|fromjson", [1, "x"]),
        ("row|option_letters", ["A", "B"]),
        ("'a [b] c'|regex_replace('\\\\[.*?\\\\]', 'x')", "a x c"),
        ("text|length", 8),
    ],
)
def test_expression_keeps_its_type(expression: str, value: object) -> None:
    row = {"A": "x", "B": "y", "C": "", "D": "z"}
    found = compile_field("t: data.fields.f", expression)({"number": 1, "text": '[1, "x"]', "row": row})
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "anwser",
            r"t: data\.fields\.f: 'anwser': 'anwser' is undefined; did you mean 'answer'\?; the row has: question, answer",
        ),
        ("answer[5].x", "has no"),
        ("'ABCD'[9]", "has no element 9"),
        ("answer + 1", "TypeError"),
        ("answer.__class__.__mro__", "__"),
    ],
)
def test_failing_expression_names_itself_and_the_columns(expression: str, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        compile_field("t: data.fields.f", expression)(ROW)


def test_expression_that_is_none_is_refused_before_any_row() -> None:
    with pytest.raises(PromptError, match=r"t: data\.fields\.f: 'a b' is not a Jinja expression"):
        compile_field("t: data.fields.f", "a b")


def test_missing_column_names_the_row_and_is_one_line(ocli: Ocli, write: Write) -> None:
    write("q.csv", "question,anwser\n1?,2\n")
    write("t.yaml", "extends: custom_qa\ndata: {local: ./q.csv}\n")
    done = ocli("infer", "-m", "echo", "-t", "t.yaml")
    assert done.rc == 2
    assert done.err.count("\n") == 1
    assert "did you mean 'anwser'?; the row has: question, anwser, row (row 0)" in done.err


SIZES = {"law": 10, "art": 30, "physics": 60}


def task(write: Write, **changes: Any) -> TaskSpec:
    """Make a task of three subsets of 10, 30 and 60 rows and eight examples each."""
    for subset, size in SIZES.items():
        for split, count in (("val", size), ("dev", 8)):
            rows = "".join(f"{subset} {split} {number}?,{number}\n" for number in range(count))
            write(f"data/{split}/{subset}.csv", f"question,answer\n{rows}")
    data = {
        "local": ["{split}/{subset}.csv"],
        "splits": {"test": "val", "fewshot": "dev"},
        "subsets": list(SIZES),
        "fields": {"target": "answer"},
    }
    rules = [{"extract": "text", "metric": "accuracy"}]
    return TaskSpec.model_validate({"data": data, "prompt": "exam/custom_qa", "score": rules, **changes})


def plan(spec: TaskSpec, **settings: Any) -> TaskPlan:
    return plan_task("t", spec, Recipe(name="r", models={}, tasks={"t": spec}, **settings))


def shots(planned: TaskPlan) -> dict[str | None, list[str]]:
    return {subset: [answer for _, answer in examples] for subset, examples in planned.shots.items()}


def test_first_examples_and_examples_by_index(write: Write) -> None:
    assert shots(plan(task(write, fewshot={"count": 2})))["art"] == ["0", "1"]
    assert shots(plan(task(write, fewshot={"count": 2, "select": [5, 3]})))["art"] == ["5", "3"]
    assert shots(plan(task(write)))["art"] == []


def test_random_examples_are_seeded(write: Write) -> None:
    spec = task(write, fewshot={"count": 4, "select": "random"})
    chosen = shots(plan(spec))
    assert chosen == shots(plan(spec))
    assert chosen != shots(plan(spec, seed=1))
    assert chosen == shots(plan(spec, limit=5))
    assert all(len(set(answers)) == 4 for answers in chosen.values())
    assert chosen["law"] != ["0", "1", "2", "3"] or chosen["art"] != ["0", "1", "2", "3"]


@pytest.mark.parametrize("fewshot", [{"count": 9}, {"count": 2, "select": [0, 8]}, {"count": 9, "select": "random"}])
def test_more_examples_than_there_are_is_refused(write: Write, fewshot: dict[str, Any]) -> None:
    with pytest.raises(OcliError, match=r"t: \d examples are asked for, but the split 'dev' of 'law' has 8 rows"):
        plan(task(write, fewshot=fewshot))


def picked(planned: TaskPlan) -> list[str]:
    return [item.id for item in planned.items]


@pytest.mark.parametrize(("limit", "sizes"), [(10, [1, 3, 6]), (50, [5, 15, 30]), (99, None), (1000, [10, 30, 60])])
def test_limit_is_spread_over_the_subsets(write: Write, limit: int, sizes: list[int] | None) -> None:
    planned = plan(task(write), limit=limit)
    found = [sum(item.subset == subset for item in planned.items) for subset in SIZES]
    assert sum(found) == min(limit, 100)
    assert sizes in (None, found)
    assert planned.total == 100


def test_limit_is_seeded_and_in_the_datas_order(write: Write) -> None:
    spec = task(write)
    ids = picked(plan(spec, limit=20))
    assert ids == picked(plan(spec, limit=20))
    assert ids != picked(plan(spec, limit=20, seed=1))
    everything = picked(plan(spec))
    assert ids == sorted(ids, key=everything.index)
    assert ids != everything[:20]


def test_larger_limit_holds_every_item_of_a_smaller_one(write: Write) -> None:
    spec = task(write)
    chosen = [set(picked(plan(spec, limit=limit))) for limit in range(1, 101)]
    assert all(small < large for small, large in itertools.pairwise(chosen))


def asked(done: Done, model: str, name: str = "quickstart") -> list[tuple[str, str]]:
    assert done.rc == 0, done.err
    lines = (done.run / "predictions" / model / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted((reply["id"], json.dumps(reply["messages"])) for reply in map(json.loads, lines))


def test_limit_asks_the_same_whatever_else_is_asked(ocli: Ocli, write: Write) -> None:
    write("q.csv", "question,answer\n1?,1\n2?,2\n")
    alone = asked(ocli("infer", "-m", "echo", "-t", "quickstart", "--limit", 7, "-w", "a"), "echo")
    among = ("-m", "echo:silent", "-m", "echo", "-t", "q.csv", "-t", "quickstart", "--set", "model.concurrency=2")
    assert len(alone) == 7
    assert alone == asked(ocli("infer", *among, "--limit", 7, "-w", "b"), "echo")


def test_key_depends_on_what_decides_the_reply_and_on_nothing_else(write: Write) -> None:
    planned = plan(task(write))

    def keys(chat: bool = True, sampling: SamplingSpec | None = None, identity: tuple[str, ...] = (), **model: Any) -> list[str]:
        spec = ModelSpec(engine="echo", **model)
        return [request.key for request in planned.requests(spec, chat, sampling or SamplingSpec(), identity)]

    usual = keys()
    assert len(set(usual)) == len(usual) == 100
    assert usual == keys(concurrency=3, description="x", args={"delay": 1})
    assert usual == keys(sampling=SamplingSpec(temperature=0))
    for other in (
        keys(chat=False),
        keys(identity=("another model",)),
        keys(system="x"),
        keys(sampling=SamplingSpec(max_tokens=3)),
        keys(sampling=SamplingSpec(seed=3)),
        keys(sampling=SamplingSpec(stop=["x"])),
    ):
        assert not set(other) & set(usual)
    assert [key[8:] for key in keys(identity=("another model",))] == [key[8:] for key in usual]


def test_recipes_sampling_lies_over_the_models_and_that_over_the_tasks(write: Write) -> None:
    planned = plan(task(write, sampling={"max_tokens": 1, "temperature": 0.1, "top_p": 0.1}))
    model = ModelSpec(engine="echo", sampling=SamplingSpec(max_tokens=2, temperature=0.2))
    settings = next(planned.requests(model, True, SamplingSpec(max_tokens=3))).sampling
    assert (settings.max_tokens, settings.temperature, settings.top_p) == (3, 0.2, 0.1)


def test_prompts_folder_is_looked_for_where_the_command_runs(write: Write, tmp_path: Path, monkeypatch: Any) -> None:
    for place in ("one", "two"):
        write(f"{place}/prompts/x/p.jinja", f"{{% block user %}}{place}{{% endblock %}}")
        monkeypatch.chdir(tmp_path / place)
        assert Prompt("x/p").render("user", {}) == place
