"""Two models on the same items: how much better, how sure that is, which items flipped, and what else differs."""

from ocli.stages.compare.comparison import Comparison, compare
from ocli.stages.compare.sides import Side, choose

__all__ = ["Comparison", "Side", "choose", "compare"]
