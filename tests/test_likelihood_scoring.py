"""From likelihoods to scores: each measure by its formula, ties, what is not told, perplexities and their rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import Ocli, Write

from ocli.metrics.likelihood import MEASURES
from ocli.stats import Ratio, ratio_of
from ocli.task import COMPARING, LIKELIHOOD_METRICS

TASK: dict[str, Any] = {
    "data": {"local": "./rows.jsonl", "fields": {"target": "label"}},
    "prompt": "mc", "mode": "loglikelihood", "choices": "options", "baseline": "''",
    "score": [{"name": by, "metric": "accuracy", "by": by} for by in MEASURES if by != "clp"]
    + [{"metric": "probability"}, {"metric": "greedy"}, {"metric": "perplexity"}],
}  # fmt: skip


def replayed(ocli: Ocli, write: Write, rows: list[dict[str, Any]], choices: list[Any], task: dict[str, Any] = TASK) -> Any:
    """Score recorded likelihoods by a task; return its rows in summary.json by metric, and the command's outcome."""
    write("prompts/mc.jinja", "{% block user %}{{ q }}{% endblock %}\n{% block assistant %}{{ target }}{% endblock %}\n")
    write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write("task.yaml", json.dumps(task))
    lines = [{"id": str(number), "choices": told} for number, told in enumerate(choices)]
    write("replies.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    done = ocli("eval", "-m", "replay:replies.jsonl", "-t", "task.yaml")
    summary = json.loads((done.run / "summary" / "summary.json").read_text(encoding="utf-8"))
    return {row["metric"]: row for row in summary["rows"]}, done


def choice(logprob: float | None, tokens: int, greedy: bool = False, **inner: tuple[float, int]) -> dict[str, Any]:
    further = {name: {"logprob": value, "tokens": count} for name, (value, count) in inner.items()}
    return {"text": "", "logprob": logprob, "tokens": tokens, "greedy": greedy, **further}


# Four choices of which each measure prefers another one than "sum" does, or the one its formula says:
OPTIONS = ["aa", "bbbb", "双双", "dd"]
TOLD = [
    choice(-4.0, 1, context=(-10.0, 10), baseline=(-4.5, 1)),
    choice(-4.4, 2, greedy=True, context=(-10.0, 10), baseline=(-7.0, 2)),
    choice(-6.0, 4, context=(-10.0, 10), baseline=(-6.4, 4)),
    choice(-8.0, 1, context=(-1.0, 10), baseline=(-12.0, 1)),
]
VALUES = {
    "sum": [-4.0, -4.4, -6.0, -8.0],
    "token_mean": [-4.0, -2.2, -1.5, -8.0],
    "char_mean": [-2.0, -1.1, -3.0, -4.0],
    "byte_mean": [-2.0, -1.1, -1.0, -4.0],
    "sequence_mean": [-14 / 11, -14.4 / 12, -16 / 14, -9 / 11],
    "unconditional": [0.5, 2.6, 0.4, 4.0],
    "normalizing": [0.5, 1.3, 0.1, 4.0],
}


@pytest.mark.parametrize("by", VALUES)
def test_each_measure_prefers_what_its_formula_says(by: str, ocli: Ocli, write: Write) -> None:
    best = VALUES[by].index(max(VALUES[by]))
    rows = [{"q": str(label), "options": OPTIONS, "label": label} for label in range(4)]
    told, _ = replayed(ocli, write, rows, [TOLD] * 4)
    assert told[by]["score"] == 25.0
    told, done = replayed(ocli, write, [{"q": "x", "options": OPTIONS, "label": best}], [TOLD])
    assert told[by]["score"] == 100.0
    assert told[by]["mode"] == ("ppl" if by in ("sequence_mean", "normalizing") else "ll")
    assert done.rc == 0


def test_every_name_of_the_schema_has_its_formula() -> None:
    assert set(MEASURES) == {*VALUES, "clp"}
    assert set(LIKELIHOOD_METRICS["loglikelihood"]) == {*COMPARING, "probability", "greedy", "perplexity"}


def test_probability_greedy_and_perplexity_are_the_right_choices(ocli: Ocli, write: Write) -> None:
    rows = [{"q": "x", "options": OPTIONS, "label": 1}, {"q": "y", "options": OPTIONS, "label": 0}]
    told, _ = replayed(ocli, write, rows, [TOLD, TOLD])
    weights = [math.exp(value) for value in VALUES["sum"]]
    assert told["probability"]["score"] == pytest.approx(100 * (weights[1] + weights[0]) / 2 / sum(weights))
    assert told["greedy"]["score"] == 50.0
    assert told["perplexity"]["score"] == pytest.approx(math.exp(4.2), abs=1e-4)


def test_of_equal_ones_the_first_is_preferred(ocli: Ocli, write: Write) -> None:
    same = [choice(-1.0, 1, context=(-2.0, 2), baseline=(-1.0, 1))] * 3
    told, _ = replayed(ocli, write, [{"q": "x", "options": ["a", "a", "a"], "label": 0}], [same])
    assert {told[by]["score"] for by in VALUES} == {100.0}
    told, _ = replayed(ocli, write, [{"q": "x", "options": ["a", "a", "a"], "label": 2}], [same])
    assert {told[by]["score"] for by in VALUES} == {0.0}


def test_what_is_not_told_ranks_below_all_and_is_unanswered_if_it_is_everything(ocli: Ocli, write: Write) -> None:
    silent = choice(None, 1)
    rows = [{"q": str(n), "options": ["a", "b"], "label": 1} for n in range(3)]
    task = {**TASK, "score": [{"metric": "accuracy", "by": "sum"}, {"metric": "probability"}]}
    told, done = replayed(ocli, write, rows, [[silent, choice(-30.0, 1)], [silent, silent], [choice(-30.0, 1), silent]], task)
    assert told["accuracy"]["score"] == pytest.approx(100 / 3, abs=1e-4)
    assert (told["accuracy"]["unanswered"], told["accuracy"]["failed"], done.rc) == (1, 0, 0)
    assert told["probability"]["score"] == pytest.approx(100 / 3, abs=1e-4)


def test_other_number_of_choices_is_a_failed_item(ocli: Ocli, write: Write) -> None:
    task = {**TASK, "score": [{"metric": "accuracy", "by": "sum"}]}
    rows = [{"q": "x", "options": ["a", "b"], "label": 1}, {"q": "y", "options": ["a", "b"], "label": 1}]
    told, done = replayed(ocli, write, rows, [[choice(-1.0, 1)], [choice(-2.0, 1), choice(-1.0, 1)]], task)
    assert (told["accuracy"]["score"], told["accuracy"]["n"], told["accuracy"]["failed"], done.rc) == (100.0, 1, 1, 1)
    assert "1 failed (0): the replay file has the likelihoods of 1 choices for item 0, which asks for 2" in done.err


def test_clp_wants_choices_of_one_token(ocli: Ocli, write: Write) -> None:
    task = {**TASK, "score": [{"metric": "accuracy", "by": "clp"}]}
    rows = [{"q": "x", "options": ["a", "b"], "label": 1}]
    told, _ = replayed(ocli, write, rows, [[choice(-2.0, 1), choice(-1.0, 1)]], task)
    assert (told["accuracy"]["score"], told["accuracy"]["mode"]) == (100.0, "clp")
    write("replies.jsonl", json.dumps({"id": "0", "choices": [choice(-2.0, 1), choice(-1.0, 3)]}) + "\n")
    done = ocli("eval", "-m", "replay:replies.jsonl", "-t", "task.yaml")
    assert done.rc == 1
    assert "1 failed (0): by: clp needs choices of one token, but item 0 has one of 3" in done.err


def test_whole_sequences_are_not_compared_without_their_contexts(ocli: Ocli, write: Write) -> None:
    task = {**TASK, "score": [{"metric": "accuracy", "by": "sequence_mean"}]}
    rows = [{"q": "x", "options": ["a", "b"], "label": 1}]
    told, _ = replayed(ocli, write, rows, [[choice(-2.0, 1), choice(-1.0, 1)]], task)  # as many tokens: no need for them
    assert told["accuracy"]["score"] == 100.0
    write("replies.jsonl", json.dumps({"id": "0", "choices": [choice(-2.0, 1), choice(-1.0, 2)]}) + "\n")
    done = ocli("eval", "-m", "replay:replies.jsonl", "-t", "task.yaml")
    assert (done.rc, "item 0 was asked without it; ask again" in done.err) == (2, True)
    write("prompts/mc.jinja", "{% block user %}{{ target }}{% endblock %}\n{% block assistant %}end{% endblock %}\n")
    write("replies.jsonl", json.dumps({"id": "0", "choices": [choice(-2.0, 1), choice(-1.0, 1)]}) + "\n")
    done = ocli("eval", "-m", "replay:replies.jsonl", "-t", "task.yaml")
    assert (done.rc, "no likelihood of the contexts of item 0, which differ" in done.err) == (1, True)


def test_perplexities_are_over_all_texts_together(ocli: Ocli, write: Write) -> None:
    texts = ["red stone", "the cloud is blue", "双 语"]
    told = [[{**choice(-4.0 * n, 2 * n), "text": text}] for n, text in enumerate(texts, start=1)]
    task = {
        "data": {"local": "./rows.jsonl"}, "prompt": "mc", "mode": "perplexity",
        "score": [{"metric": name} for name in LIKELIHOOD_METRICS["perplexity"]],
    }  # fmt: skip
    rows, done = replayed(ocli, write, [{"q": text} for text in texts], told, task)
    nats, size = 24.0, sum(len(text.encode()) for text in texts)
    assert rows["token_perplexity"]["score"] == pytest.approx(math.exp(nats / 12), rel=1e-6)
    assert rows["word_perplexity"]["score"] == pytest.approx(math.exp(nats / 8), rel=1e-6)
    assert rows["byte_perplexity"]["score"] == pytest.approx(math.exp(nats / size), rel=1e-6)
    assert rows["bits_per_byte"]["score"] == pytest.approx(nats / size / math.log(2), rel=1e-5)
    assert all(row["ci95"][0] <= row["score"] <= row["ci95"][1] and row["n"] == 3 for row in rows.values())
    assert (rows["token_perplexity"]["stderr"], rows["token_perplexity"]["mode"], done.rc) == (0.0, "ppl", 0)


def test_ratio_is_cochrans() -> None:
    pairs = [(3.0, 2.0), (5.0, 2.0), (4.0, 4.0)]
    y, x = (sum(pair[i] for pair in pairs) for i in (0, 1))
    sums = [sum(pair[i] * pair[j] for pair in pairs) for i, j in ((0, 0), (1, 1), (0, 1))]
    estimate = ratio_of([Ratio(3, y, x, *sums)])
    residuals = sum((a - 1.5 * b) ** 2 for a, b in pairs)
    assert (estimate.mean, estimate.stderr) == (1.5, pytest.approx(math.sqrt(3 / 2 * residuals) / 8))
    halves = [Ratio(2, 8.0, 4.0, 34.0, 8.0, 16.0), Ratio(1, 4.0, 4.0, 16.0, 16.0, 16.0)]
    assert ratio_of(halves).stderr == pytest.approx(estimate.stderr)
    assert ratio_of(halves[1:]).stderr is None


def test_reference_stands_beside_the_score(ocli: Ocli, write: Write, tmp_path: Path) -> None:
    recipe = {
        "models": ["echo:oracle"], "tasks": ["mine.csv"],
        "reference": {"echo_oracle": {"mine": {"score": 99.5, "source": "a paper", "tolerance": 1.0}}},
    }  # fmt: skip
    write("mine.csv", "question,A,B,answer\none?,1,2,A\ntwo?,1,2,B\n")
    path = write("recipe.yaml", json.dumps(recipe))
    done = ocli("eval", path)
    assert "echo_oracle, mine: reference 99.50 +- 1 (a paper): +0.50, WITHIN the tolerance" in done.out
    write("recipe.yaml", json.dumps(recipe).replace("99.5", "42"))
    assert "reference 42.00 +- 1 (a paper): +58.00, OUTSIDE the tolerance" in ocli("eval", path).out
    write("recipe.yaml", json.dumps(recipe).replace('"mine":', '"mein":'))
    wrong = ocli("eval", path)
    assert (wrong.rc, "reference: there is no task 'mein'" in wrong.err) == (2, True)


BAD_INPUTS = json.loads((Path(__file__).parent / "cases" / "likelihood_inputs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", BAD_INPUTS, ids=[case["what"] for case in BAD_INPUTS])
def test_bad_input_is_one_line(case: dict[str, Any], ocli: Ocli, write: Write) -> None:
    prompt = "{% block user %}{{ q }}{% endblock %}\n{% block assistant %}{{ target }}{% endblock %}\n"
    write("prompts/mc.jinja", case.get("prompt", prompt))
    rows = case.get("rows", [{"q": "x", "options": ["a", "b"], "label": 1}])
    write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    changed = case.get("task", {})
    data = {**TASK["data"], **changed.get("data", {})}
    plain = {
        "data": data,
        "prompt": "mc",
        "mode": "loglikelihood",
        "choices": "options",
        "score": [{"metric": "accuracy", "by": "sum"}],
    }
    write("task.yaml", json.dumps({**plain, **{key: value for key, value in changed.items() if key != "data"}}))
    done = ocli("eval", "-m", "echo:oracle", "-t", "task.yaml")
    assert (done.rc, case["error"] in done.err.splitlines()[-1]) == (2, True), done.err


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"tokens": 1}, "'choices' must be a list of mappings"),
        ({"logprob": 1.0, "tokens": 1}, "'choices' must be a list of mappings"),
        ({"logprob": -1.0, "tokens": -1}, "'choices' must be a list of mappings"),
        ({"logprob": float("nan"), "tokens": 1}, "'choices' must be a list of mappings"),
        ({"logprob": -1.0, "tokens": 1, "greedy": "yes"}, "'choices' must be a list of mappings"),
        ({"logprob": -1.0, "tokens": 1, "text": "other"}, "has the choice 'other' where item 0 asks for '\\na'"),
    ],
)
def test_replayed_likelihood_that_is_none(told: dict[str, Any], words: str, ocli: Ocli, write: Write) -> None:
    task = {**TASK, "score": [{"metric": "accuracy", "by": "sum"}]}
    write("prompts/mc.jinja", "{% block user %}{{ q }}{% endblock %}\n{% block assistant %}{{ target }}{% endblock %}\n")
    write("rows.jsonl", json.dumps({"q": "x", "options": ["a", "b"], "label": 1}) + "\n")
    write("task.yaml", json.dumps(task))
    write("replies.jsonl", json.dumps({"id": "0", "choices": [told, told]}) + "\n")
    done = ocli("eval", "-m", "replay:replies.jsonl", "-t", "task.yaml", "--set", "model.chat=false")
    assert words in done.err


def test_perplexity_leaves_out_what_is_not_told_and_can_be_infinite(ocli: Ocli, write: Write) -> None:
    task = {**TASK, "score": [{"metric": "perplexity"}]}
    rows = [{"q": str(n), "options": ["a", "b"], "label": 0} for n in range(3)]
    other = choice(-9.0, 1)
    told, _ = replayed(ocli, write, rows, [[choice(-2.0, 1), other], [choice(None, 1), other], [choice(-2.0, 1), other]], task)
    assert told["perplexity"]["score"] == pytest.approx(math.exp(2), abs=1e-4)
    assert (told["perplexity"]["n"], told["perplexity"]["unanswered"]) == (2, 1)
    told, done = replayed(ocli, write, rows, [[choice(-2000.0, 1), other]] * 3, task)
    assert (told["perplexity"]["score"], done.rc) == (None, 0)
    assert " inf" in done.out
