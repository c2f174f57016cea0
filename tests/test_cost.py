"""Tokens and money: what a run would cost, what it has cost, and that it stops when its budget is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Ocli, Write

from ocli.cost import Purse, Spent, estimate_tokens
from ocli.recipe import Budget, Price
from ocli.types import Usage

PRICE = "model.price={input: 2, output: 10, cached: 0.5, currency: CNY}"


@pytest.fixture
def questions(write: Write) -> Path:
    rows = "".join(f"Is {number} a number?,yes,no,A\n" for number in range(100))
    return write("q.csv", "question,A,B,answer\n" + rows)


def test_cost_counts_cached_tokens_at_their_own_price() -> None:
    spent = Spent(Price(input=2, output=10, cached=0.5))
    spent.add_all([Usage(1_000_000, 400_000, 100_000), Usage(None, None, None)])
    assert (spent.requests, spent.tokens, spent.cost) == (2, 1_100_000, 0.6 * 2 + 0.4 * 0.5 + 0.1 * 10)
    assert Spent(Price(input=2, output=10), 1, 1_000_000, 1_000_000, 0).cost == 2
    assert Spent(None, 1, 5, 0, 5).cost is None


def test_a_purse_is_empty_when_all_models_together_have_spent_it() -> None:
    purse = Purse(Budget(tokens=100))
    first, second = purse.open(None), purse.open(None)
    first.add(Usage(60, 0, 0))
    assert not purse.empty
    second.add(Usage(30, 0, 10))
    assert purse.empty
    assert not Purse(Budget()).empty


@pytest.mark.parametrize(("amount", "text"), [(0, "0.00 EUR"), (12.345, "12.35 EUR"), (0.1, "0.10 EUR"), (0.00123, "0.0012 EUR")])
def test_money_is_never_rounded_to_nothing(amount: float, text: str) -> None:
    assert Spent(Price(input=amount, output=1, currency="EUR"), prompt=1_000_000).bill == text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("The answer is forty", 4), ("internationalisation", 3), ("2024", 4), ("今天天气很好", 5), ("a=b", 3)],
)
def test_tokens_are_estimated(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens
    assert estimate_tokens(({"role": "user", "content": text}, {"role": "assistant", "content": text})) == pytest.approx(
        2 * tokens, abs=1
    )


def test_report_says_what_a_run_has_cost(ocli: Ocli, questions: Path) -> None:
    done = ocli("eval", "-m", "echo:A", "-t", "q.csv", "--set", PRICE)
    summary = json.loads((done.run / "summary" / "summary.json").read_text())
    lines = [json.loads(line) for line in next((done.run / "predictions").rglob("*.jsonl")).read_text().splitlines()]
    prompt, completion = (sum(line["usage"][name] for line in lines) for name in ("prompt", "completion"))
    spent = summary["spent"]["echo_A"]
    assert (spent["requests"], spent["prompt"], spent["completion"], spent["currency"]) == (100, prompt, completion, "CNY")
    assert spent["cost"] == pytest.approx((2 * prompt + 10 * completion) / 1e6)
    assert f"echo_A: 100 requests, {prompt:,} prompt tokens, {completion:,} completion tokens, " in done.out
    assert any("CNY" in line and "0 errors" in line for line in done.err.splitlines())  # the progress line


def test_budget_stops_a_run_that_can_go_on(ocli: Ocli, questions: Path) -> None:
    whole = ocli("eval", "-m", "echo:A", "-t", "q.csv", "-w", "whole")
    per_item = json.loads((whole.run / "summary" / "summary.json").read_text())["spent"]["echo_A"]["prompt"] / 100 + 1
    command = ("eval", "-m", "echo:A", "-t", "q.csv", "--set", "model.concurrency=4")
    done = ocli(*command, "--set", f"budget.tokens={round(30 * per_item)}")
    assert done.rc == 1
    asked = len(next((done.run / "predictions").rglob("*.jsonl")).read_text().splitlines())
    assert 30 <= asked <= 33  # what was in flight is paid for, and kept
    assert f"the budget is spent, {100 - asked} questions are not asked" in done.err
    again = ocli(*command, "-r", "--set", f"budget.tokens={round(30 * per_item)}")
    assert (again.rc, "0 asked now" in again.err) == (1, True)
    last = ocli(*command, "-r")
    assert (last.rc, f"{asked} replies were there already, {100 - asked} asked now" in last.err) == (0, True)


def test_budget_is_shared_by_all_models(ocli: Ocli, questions: Path) -> None:
    done = ocli("eval", "-m", "echo:A", "-m", "echo:B", "-t", "q.csv", "--set", PRICE, "--set", "budget.cost=0.0001")
    assert done.rc == 1
    assert "echo_B: not asked, for the budget is spent" in done.err


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["budget.cost=1"], "model echo_A has no 'price'"),
        (["budget.tokens=0"], "budget.tokens"),
        (["budget.coins=3"], "did you mean 'cost'"),
        (["model.price={input: 1}"], "output"),
        (["model.rpm=5"], "'rpm' is for engine openai"),
    ],
)
def test_wrong_budgets_are_one_line(ocli: Ocli, questions: Path, sets: list[str], said: str) -> None:
    done = ocli("eval", "-m", "echo:A", "-t", "q.csv", *(word for one in sets for word in ("--set", one)))
    assert (done.rc, done.out) == (2, "")
    assert said in done.err


def test_dry_run_asks_nothing_and_needs_no_key(ocli: Ocli, questions: Path) -> None:
    done = ocli("eval", "-m", "openai:gpt-4o-mini", "-t", "q.csv", "--limit", 10, "--set", PRICE, "--dry-run")
    assert done.rc == 0
    head, row, *prompt = done.out.splitlines()
    assert head.split() == ["model", "task", "requests", "prompt", "tokens", "completion", "tokens", "can", "show"]
    assert row.split()[:3] == ["openai_gpt-4o-mini", "q", "10"]
    assert row.count("CNY") == 2
    assert "29.5 points" in row  # 2.8016 * (1 / 3) / sqrt(10)
    assert any("Is 0 a number?" in line or "a number?" in line for line in prompt)
    assert not Path("outputs").exists()


def test_dry_run_counts_each_choice_of_a_server_and_each_item_of_an_engine(ocli: Ocli, questions: Path) -> None:
    likelihood = ["--set", "task.mode=loglikelihood", "--set", "task.score=[{by: sum, metric: accuracy}]"]
    server = ocli("eval", "-m", "openai:base", "--set", "model.chat=false", "-t", "q.csv", *likelihood, "--dry-run")
    engine = ocli("eval", "-m", "hf:base", "-t", "q.csv", *likelihood, "--dry-run")
    assert [done.out.splitlines()[1].split()[2] for done in (server, engine)] == ["200", "100"]
