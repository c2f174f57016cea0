"""The schema of a task: its data, prompt, mode and scoring rules. Knows nothing of where files are, or of models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ocli.errors import did_you_mean
from ocli.schema import Strict
from ocli.types import Mode, Sampling

CAPABILITIES = (
    "exam", "knowledge", "language", "understanding", "reasoning", "math",
    "code", "instruction", "long_context", "safety", "chat",
)  # fmt: skip

By = Literal[
    "sum", "token_mean", "char_mean", "byte_mean", "sequence_mean", "unconditional", "normalizing", "clp",
]  # fmt: skip
"""How choices are compared by their likelihoods; ``ocli/metrics/likelihood.py`` has the formulas."""

COMPARING = ("accuracy",)
"""Metrics that need one choice to be preferred to the others."""

LIKELIHOOD_METRICS: dict[Mode, tuple[str, ...]] = {
    "generate": (),  # any @metric
    "loglikelihood": (*COMPARING, "probability", "greedy", "perplexity"),
    "perplexity": ("token_perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"),
}

RESULT_COLUMNS = {
    "id", "subset", "sample", "answer", "target", "score", "status", "groups", "key", "shots_dropped",
    "prompt_tokens", "cached_tokens", "completion_tokens", "verdict", "stderr", "cluster", "pattern", "offset",
}  # fmt: skip


def mode_name(mode: Mode, by: By | None) -> str:
    """Return what tables call the mode of a rule, in OpenCompass' words: gen, ppl, clp, or ll for other likelihoods."""
    if mode == "loglikelihood":
        return "ppl" if by in ("sequence_mean", "normalizing") else "clp" if by == "clp" else "ll"
    return "gen" if mode == "generate" else "ppl"


class SamplingSpec(Strict):
    """How replies are drawn; what is left out is decided by the layer below (recipe over model over task)."""

    temperature: float | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1)
    seed: int | None = None
    stop: list[Annotated[str, Field(min_length=1)]] | None = None

    def over(self, below: SamplingSpec) -> SamplingSpec:
        """Lay this over ``below``: a value said here wins."""
        return SamplingSpec(**{**below.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})

    def resolve(self, generation_config: bool = False) -> Sampling:
        """Return the request's settings, with ocli's own defaults (greedy, 1024 tokens) for what nobody said.

        With ``generation_config`` an unsaid temperature is left to the model's repository.
        """
        values = self.model_dump(exclude_none=True)
        if generation_config:
            values.setdefault("temperature", None)
        if "stop" in values:
            values["stop"] = tuple(values["stop"])
        return Sampling(**values)


class Call(Strict):
    """A registered function and its options: ``choice``, or ``{name: match_answer, pattern: ...}``."""

    name: str
    options: dict[str, Any] = {}

    @classmethod
    def read(cls, value: Any) -> Any:
        """Accept the two ways a recipe writes it."""
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "options" not in value:
            return {"name": value.get("name"), "options": {k: v for k, v in value.items() if k != "name"}}
        return value


CallSpec = Annotated[Call, BeforeValidator(Call.read)]


class Rule(Strict):
    """One way of scoring: the first rule of a task is the headline, the others are columns beside it.

    A generated reply is read by ``extract``; likelihoods are compared ``by``. With ``weight``, the name of a field that holds a
    number, the rule's mean over items is weighted by it.
    """

    name: str | None = None
    extract: CallSpec | None = None
    by: By | None = None
    metric: CallSpec
    weight: str | None = None

    @property
    def label(self) -> str:
        """The column this rule's score stands in."""
        return self.name or self.metric.name

    def check(self, mode: Mode, has_baseline: bool) -> None:
        """Raise ValueError where the rule does not go with the task's mode."""
        where, name = f"score: rule {self.label!r}", self.metric.name
        if mode == "generate":
            wrong = self.extract is None or self.by is not None
            _refuse({f"{where}: a generated reply is read by 'extract' (and not compared 'by' anything)": wrong})
            return
        known = LIKELIHOOD_METRICS[mode]
        has = f"{did_you_mean(name, known)} (it has: {', '.join(known)})"
        need = "needs 'by'" if self.by is None else "compares nothing, so it has no 'by'"
        alone = self.by in ("unconditional", "normalizing") and not has_baseline
        _refuse(
            {
                f"{where}: mode {mode} has no text to 'extract' from": self.extract is not None,
                f"{where}: mode {mode} has no metric {name!r}{has}": name not in known,
                f"{where}: metric {name} has no options in mode {mode}": bool(self.metric.options),
                f"{where}: metric {name} has units that weight it already": self.weight is not None and name not in COMPARING,
                f"{where}: metric {name} {need}": (self.by is None) == (name in COMPARING),
                f"{where}: 'by: {self.by}' needs 'baseline', an expression for the context that stands in for none": alone,
            }
        )


class Splits(Strict):
    """Which split of the data is asked, and which one gives the few-shot examples."""

    test: str = "test"
    fewshot: str | None = None


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class DataSpec(Strict):
    """Where rows come from and what their fields are called.

    ``local`` patterns are tried in order below ``--data-dir`` (a directory, or a zip); a pattern that begins with ``./``
    is beside the file that says it. ``{split}`` and ``{subset}`` are filled in. ``columns`` names files with one value a line
    for each row, ``texts`` files whose whole text every row gets, ``each`` a column whose list gives one question an element
    (``a.b``: a list within), ``where`` an expression that a question must meet.
    """

    local: Annotated[list[str], BeforeValidator(_as_list)] = []
    hub: str | None = None
    hub_files: str | None = None
    revision: str | None = None
    modelscope: str | None = None
    splits: Splits = Splits()
    subsets: dict[str, dict[str, Any]] = {}
    only: list[str] | None = Field(None, min_length=1)
    header: list[str] | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    columns: dict[str, Annotated[list[str], BeforeValidator(_as_list)]] = {}
    texts: dict[str, Annotated[list[str], BeforeValidator(_as_list)]] = {}
    each: str | None = None
    where: str | None = None
    fields: dict[str, str] = {}

    @field_validator("subsets", mode="before")
    @classmethod
    def _list_of_names(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {name: {} for name in value}
        return {name: fields or {} for name, fields in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _has_a_source(self) -> DataSpec:
        if not (self.local or self.hub or self.modelscope):
            raise ValueError("says no source: give 'local', 'hub' or 'modelscope'")
        if self.hub and not self.hub_files:
            raise ValueError("'hub' needs 'hub_files', the pattern of its files")
        for name in self.only or []:
            if name not in self.subsets:
                raise ValueError(f"only: there is no subset {name!r}{did_you_mean(name, self.subsets)}")
        return self

    @property
    def asked(self) -> list[str | None]:
        """The subsets that are asked; ``[None]`` where there are none."""
        return [name for name in self.subsets if self.only is None or name in self.only] or [None]


class FewShot(Strict):
    """Worked examples before the question: the first rows of the few-shot split, random ones, or the rows of these indices."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    count: int = Field(0, ge=0)
    select: Literal["first", "random"] | list[Annotated[int, Field(ge=0)]] = "first"
    as_: Literal["turns", "text"] = Field("turns", alias="as")

    @model_validator(mode="before")
    @classmethod
    def _a_list_says_its_count(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("select"), list):
            size = len(values["select"])
            if values.setdefault("count", size) != size:
                raise ValueError(f"'select' lists {size} rows, but 'count' says {values['count']}; leave 'count' out")
        return values


class Join(Strict):
    """What stands between the parts of a base model's text; for a chat model the parts are turns.

    The defaults are OpenCompass' (``opencompass/models/base.py``, LMTemplateParser without a meta template).
    """

    system: str = "\n"
    answer: str = "\n"
    examples: str = "\n"
    question: str | None = None
    """Between the last example and the question; left out: as between examples."""
    reply: str = ""
    """After the question, where a reply is generated: what the model is to go on from, such as "Answer:"."""


class TaskSpec(Strict):
    """A benchmark: data, prompt, mode and scoring rules.

    ``items`` is how many its authors publish, of all subsets or of each; ``labels: false`` says that they do not publish what is
    right: then replies are written to a submission file instead of being scored. ``samples`` is how often each item is asked,
    ``pass_at`` the k of pass@k (left out: 2, 4, 8, ... samples). ``cluster`` is an expression for what several questions share,
    such as their passage: answers to them are not independent of each other.
    """

    description: str = ""
    capability: Literal[CAPABILITIES] = "exam"  # type: ignore[valid-type]
    source: str = ""
    version: int = 1
    abbr: str | None = None
    items: Annotated[int, Field(ge=1)] | dict[str, Annotated[int, Field(ge=1)]] | None = None
    labels: bool = True
    data: DataSpec
    prompt: str
    fewshot: FewShot = FewShot()
    join: Join = Join()
    on_overflow: Literal["error", "drop_shots"] = "error"
    mode: Mode = "generate"
    choices: str | None = None
    cluster: str | None = None
    baseline: str | None = None
    window: int | None = Field(None, ge=1)
    twin: str | None = None
    sampling: SamplingSpec = SamplingSpec()
    samples: int = Field(1, ge=1)
    pass_at: list[Annotated[int, Field(ge=1)]] = []
    score: list[Rule] = Field(min_length=1)
    groups: list[str] = []

    @model_validator(mode="after")
    def _consistent(self) -> TaskSpec:
        if self.fewshot.count and not self.data.splits.fewshot:
            raise ValueError("asks for few-shot examples, but data.splits names no 'fewshot' split")
        perplexing = [rule.label for rule in self.score if rule.extract is None and rule.by is None]
        labels = [*(rule.label for rule in self.score), *(f"{label}_units" for label in perplexing)]
        if len(set(labels)) < len(labels):
            raise ValueError(f"score: two rules are called the same ({', '.join(labels)}); give them a 'name'")
        taken = set(labels) & RESULT_COLUMNS
        if taken:
            raise ValueError(f"score: a rule cannot be called {', '.join(sorted(taken))}: the results have a column of that name")
        if "target" not in self.data.fields and self.mode != "perplexity":
            raise ValueError("data.fields must say what 'target' is")
        if isinstance(self.items, dict) and set(self.items) != set(self.data.subsets):
            odd = ", ".join(sorted(set(self.items) ^ set(self.data.subsets)))
            raise ValueError(f"items: must count the items of every subset and of nothing else (look at {odd})")
        self._check_mode()
        return self

    @property
    def published(self) -> int | None:
        """How many items the subsets that are asked have; None where nobody says."""
        if isinstance(self.items, dict):
            return sum(self.items[subset] for subset in self.data.asked if subset is not None)
        return self.items if self.data.only is None else None

    def _check_mode(self) -> None:
        """Refuse what means nothing in the task's mode: it would be ignored without a word."""
        likelihood, perplexity = self.mode == "loglikelihood", self.mode == "perplexity"
        _refuse(
            {
                "mode loglikelihood needs 'choices', an expression that lists the texts to compare": likelihood
                and not self.choices,
                "mode perplexity scores a text as it is: it has no 'choices' and no 'fewshot'": perplexity
                and bool(self.choices or self.fewshot.count),
                "'window' is for mode perplexity": self.window is not None and not perplexity,
                "'baseline' is for mode loglikelihood": self.baseline is not None and not likelihood,
                "'labels: false' is for mode generate": not self.labels and self.mode != "generate",
                "'samples' is for mode generate: a likelihood is the same every time": self.samples > 1
                and self.mode != "generate",
                "'samples' and 'labels: false' do not go together: a file of answers has one an item": self.samples > 1
                and not self.labels,
                f"pass_at: draws more than the {self.samples} samples there are": max(self.pass_at, default=0) > self.samples,
            }
        )
        for rule in self.score:
            rule.check(self.mode, self.baseline is not None)


def _refuse(problems: dict[str, bool]) -> None:
    """Raise ValueError with the first problem that is there."""
    for problem, there in problems.items():
        if there:
            raise ValueError(problem)
