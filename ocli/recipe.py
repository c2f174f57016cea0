"""The schema of recipes, models and suites. Knows nothing of where files are (``catalog.py``) and of what is done with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from ocli.errors import did_you_mean
from ocli.schema import Strict
from ocli.task import SamplingSpec, TaskSpec

ENGINES = tuple(sorted(path.stem for path in (Path(__file__).parent / "engines").glob("[a-z]*.py")))
"""An engine is a file; its name is the file's."""


RATES = ("rpm", "tpm", "qps")
"""How fast a server may be asked."""


def _is_a_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("is the *name* of an environment variable, never the key itself: export the key and write its name")
    return value


EnvName = Annotated[str, AfterValidator(_is_a_name)]
"""The name of an environment variable that holds a secret."""


class Price(Strict):
    """What a server takes for a million tokens; ``cached`` left out: as ``input``."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(None, ge=0)
    currency: str = "USD"


class Budget(Strict):
    """What a run may spend, over all its models: tokens (prompt and completion), and money at the models' prices."""

    tokens: int | None = Field(None, ge=1)
    cost: float | None = Field(None, gt=0)


class ModelSpec(Strict):
    """An engine, a path or name, and its load and sampling settings."""

    may_hold_a_key = True
    description: str = ""
    engine: str
    path: str | None = None
    revision: str | None = None
    chat: bool | None = None
    system: str | None = None
    trust_remote_code: bool = False
    generation_config: bool = False
    args: dict[str, Any] = {}
    engines: dict[str, dict[str, Any]] = {}
    sampling: SamplingSpec = SamplingSpec()
    base_url: str | Annotated[list[str], Field(min_length=1)] | None = None
    api_key_env: EnvName | None = None
    concurrency: int | None = Field(None, ge=1)
    rpm: float | None = Field(None, gt=0)
    tpm: float | None = Field(None, gt=0)
    qps: float | None = Field(None, gt=0)
    price: Price | None = None

    @field_validator("engine")
    @classmethod
    def _is_an_engine(cls, value: str) -> str:
        if value not in ENGINES:
            raise ValueError(f"no engine is called {value!r}{did_you_mean(value, ENGINES)} (there are: {', '.join(ENGINES)})")
        return value

    @model_validator(mode="after")
    def _only_servers_are_rated(self) -> ModelSpec:
        for name in RATES:
            if self.engine != "openai" and getattr(self, name) is not None:
                raise ValueError(f"{name!r} is for engine openai: {self.engine} asks no server")
        return self

    @model_validator(mode="after")
    def _has_a_path(self) -> ModelSpec:
        if self.engine in ("vllm", "transformers", "openai", "replay") and not self.path:
            raise ValueError(
                f"engine {self.engine} needs a 'path' (a hub id, a directory, a file, or the API's name of the model)"
            )
        return self


class SuiteSpec(Strict):
    """A named list of tasks."""

    description: str = ""
    tasks: list[str] = Field(min_length=1)


SIGNED = ("feishu", "lark", "dingtalk")
"""Services whose messages can be signed."""


class NotifySpec(Strict):
    """Who is told how a run goes, and when. The webhook's URL is a secret: an environment variable holds it."""

    to: Literal["feishu", "lark", "dingtalk", "wecom", "slack", "webhook"]
    url_env: EnvName
    secret_env: EnvName | None = None
    when: list[Literal["started", "finished", "failed"]] = ["started", "finished", "failed"]

    @model_validator(mode="before")
    @classmethod
    def _holds_no_address(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise ValueError("is a mapping, as {to: slack, url_env: SLACK_URL}")
        if any("://" in str(said) for said in value.values()):  # and no error may repeat it
            raise ValueError("a webhook's URL is a secret and does not belong in a recipe: export it and write 'url_env: NAME'")
        return value

    @model_validator(mode="after")
    def _signs(self) -> NotifySpec:
        if self.secret_env and self.to not in SIGNED:
            raise ValueError(f"secret_env: {self.to} signs nothing, only {', '.join(SIGNED)} do; leave it out")
        return self


class Settings(Strict):
    """How a run is made; none of it changes what one request asks, but for ``sampling`` and ``seed``."""

    data_dir: str | None = None
    work_dir: str = "outputs"
    limit: int | None = Field(None, ge=1)
    shard: str | None = None
    offline: bool = False
    seed: int = 0
    allow_code_exec: bool = False
    sandbox: str = "auto"
    sampling: SamplingSpec = SamplingSpec()
    budget: Budget = Budget()
    notify: list[NotifySpec] = []

    @field_validator("notify", mode="before")
    @classmethod
    def _is_a_list(cls, value: Any) -> Any:
        if not isinstance(value, list):  # pydantic's own words would repeat what may be a URL
            raise ValueError("is a list, as [{to: slack, url_env: SLACK_URL}]")
        return value

    @field_validator("shard")
    @classmethod
    def _is_a_share(cls, value: str | None) -> str | None:
        if value is not None:
            part, _, parts = value.partition("/")
            if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
                raise ValueError(f"must be like 2/4, the second of four shares, not {value!r}")
        return value


class Reference(Strict):
    """A published score to compare with, 0 to 100; ``tolerance`` is how far a faithful run may be from it."""

    score: float
    source: str
    tolerance: Annotated[float, Field(ge=0)]


References = dict[str, dict[str, Reference]]
"""By model, then by task."""


class RecipeSpec(Settings):
    """What ``ocli eval`` is given: models x tasks. ``model`` and ``task`` are laid over every model and task."""

    may_hold_a_key = True
    description: str = ""
    models: list[str | dict[str, Any]] = []
    tasks: list[str | dict[str, Any]] = []
    skip: list[str] = []
    model: dict[str, Any] = {}
    task: dict[str, Any] = {}
    reference: References = {}


class Recipe(Settings):
    """A recipe with every name resolved: what a run does, and what its ``configs/recipe.yaml`` keeps."""

    name: str
    description: str = ""
    models: dict[str, ModelSpec]
    tasks: dict[str, TaskSpec]
    reference: References = {}
    versions: dict[str, str] = {}
    record: dict[str, Any] = {}
    """What was decided while the run was made: data revisions, chat template, generation_config."""
