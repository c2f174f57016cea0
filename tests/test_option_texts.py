"""Tasks whose questions all show the same options ("A. Yes", "B. No"): a reply may give the text in place of the letter."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from ocli import catalog
from ocli.errors import RecipeError
from ocli.registry import extractor

SILENT = json.loads((Path(__file__).parent / "cases" / "no_answer.json").read_text(encoding="utf-8"))
TASKS = ["rte", "ax_b", "ax_g", "boolq", "multirc", "wic", "wsc", "cb", "cluewsc", "csl", "eprstmt", "bustm", "afqmc"]
TASKS += ["cmnli", "ocnli", "ocnli_fc"]


def shown(prompt: str) -> list[tuple[str, str]]:
    """Return the options (letter, text) that a prompt shows with every question."""
    source = catalog.find_prompt(prompt).read_text(encoding="utf-8")
    return re.findall(r"(?m)^ ?([A-F])\. ([^{}\n]+)$", source)


def headlines() -> dict[str, tuple[str, list[str]]]:
    """Return the prompt and the texts of each task with texts."""
    found = {}
    for entry in catalog.entries("tasks"):
        [(name, spec)] = catalog.load_tasks(entry.name)
        extract = spec.score[0].extract
        if extract and extract.options.get("texts"):
            found[name] = (str(spec.prompt), extract.options["texts"])
    return found


def test_texts_are_those_that_the_prompt_shows() -> None:
    found = headlines()
    assert {f"{name}_gen" for name in TASKS} <= set(found)
    for prompt, texts in found.values():
        assert shown(prompt) == list(zip("ABCDEF", texts, strict=False))


def read(replies: list[str], texts: list[str]) -> list[str | None]:
    options = {"texts": texts}
    answer = extractor.get("choice", options)(pl.col("reply"), tuple("ABCDEF"[: len(texts)]), **options)
    return pl.DataFrame({"reply": replies}).select(answer=answer)["answer"].to_list()


@pytest.mark.parametrize("task", TASKS)
def test_each_text_is_read_as_its_letter(task: str) -> None:
    [(_, spec)] = catalog.load_tasks(f"{task}_gen")
    extract = spec.score[0].extract
    assert extract is not None
    texts = extract.options["texts"]
    letters = list("ABCDEF"[: len(texts)])
    for form in (
        "{}",
        "{}.",
        "**{}**",
        "{}。",
        "The answer is {}.",
        "Answer: {}",
        "答案：{}",
        "答案是“{}”。",
        "<think>A?</think>\n{}",
    ):
        assert read([form.format(text) for text in texts], texts) == letters, form


@pytest.mark.parametrize("texts", [["Yes", "No"], ["蕴含", "矛盾", "无关"]])
def test_prose_without_an_answer_gives_none(texts: list[str]) -> None:
    replies = [row["reply"] for row in SILENT if "choice" in row["extractors"] and "yes_no" in row["extractors"]]
    assert len(replies) >= 20
    assert read(replies, texts) == [None] * len(replies)


@pytest.mark.parametrize("texts", ["AB", ["Yes"], ["Yes", "No", "Perhaps"], [True, False], ["Yes", ""]])
def test_texts_are_as_many_as_the_letters(texts: object) -> None:
    with pytest.raises(RecipeError, match=r"texts are those of A, B, in quotes"):
        extractor.get("choice", {})(pl.col("reply"), ("A", "B"), texts=texts)
