"""Scores of likelihoods: which choice is preferred, how probable the right one is, how perplexing a text.

All logarithms are natural. Of a choice, ``logprob`` is the sum over its tokens after its context; of equal values the first
choice is preferred (as numpy's argmax does in the references). Sources: lm-eval is EleutherAI/lm-evaluation-harness,
``lm_eval/api/task.py``, ConfigurableTask.process_results, and ``lm_eval/api/metrics.py``; OpenCompass is
open-compass/opencompass, ``openicl/icl_inferencer/icl_ppl_inferencer.py`` and ``models/huggingface.py`` (get_ppl).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from ocli.errors import RunError
from ocli.task import By, Rule

_LOGPROB, _TOKENS = pl.col("logprob"), pl.col("tokens")
_BASELINE = pl.col("baseline").struct


def _whole(field: str) -> pl.Expr:
    """The context's own part of a whole sequence; nothing where nobody needed it."""
    return pl.when(pl.col("context").is_null()).then(0).otherwise(pl.col("context").struct.field(field))


MEASURES: dict[By, pl.Expr] = {
    "sum": _LOGPROB,  # lm-eval acc; OpenCompass ll
    "token_mean": _LOGPROB / _TOKENS,
    "char_mean": _LOGPROB / pl.col("chars"),  # lm-eval acc_norm: characters of the choice itself, without what joins it
    "byte_mean": _LOGPROB / pl.col("bytes"),  # lm-eval acc_bytes
    # OpenCompass ppl: the whole sequence's negative log-likelihood over all its tokens, the unscored first one counted. The
    # context's is missing where all choices have the same context and as many tokens: then it changes no order.
    "sequence_mean": (_LOGPROB + _whole("logprob")) / (_TOKENS + _whole("tokens")),
    "unconditional": _LOGPROB - _BASELINE.field("logprob"),  # lm-eval acc_mutual_info; Brown et al. 2020, section 2.4
    # OpenCompass normalizing_str: ppl of the choice after its context less its ppl after the normalizing string, both means.
    "normalizing": _LOGPROB / _TOKENS - _BASELINE.field("logprob") / _BASELINE.field("tokens"),
    "clp": _LOGPROB,  # OpenCompass clp: the labels' probabilities as the next token
}
"""The value that the preferred choice has the most of."""

LIKELIHOOD = pl.Struct({"logprob": pl.Float64, "tokens": pl.Int64})
CHOICES = pl.List(
    pl.Struct(
        {
            "text": pl.String,
            "logprob": pl.Float64,
            "tokens": pl.Int64,
            "greedy": pl.Boolean,
            "context": LIKELIHOOD,
            "baseline": LIKELIHOOD,
        }
    )
)
"""What scoring reads of a prediction line's ``choices``."""


@dataclass(frozen=True)
class Perplexity:
    """How a text's negative log-likelihood becomes a number: over which units, and whether as an exponential or in bits."""

    units: pl.Expr
    bits: bool = False

    def of(self, nats_per_unit: float) -> float:
        """Return the number that is reported; infinity where it is too large for a float."""
        if self.bits:
            return nats_per_unit / math.log(2)
        return math.exp(nats_per_unit) if nats_per_unit < LARGEST else math.inf


LARGEST = 709.0
"""The exponential of more is no float."""

_BYTES = pl.col("text").str.len_bytes()
PERPLEXITIES: dict[str, Perplexity] = {
    "perplexity": Perplexity(pl.lit(1)),  # lm-eval perplexity, as of LAMBADA: the right choice is the unit
    "token_perplexity": Perplexity(_TOKENS),
    "word_perplexity": Perplexity(pl.col("text").str.count_matches(r"\s+") + 1),  # lm-eval: len(re.split(r"\s+", text))
    "byte_perplexity": Perplexity(_BYTES),
    "bits_per_byte": Perplexity(_BYTES, bits=True),
}
"""Metrics whose mean is weighted: the sum of the nats of all texts over the sum of their units (lm-eval weighted_perplexity)."""


def units_of(rule: Rule) -> str:
    """Return the column that holds the units of a rule's scores."""
    return f"{rule.label}_units"


def score_choices(frame: pl.DataFrame, rules: list[Rule]) -> pl.DataFrame:
    """Add ``answer0``, ... (the preferred choice's index) and ``score0``, ... for each rule.

    ``frame`` has a row an item: ``position, id, choices`` (texts)``, right, contexts`` (how many, where they differ) and
    ``likelihoods`` (``CHOICES``; null where the request failed). Scores are 0 to 1; those of ``PERPLEXITIES`` are nats per unit,
    with their units beside them.
    """
    flat = _flat(frame)
    for number, rule in enumerate(rules):
        frame = frame.join(_judge(flat, number, rule), on="position", how="left", maintain_order="left")
    return frame


def _judge(flat: pl.DataFrame, number: int, rule: Rule) -> pl.DataFrame:
    """Return ``position`` and a rule's columns, a row for each item that has likelihoods."""
    answer, score = f"answer{number}", f"score{number}"
    if rule.by is not None:
        _refuse(flat, rule.by)
        preferred = MEASURES[rule.by].arg_max().cast(pl.Int64)
        judged = flat.group_by("position").agg(preferred.alias(answer), pl.col("right").first())
        same = (pl.col(answer) == pl.col("right")).fill_null(value=False)
        return judged.select("position", answer, same.cast(pl.Float64).alias(score))
    right = pl.col("index") == pl.col("right")
    if rule.metric.name in PERPLEXITIES:
        units = PERPLEXITIES[rule.metric.name].units
        told = pl.when(_LOGPROB.is_not_null()).then(units.cast(pl.Float64))
        return flat.filter(right).select("position", (-_LOGPROB / units).alias(score), told.alias(units_of(rule)))
    value = _PROBABILITY if rule.metric.name == "probability" else pl.col("greedy").cast(pl.Float64)
    return flat.with_columns(value.alias(score)).filter(right).select("position", score)


_SHARE = (_LOGPROB - _LOGPROB.max().over("position")).exp()
_PROBABILITY = (_SHARE / _SHARE.sum().over("position")).fill_null(0.0)
"""The choice's share of the probability of all choices (softmax of their sums)."""


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a row a choice, in order, with what the measures read."""
    told = frame.filter(pl.col("likelihoods").is_not_null())
    other = told.filter((pl.col("choices").list.len() != pl.col("likelihoods").list.len()) & (pl.col("choices").list.len() > 0))
    if not other.is_empty():
        item = other["id"][0]
        raise RunError(f"item {item} has another number of choices than its reply has likelihoods: the replies are to other data")
    lines = told.select(
        "position", "id", pl.col("right").fill_null(0), "contexts", pl.col("choices").alias("choice"), "likelihoods"
    )
    lines = lines.with_columns(pl.int_ranges(0, pl.col("likelihoods").list.len()).alias("index"))
    if not lines["choice"].list.len().sum():  # a text for perplexity is no choice of a task
        lines = lines.with_columns(pl.col("likelihoods").list.eval(pl.element().struct.field("text")).alias("choice"))
    flat = lines.explode("index", "choice", "likelihoods").unnest("likelihoods")
    return flat.with_columns(pl.col("choice").str.len_chars().alias("chars"), pl.col("choice").str.len_bytes().alias("bytes"))


def _refuse(flat: pl.DataFrame, by: By) -> None:
    """Raise RunError for values that a measure cannot compare: they would give a number all the same."""
    if by == "clp":
        bad, why = _TOKENS != 1, "compares choices of one token, but item {id} has one of {tokens}; use 'by: sum'"
    elif by == "sequence_mean":  # of as many tokens after the same context the order is known without it
        bad = pl.col("context").is_null() & ((_TOKENS.n_unique().over("position") > 1) | pl.col("contexts").is_not_null())
        why = "needs the likelihood of the context, but item {id} was asked without it; ask again"
    elif by in ("unconditional", "normalizing"):
        bad, why = (
            pl.col("baseline").is_null(),
            "needs the likelihood after the baseline, but item {id} was asked without it; ask again",
        )
    else:
        return
    refused = flat.filter(bad)
    if not refused.is_empty():
        raise RunError(f"by: {by} {why.format(**refused.row(0, named=True))}")
