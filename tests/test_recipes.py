"""Recipes: the strict schema and its errors, where names are found, and how the layers are laid over each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Done, Ocli, Write

from ocli import catalog
from ocli.documents import read
from ocli.errors import RecipeError
from ocli.recipe import ModelSpec
from ocli.schema import validate

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases" / "recipes.json").read_text(encoding="utf-8"))
SHIPPED = Path(__file__).parents[1] / "recipes"
ECHO = "models: [echo]\ntasks: [quickstart]\n"


def resolved(done: Done) -> dict[str, Any]:
    """Read ``configs/recipe.yaml`` of the run that a command made."""
    assert done.rc == 0, done.err
    data: dict[str, Any] = yaml.safe_load((done.run / "configs" / "recipe.yaml").read_text(encoding="utf-8"))
    return data


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_wrong_file_is_refused_with_its_line_and_the_way_out(ocli: Ocli, write: Write, case: dict[str, Any]) -> None:
    write(case["file"], case["text"])
    done = ocli("infer", case["file"])
    assert (done.rc, done.out) == (2, "")
    assert done.err.startswith("ocli: ")
    for part in case["says"]:
        assert part in done.err
    for secret in ("abcdefgh", "abcd-efgh"):
        assert secret not in done.err
    assert not Path("outputs").exists()


def test_every_problem_of_a_file_has_its_own_line(ocli: Ocli, write: Write) -> None:
    write("r.yaml", "modles: [echo]\ntasks: 3\nlimit: 0\nsampling:\n  top_p: 2\n  stop: end\n")
    lines = ocli("infer", "r.yaml").err.removeprefix("ocli: ").splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == [f"r.yaml:{number}" for number in (1, 2, 3, 5, 6)]


def test_missing_file_names_the_nearest_recipe(ocli: Ocli) -> None:
    done = ocli("infer", "quikstart.yaml")
    assert done.rc == 2
    assert "no file quikstart.yaml" in done.err
    assert "did you mean 'quickstart.yaml'?" in done.err


def test_problem_of_a_model_file_names_that_file(ocli: Ocli, write: Write) -> None:
    write("recipes/models/mine.yaml", "engine: echo\ndescription: mine\nsystm: hello\n")
    done = ocli("infer", "-m", "mine", "-t", "quickstart")
    assert done.rc == 2
    assert "recipes/models/mine.yaml:3: unknown key 'systm'; did you mean 'system'" in done.err


def test_problem_of_a_task_file_names_that_file_and_the_nested_place(ocli: Ocli, write: Write) -> None:
    write("t.yaml", "extends: quickstart\nscore:\n- extract: choice\n  metrc: accuracy\n")
    done = ocli("infer", "-m", "echo", "-t", "t.yaml")
    assert done.rc == 2
    assert "t.yaml:4: score.0: unknown key 'metrc'; did you mean 'metric'" in done.err
    assert "t.yaml:3: score.0: needs the key 'metric'" in done.err


def test_problem_inherited_from_a_parent_names_the_parents_line(ocli: Ocli, write: Write) -> None:
    write("base.yaml", f"{ECHO}\n\nlimt: 3\n")
    write("r.yaml", "extends: base.yaml\nseed: 4\n")
    assert "base.yaml:5: unknown key 'limt'" in ocli("infer", "r.yaml").err


def test_problem_that_the_child_brought_names_the_childs_line(ocli: Ocli, write: Write) -> None:
    write("base.yaml", f"{ECHO}limit: 3\nsampling: {{max_tokens: 5}}\n")
    write("r.yaml", "extends: base.yaml\n\n\n\n\nlimit: x\nsampling:\n  max_tokens: y\n")
    said = ocli("infer", "r.yaml").err
    assert "r.yaml:6: limit: " in said
    assert "r.yaml:8: sampling.max_tokens: " in said


def test_yaml_and_toml_say_the_same(ocli: Ocli, write: Write) -> None:
    write("r.yaml", f"{ECHO}limit: 3\nsampling: {{max_tokens: 7, stop: [x]}}\nmodel: {{args: {{delay: 0}}}}\n")
    write(
        "r.toml",
        "models = ['echo']\ntasks = ['quickstart']\nlimit = 3\n"
        "[sampling]\nmax_tokens = 7\nstop = ['x']\n[model.args]\ndelay = 0\n",
    )
    assert resolved(ocli("infer", "r.yaml", "-w", "a")) | {"work_dir": "b"} == resolved(ocli("infer", "r.toml", "-w", "b"))


def test_words_of_yaml_1_1_are_words_and_a_byte_order_mark_is_none(write: Write) -> None:
    path = write("m.yaml", "\ufeffengine: echo\nsystem: no\npath: on\n".encode())
    spec = validate(read(path), ModelSpec)
    assert (spec.system, spec.path) == ("no", "on")


def test_child_is_laid_over_the_file_beside_it(ocli: Ocli, write: Write) -> None:
    write("deep/base.yaml", f"{ECHO}limit: 9\nsampling: {{max_tokens: 3, temperature: 0.5}}\n")
    write("deep/middle.yaml", "extends: base.yaml\nlimit: 4\n")
    write("deep/r.yaml", "extends: middle.yaml\nsampling: {max_tokens: 6}\n")
    recipe = resolved(ocli("infer", "deep/r.yaml"))
    assert (recipe["name"], recipe["limit"]) == ("r", 4)
    assert recipe["sampling"] == {"max_tokens": 6, "temperature": 0.5}


def test_circle_of_two_files_is_refused(ocli: Ocli, write: Write) -> None:
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "extends: a.yaml\n")
    done = ocli("infer", "a.yaml")
    assert done.rc == 2
    assert "extends goes in a circle: b.yaml -> a.yaml -> b.yaml" in done.err


def test_task_variant_extends_a_catalog_task(ocli: Ocli, write: Write) -> None:
    write("recipes/tasks/exam/quick_text.yaml", "extends: quickstart\nscore: [{extract: text, metric: contains}]\n")
    task = resolved(ocli("infer", "-m", "echo", "-t", "quick_text", "--limit", 1))["tasks"]["quick_text"]
    assert [rule["metric"]["name"] for rule in task["score"]] == ["contains"]
    assert task["prompt"] == "exam/quickstart"


SETS = [
    ("sampling.max_tokens=5", ["sampling", "max_tokens"], 5),
    ("sampling.temperature=0.5", ["sampling", "temperature"], 0.5),
    ("sampling.stop=[a, 'b: c']", ["sampling", "stop"], ["a", "b: c"]),
    ("limit=4", ["limit"], 4),
    ("seed=7", ["seed"], 7),
    ("offline=true", ["offline"], True),
    ("work_dir=elsewhere", ["work_dir"], "elsewhere"),
    ("data_dir=.", ["data_dir"], "."),
    ("description=a=b", ["description"], "a=b"),
    ("model.args.delay=0.001", ["models", "echo", "args", "delay"], 0.001),
    ("model.chat=false", ["models", "echo", "chat"], False),
    ("model.concurrency=3", ["models", "echo", "concurrency"], 3),
    ("task.sampling.seed=3", ["tasks", "quickstart", "sampling", "seed"], 3),
    ("task.groups=[language]", ["tasks", "quickstart", "groups"], ["language"]),
]


@pytest.mark.parametrize(("text", "path", "value"), SETS, ids=[text for text, *_ in SETS])
def test_set_reaches_the_resolved_recipe_with_its_type(ocli: Ocli, text: str, path: list[str], value: object) -> None:
    found: Any = resolved(ocli("infer", "-m", "echo", "-t", "quickstart", "--limit", 4, "--set", text))
    for key in path:
        found = found[key]
    assert found == value
    assert type(found) is type(value)


FLAGS = [
    (["--limit", "4"], "limit", 4),
    (["--data-dir", "."], "data_dir", "."),
    (["-w", "there"], "work_dir", "there"),
    (["--work-dir", "there"], "work_dir", "there"),
    (["--offline"], "offline", True),
]


@pytest.mark.parametrize(("flags", "key", "value"), FLAGS, ids=[flags[0] for flags, *_ in FLAGS])
def test_flag_wins_over_the_recipe_and_is_on_record(ocli: Ocli, write: Write, flags: list[str], key: str, value: object) -> None:
    write("r.yaml", f"{ECHO}limit: 2\ndata_dir: outputs\nwork_dir: here\noffline: false\n")
    write("outputs/x", "")
    assert resolved(ocli("infer", "r.yaml", *flags))[key] == value


def test_models_and_tasks_of_the_command_line_replace_the_recipes(ocli: Ocli, write: Write) -> None:
    write("r.yaml", "models: [nano]\ntasks: [ceval_gen]\n")
    recipe = resolved(ocli("infer", "r.yaml", "-m", "echo:oracle", "-m", "echo:silent", "-t", "quickstart", "--limit", 1))
    assert list(recipe["models"]) == ["echo_oracle", "echo_silent"]
    assert list(recipe["tasks"]) == ["quickstart"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samplin.max_tokens=5", "unknown key 'samplin'; did you mean 'sampling'?"),
        ("sampling.max_token=5", "sampling: unknown key 'max_token'; did you mean 'max_tokens'?"),
        ("model.arg=5", "unknown key 'arg'; did you mean 'args'"),
        ("task.data.field=5", "data: unknown key 'field'; did you mean 'fields'?"),
        ("limit=many", "limit: should be a valid integer, not 'many'"),
        ("task.items=many", "items: should be a valid integer, not 'many'"),
        ("limit=0", "limit: should be greater than or equal to 1, not 0"),
        ("limit", "--set limit: must be KEY=VALUE"),
        ("=5", "--set =5: must be KEY=VALUE"),
        ("model.api_key=abcdefgh", "a literal key does not belong in a recipe"),
        ("model.args.x=sk-abcdefgh12345678", "a literal key does not belong in a recipe"),
    ],
)
def test_wrong_set_is_refused(ocli: Ocli, text: str, message: str) -> None:
    done = ocli("infer", "-m", "echo", "-t", "quickstart", "--set", text)
    assert done.rc == 2
    assert message in done.err
    assert "abcdefgh" not in done.err


def test_name_of_an_environment_variable_is_kept_and_its_value_is_not(
    ocli: Ocli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-abcdefgh12345678")
    write("r.yaml", "models: [{name: m, engine: echo, api_key_env: MY_KEY}]\ntasks: [quickstart]\nlimit: 1\n")
    done = ocli("infer", "r.yaml")
    assert resolved(done)["models"]["m"]["api_key_env"] == "MY_KEY"
    texts = [path.read_bytes() for path in done.run.rglob("*") if path.is_file()]
    assert texts
    assert not any(b"sk-abcdefgh" in text for text in texts)


def test_missing_environment_variable_is_named(ocli: Ocli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOONSHOT_API_KEY", raising=False)
    done = ocli("infer", "-m", "moonshot_v1_8k", "-t", "quickstart")
    assert done.rc == 2
    assert "MOONSHOT_API_KEY" in done.err.splitlines()[-1]


def test_task_that_is_called_like_a_secret_is_no_secret(ocli: Ocli, write: Write) -> None:
    write("token.csv", "question,answer\n1+1?,2\n")
    assert ocli("eval", "-m", "echo:oracle", "-t", "token.csv").rc == 0


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.*")), ids=lambda path: path.name)
def test_shipped_recipe_loads(path: Path) -> None:
    recipe = catalog.load_recipe(str(path), [], [], {})
    assert recipe.name == path.stem
    assert recipe.models
    assert recipe.tasks
    assert recipe.description


@pytest.mark.parametrize("name", [entry.name for entry in catalog.entries("models")])
def test_shipped_model_loads_and_says_what_it_is(name: str) -> None:
    spec = catalog.load_model(name)[1]
    assert spec.description
    assert (spec.engine == "openai") == bool(spec.base_url)


@pytest.mark.parametrize("name", [entry.name for kind in ("tasks", "suites") for entry in catalog.entries(kind)])
def test_shipped_task_loads_and_its_prompt_and_rules_exist(name: str) -> None:
    from ocli.prompts import Prompt
    from ocli.scoring import find_rules

    for _, spec in catalog.load_tasks(name):
        assert spec.description
        assert spec.source
        assert "user" in Prompt(spec.prompt).blocks
        find_rules(spec)


def test_no_name_of_the_catalog_is_used_twice() -> None:
    for kind in catalog.KINDS:
        paths = SHIPPED.glob("*.*") if kind == "recipes" else (SHIPPED / kind).rglob("*.*")
        stems = [path.stem for path in paths if path.suffix in (".yaml", ".yml", ".toml")]
        assert len(stems) == len(set(stems)), kind


def test_working_directory_hides_what_comes_with_ocli(ocli: Ocli, write: Write) -> None:
    write("recipes/models/x/nano.yaml", "engine: echo\npath: oracle\n")
    write("recipes/tasks/x/quickstart.yaml", "extends: custom_qa\ndata: {local: ./q.csv}\nprompt: exam/quickstart\n")
    write("recipes/tasks/x/q.csv", "question,answer\n1+1?,2\n")
    write("prompts/exam/quickstart.jinja", "{% block user %}MINE {{ question }}{% endblock %}")
    recipe = resolved(done := ocli("infer", "quickstart"))
    assert recipe["models"]["nano"]["engine"] == "echo"
    [line] = (done.run / "predictions/nano/quickstart.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["messages"] == [{"role": "user", "content": "MINE 1+1?"}]


def test_recipe_of_the_working_directory_is_found_by_name(ocli: Ocli, write: Write) -> None:
    write("recipes/mine.toml", "models = ['echo']\ntasks = ['quickstart']\nlimit = 2\n")
    assert resolved(ocli("infer", "mine"))["limit"] == 2


def test_suite_of_the_working_directory_is_its_tasks(ocli: Ocli, write: Write) -> None:
    write("recipes/suites/both.yaml", "tasks: [quickstart, mine]\n")
    write("recipes/tasks/mine.yaml", "extends: quickstart\ngroups: []\n")
    assert list(resolved(ocli("infer", "-m", "echo", "-t", "both", "--limit", 1))["tasks"]) == ["quickstart", "mine"]


def test_suite_with_an_unknown_task_is_refused(ocli: Ocli, write: Write) -> None:
    write("recipes/suites/both.yaml", "tasks: [quikstart]\n")
    done = ocli("infer", "-m", "echo", "-t", "both")
    assert done.rc == 2
    assert "'quikstart'; did you mean 'quickstart'" in done.err


def test_two_different_models_of_one_name_are_refused(ocli: Ocli, write: Write) -> None:
    write("r.yaml", "models: [{name: m, engine: echo}, {name: m, engine: echo, path: x}]\ntasks: [quickstart]\n")
    done = ocli("infer", "r.yaml")
    assert done.rc == 2
    assert "two models of this recipe are called 'm'" in done.err


def test_file_of_several_models_asks_which_one(ocli: Ocli) -> None:
    done = ocli("infer", "-m", SHIPPED / "models" / "moonshot" / "moonshot.yaml", "-t", "quickstart")
    assert done.rc == 2
    assert "holds several models (moonshot_v1_8k, " in done.err


def test_catalog_model_moves_to_another_engine_with_that_engines_arguments() -> None:
    name, spec = catalog.load_model("vllm:nano")
    assert (name, spec.engine) == ("vllm_nano", "vllm")
    assert spec.args == read(SHIPPED / "models" / "nano" / "nano.yaml").data["engines"]["vllm"]["args"]
    assert "device" not in spec.args
    assert Path(spec.path or "").is_dir()


def test_bare_path_on_an_engine_needs_no_file() -> None:
    assert catalog.load_model("hf:org/model")[1] == ModelSpec(engine="transformers", path="org/model")
    assert catalog.load_model("openai:gpt-4o-mini")[0] == "openai_gpt-4o-mini"


def test_recipe_that_is_no_text_is_refused(write: Write) -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml: cannot be read"):
        read(write("r.yaml", b"models: \xff\xfe\n"))
