"""Tokens and money: what replies have used, what that costs at a model's prices, and whether a budget is spent.

Servers count a thought's tokens among those of the completion, and cached prompt tokens among those of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ocli.recipe import Budget, Price
from ocli.types import Context, Usage

_WORD = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")
_LETTERS = 7
"""Latin letters of one word that are one token; a digit or a sign is one by itself."""
_CHARACTER = 0.8
"""Tokens of any other character: Chinese, mostly."""


@dataclass
class Spent:
    """Sums over replies of one model."""

    price: Price | None = None
    requests: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def add(self, usage: Usage) -> None:
        """Count one reply; what a server does not tell counts nothing."""
        self.requests += 1
        self.prompt += usage.prompt or 0
        self.cached += usage.cached or 0
        self.completion += usage.completion or 0

    def add_all(self, usages: Iterable[Usage]) -> None:
        """Count many replies."""
        for usage in usages:
            self.add(usage)

    def include(self, other: Spent) -> None:
        """Count all that another sum has."""
        self.requests += other.requests
        self.prompt += other.prompt
        self.cached += other.cached
        self.completion += other.completion

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt + self.completion

    @property
    def cost(self) -> float | None:
        """What it all costs, in the price's currency; None where there is no price."""
        if self.price is None:
            return None
        cached = self.price.input if self.price.cached is None else self.price.cached
        fresh = self.prompt - self.cached
        return (fresh * self.price.input + self.cached * cached + self.completion * self.price.output) / 1e6

    @property
    def bill(self) -> str:
        """The cost with its currency: two decimals, or more where those would be zeros; empty where there is no price."""
        if self.price is None or self.cost is None:
            return ""
        precise = self.cost >= 0.1 or self.cost == 0
        return f"{self.cost:{'.2f' if precise else '.2g'}} {self.price.currency}"

    def to_json(self) -> dict[str, Any]:
        """Return it as ``summary.json`` has it."""
        counts = {"requests": self.requests, "prompt": self.prompt, "cached": self.cached, "completion": self.completion}
        return {**counts, "cost": self.cost, "currency": self.price and self.price.currency}

    def describe(self) -> str:
        """Say it in one line."""
        known = f" ({self.cached:,} cached)" if self.cached else ""
        words = [f"{self.requests:,} requests", f"{self.prompt:,} prompt tokens{known}", f"{self.completion:,} completion tokens"]
        return ", ".join(words + [self.bill] * bool(self.bill))


class Purse:
    """What a run may spend over all its models, and what it has spent."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.accounts: list[Spent] = []

    def open(self, price: Price | None) -> Account:
        """Return a new account of it, one model's."""
        account = Account(self, price)
        self.accounts.append(account)
        return account

    @property
    def empty(self) -> bool:
        """Whether the budget is spent."""
        tokens, cost = self.budget.tokens, self.budget.cost
        if tokens is not None and sum(account.tokens for account in self.accounts) >= tokens:
            return True
        return cost is not None and sum(account.cost or 0.0 for account in self.accounts) >= cost


class Account(Spent):
    """What one model spends out of a purse that all models share."""

    def __init__(self, purse: Purse, price: Price | None) -> None:
        super().__init__(price)
        self.purse = purse


def estimate_tokens(context: Context) -> int:
    """Estimate a prompt's tokens without the model's tokenizer.

    Of one prompt of each task of the catalog, nine in ten come out between 0.75 and 1.15 times what the tokenizers of GPT-4o and
    Llama 3 give; those of benchmarks with rare Chinese characters are up to twice as far off.
    """
    texts = [context] if isinstance(context, str) else [message["content"] for message in context]
    words = [word for text in texts for word in _WORD.findall(text)]
    letters = sum(-(-len(word) // _LETTERS) for word in words if word.isascii())
    return letters + round(_CHARACTER * sum(not word.isascii() for word in words))
