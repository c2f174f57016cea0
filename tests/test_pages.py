"""The READMEs and docs say what is so: links lead somewhere, commands exist and print what the page says, and both languages have
the same sections, commands and outputs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer
from conftest import SHARED, Ocli, Write

from ocli.catalog import search
from ocli.cli import app
from ocli.recipe import ModelSpec, NotifySpec, RecipeSpec
from ocli.stages.exports import FORMS
from ocli.stages.exports.trackers import TRACKERS
from ocli.task import DataSpec, FewShot, Join, TaskSpec

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
TRANSLATED = [name for name in TEXTS if name.replace(".md", ".zh-CN.md") in TEXTS]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    found: dict[str, int] = {}
    for title in re.findall(r"(?m)^#+ (.*)$", FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower().strip()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found[slug] = found.get(slug, 0) + 1
    return {f"{slug}-{number}" if number else slug for slug, times in found.items() for number in range(times)}


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", FENCE.sub("", text)))


@pytest.mark.parametrize("name", TEXTS)
def test_links_of_a_page_lead_to_a_file_and_a_heading(name: str) -> None:
    for link in links(TEXTS[name]):
        if "://" in link:
            continue
        path, _, anchor = unquote(link).partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), link


@pytest.mark.parametrize(("name", "ending"), [("README.md", ".md"), ("README.zh-CN.md", ".zh-CN.md")])
def test_readme_leads_to_every_page_in_its_language(name: str, ending: str) -> None:
    pages = {page.removesuffix(".md") for page in TEXTS if page.startswith("docs/") and not page.endswith(".zh-CN.md")}
    wanted = {page + (ending if page + ending in TEXTS else ".md") for page in pages}
    assert wanted <= {link.partition("#")[0] for link in links(TEXTS[name])}


def shown(text: str) -> Iterator[list[str]]:
    """Yield the words of every ``ocli`` command that a page shows, in blocks and within sentences."""
    lines = [line.removeprefix("$ ") for _, block in FENCE.findall(text) for line in block.splitlines()]
    spans = re.findall(r"`(ocli [^`\n]*)`", FENCE.sub("", text))
    for line in [*(line for line in lines if line.startswith("ocli ")), *spans]:
        for command in re.split(r" && | \| | > ", line):
            words = shlex.split(re.sub(r"\.\.\.(?=\s|$)", "", command), comments=True)
            yield [word.strip("[]").removesuffix("]...") for word in words]


def settings(words: list[str], *options: str) -> list[str]:
    return [value for option, value in pairwise(words) if option in options]


def names(kind: str) -> set[str]:
    return {entry.name for entry in search([], [kind])}


@pytest.mark.parametrize("name", TEXTS)
def test_commands_of_a_page_exist(name: str) -> None:
    own = set(re.findall(r"(?:recipes/tasks|recipes/models)/[\w/]*?(\w+)\.yaml", TEXTS[name]))  # files that the page itself shows
    tasks, models = names("tasks") | names("suites") | own, names("models") | own
    for words in shown(TEXTS[name]):
        if words[0] != "ocli" or len(words) < 2 or not re.fullmatch("[a-z]+", words[1]):
            continue
        known = {option for parameter in COMMANDS[words[1]].params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.partition("=")[0] for word in words[2:] if re.match("--?[a-z]", word)}
        assert given <= known | {"-h"}, words
        assert set(settings(words, "--format")) <= set(FORMS), words
        for value in settings(words, "-t", "--task"):
            assert value in tasks or re.search("[A-Z./]", value), words
        for value in settings(words, "-m", "--model"):
            assert value.partition(":")[2] or value in models or re.search("[A-Z./]", value), words
        for value in settings(words, "--set"):
            assert known_key(value.partition("=")[0]), words
        for recipe in (word for word in words if re.fullmatch(r"recipes/\w+\.yaml", word)):
            assert (ROOT / recipe).exists(), words


def known_key(key: str) -> bool:
    """Say whether the first parts of a key of ``--set`` are keys of a recipe, a model, a task."""
    first, _, rest = key.partition(".")
    inner = {"model": ModelSpec, "task": TaskSpec}.get(first)
    fields = inner.model_fields if inner else {}
    return key == "KEY" or (first in RecipeSpec.model_fields and (not inner or rest.partition(".")[0] in fields))


@pytest.mark.parametrize(
    ("page", "keys"),
    [
        *(("docs/recipes.md", spec.model_fields) for spec in (RecipeSpec, ModelSpec, TaskSpec, DataSpec, FewShot, Join)),
        *(
            (page, keys)
            for page in ("docs/reports.md", "docs/reports.zh-CN.md")
            for keys in (NotifySpec.model_fields, FORMS, TRACKERS)
        ),
    ],
)
def test_every_key_has_a_row_in_its_reference(page: str, keys: Iterable[str]) -> None:
    rows = " ".join(re.findall(r"(?m)^\| (`[^|]*) \|", TEXTS[page]))
    assert [key for key in keys if f"`{key.rstrip('_')}`" not in rows and key not in ("name", "extends", "splits")] == []


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in ("docs/adding-a-benchmark.md", "docs/recipes.md")])
def test_tasks_that_a_page_names_are_in_the_catalog(name: str) -> None:
    named = set(re.findall(r"`([a-z0-9_]+_(?:gen|ppl|ll))`", TEXTS[name]))
    assert named <= names("tasks") | names("suites")


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_suites_have_as_many_tasks_as_the_readme_says(name: str) -> None:
    sizes = {entry.name: len(entry.data["tasks"]) for entry in search([], ["suites"])}
    said = re.findall(r"(?m)^\| `(\w+)` \|.*\| (\d+)(?:[:,]| 个[：，])", TEXTS[name])
    assert said == [(suite, str(sizes[suite])) for suite, _ in said]
    assert len(said) == 4


@pytest.mark.parametrize("name", TRANSLATED)
def test_both_languages_have_the_same_sections_commands_and_outputs(name: str) -> None:
    pages = TEXTS[name], TEXTS[name.replace(".md", ".zh-CN.md")]
    levels, blocks, tables = ([view(page) for page in pages] for view in (heading_levels, code, table_sizes))
    assert levels[0] == levels[1]
    assert blocks[0] == blocks[1]
    assert tables[0] == tables[1]


def heading_levels(text: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"(?m)^(#+) ", FENCE.sub("", text))]


def code(text: str) -> list[str]:
    """Return the blocks without comments, and without those that are drawings with words."""
    blocks = [block for _, block in FENCE.findall(text) if not block.startswith("outputs/")]
    return [re.sub(r"(?m)\s+# .*$", "", block) for block in blocks]


def table_sizes(text: str) -> list[int]:
    return [len(table.splitlines()) for table in re.findall(r"(?m)(?:^\|.*\n)+", FENCE.sub("", text))]


RUN = {
    name: text
    for name, text in TEXTS.items()
    if not name.endswith(".zh-CN.md") and re.search(r"(?m)^\$ ocli (?!ping)", text)
}  # fmt: skip


@pytest.mark.hf
@pytest.mark.parametrize("name", RUN)
def test_commands_print_what_the_page_says(name: str, ocli: Ocli, write: Write) -> None:
    """Files that a page shows are written, its commands run; ``...`` stands for the rest, ``DIR`` for the benchmarks' files."""
    pytest.importorskip("transformers", reason="needs torch and transformers: pip install 'ocli[hf]'")
    if " DIR" in RUN[name] and not (SHARED / "data").is_dir():
        pytest.skip(f"no {SHARED / 'data'}")
    for _, block in FENCE.findall(RUN[name]):
        if file := re.match(r"(?:# |\{#- )((?:recipes|prompts)/\S+\.\w+)", block):
            write(file[1], block)
        for command, output in re.findall(r"(?m)^\$ (.*)\n((?:(?!\$ ).*\n)*)", block):
            words = shlex.split(command, comments=True)
            if words[0] == "cat":
                write(words[1], output)
            elif words[:2] != ["ocli", "ping"]:
                done = ocli(*(str(SHARED / "data") if word == "DIR" else word for word in words[1:]))
                printed = done.out.replace(str(SHARED / "data"), "DIR").replace(str((SHARED / "data").resolve()), "DIR")
                beginning, elided, _ = output.partition("...\n")
                assert (printed[: len(beginning)] if elided else printed) == beginning, done.err


@pytest.mark.hf
def test_start_of_a_model_is_told_as_the_page_says(ocli: Ocli) -> None:
    pytest.importorskip("transformers", reason="needs torch and transformers: pip install 'ocli[hf]'")
    [line] = re.findall(r"(?m)^nano: engine .*$", TEXTS["docs/models.md"])
    assert line in ocli("infer", "quickstart", "--limit", 1).err.splitlines()
