"""Under which conditions a model was asked: all that moves a score beside the model, and how the conditions of two runs differ.

Read from a run's ``configs/recipe.yaml`` alone. A run of an older ocli tells less: what is not on record is no condition.
``ocli.effects`` orders the conditions and says how far each has been seen to move a score.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ocli.effects import KINDS, PACKAGES, Kind
from ocli.recipe import ModelSpec, Recipe
from ocli.task import Call, Rule, TaskSpec

Values = dict[str, str | None]


@dataclass(frozen=True)
class Condition:
    """One condition of one model: a text for each task, or one under the empty name where it is the model's own."""

    kind: Kind
    parts: dict[str, str]
    about: dict[str, str] = field(default_factory=dict)
    """Per task the item that the text is about; texts about two items say nothing of each other."""

    @property
    def name(self) -> str:
        """What the condition is called."""
        return self.kind.name

    @property
    def value(self) -> str:
        """The condition as a short text; where tasks have several, each text is followed by its tasks."""
        if len(set(self.parts.values())) == 1:
            return next(iter(self.parts.values()))
        tasks: dict[str, list[str]] = {}
        for task, text in self.parts.items():
            tasks.setdefault(text, []).append(task)
        return "; ".join(f"{text} ({_listed(names)})" for text, names in tasks.items())


_HUBS = ("hf:", "modelscope:")
_ELSEWHERE = {
    "dtype", "torch_dtype", "quantization", "kv_cache_dtype", "max_model_len", "attn_implementation", "device",
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "max_num_seqs", "max_num_batched_tokens",
    "max_batch_size", "max_batch_tokens", "timeout", "deadline", "max_retries", "headers", "query", "proxy", "ca", "stream",
}  # fmt: skip
"""Engine arguments that other conditions tell as they took effect, that move no score, or that are nobody's business."""
_SUGGESTED = {
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "no_repeat_ngram_size", "guidance_scale", "bad_words_ids", "suppress_tokens",
}  # fmt: skip
_SECRET = re.compile(r"authorization|api[-_]?key|(^|_)token$|secret|password|cookie", re.IGNORECASE)


def fingerprint(recipe: Recipe, model: str, tasks: Sequence[str] | None = None) -> list[Condition]:
    """Return the conditions that a run tells of one model, those with the largest typical effect first.

    ``recipe`` is what ``Run.recipe`` reads. Of the tasks those that are named are looked at, else all.
    """
    spec, record = recipe.models[model], recipe.record.get("models", {}).get(model, {})
    whole = _of_model(recipe, spec, record)
    each = {name: _of_task(recipe, model, name) for name in (recipe.tasks if tasks is None else tasks)}
    items = {name: str(asked["item"]) for name in each if (asked := record.get("asked", {}).get(name))}
    conditions = []
    for kind in KINDS:
        told: Values = {task: values.get(kind.name) for task, values in each.items()} | {"": whole.get(kind.name)}
        parts = {task: _short(text, kind.longest) for task, text in told.items() if text is not None}
        if parts:
            conditions.append(Condition(kind, parts, items if kind.name == "prompt ids" else {}))
    return conditions


def differences(a: Sequence[Condition], b: Sequence[Condition]) -> list[tuple[str, str, str]]:
    """Return name, value in ``a`` and value in ``b`` of all that both tell and that differs, largest typical effect first.

    Where only some tasks differ, the name ends with them. What follows from another difference is left out.
    """
    shared: dict[str, dict[str, tuple[str, str]]] = {}
    others = {condition.name: condition for condition in b}
    for one in a:
        other = others.get(one.name)
        if other is not None:
            both = [task for task in one.parts if task in other.parts and one.about.get(task) == other.about.get(task)]
            shared[one.name] = {task: (one.parts[task], other.parts[task]) for task in both}
    differ = {name: {task: pair for task, pair in pairs.items() if pair[0] != pair[1]} for name, pairs in shared.items()}
    found = []
    for one in a:
        # What differs for a whole model (under the empty name) explains what differs for each of its tasks.
        explained = {task for cause in one.kind.follows for task in differ.get(cause, {})}
        if one.kind.in_parts and all(part in shared for part in one.kind.in_parts):
            continue
        left = {task: pair for task, pair in differ.get(one.name, {}).items() if not {"", task} & explained}
        by_pair: dict[tuple[str, str], list[str]] = {}
        for task, pair in left.items():
            by_pair.setdefault(pair, []).append(task)
        for pair, names in by_pair.items():
            every = len(names) == len(shared[one.name])
            found.append((one.name if every else f"{one.name} ({_listed(names)})", *pair))
    return found


def untold(a: Sequence[Condition], b: Sequence[Condition]) -> list[str]:
    """Return the names of the conditions that only one of the two tells, so that they cannot be compared.

    What only one can tell because of another difference (what joins a text, beside chat turns) is left out.
    """
    names = {condition.name for condition in a} ^ {condition.name for condition in b}
    differing = {name.partition(" (")[0] for name, *_ in differences(a, b)}
    return [kind.name for kind in KINDS if kind.name in names and not differing & set(kind.follows)]


def _of_model(recipe: Recipe, spec: ModelSpec, record: Mapping[str, Any]) -> Values:
    """Return what holds for all tasks of a model."""
    chat = bool(record.get("chat_template", spec.chat is not False))
    values: Values = {
        "chat template": _template(spec, record, chat),
        "prompts begin with": _begin(record),
        "system prompt": spec.system or "none",
        "likelihoods": record.get("likelihoods"),
        "adapted": _adapted(record.get("adapted")),
        "generation_config": _suggestion(record.get("generation_config")),
        "quantization": record.get("quantization"),
        "dtype": record.get("dtype"),
        "KV cache dtype": record.get("kv_cache_dtype"),
        "context": _text(record.get("context")),
        "model": record.get("served_model") or _name(spec),
        "model revision": _revision(record) or spec.revision,
        "engine": spec.engine,
        "attention": record.get("attention"),
        "batch": _plain(record.get("batch")),
        "parallel": _plain(record.get("parallel")),
        "engine arguments": _plain(_arguments(spec, "asked" in record)) or "none",
        "device": record.get("device") or _hosts(record.get("base_url")),
        "processor": record.get("processor"),
        "CUDA": record.get("cuda"),
        "driver": record.get("driver"),
    }
    packages = PACKAGES[""] + PACKAGES.get(spec.engine, ())
    return values | {name: recipe.versions.get(name) for name in packages}


def _of_task(recipe: Recipe, model: str, name: str) -> Values:
    """Return what is a task's own."""
    spec, task = recipe.models[model], recipe.tasks[name]
    record, of_model = recipe.record.get("tasks", {}).get(name, {}), recipe.record.get("models", {}).get(model, {})
    asked = of_model.get("asked", {}).get(name, {})
    sums = record.get("data_sha256", {})
    values: Values = {
        "BOS": _text(asked.get("bos")),
        "scoring rules": "; ".join(map(_rule, task.score)),
        "formulation": _formulation(task),
        "prompt": f"{task.prompt}, {record['prompt_sha256']}" if "prompt_sha256" in record else None,
        "joins": None if of_model.get("chat_template", spec.chat is not False) else _dump(task.join.model_dump()),
        "few-shot": _fewshot(task, recipe.seed),
        "examples": record.get("examples_sha256"),
        "on_overflow": task.on_overflow,
        "samples": str(task.samples),
        "data": ", ".join(f"{split} {value}" for split, value in sums.items()) or None,
        "data from": _places(record.get("data", {})),
        "questions": record.get("questions_sha256"),
        "items": f"{record['asked']} of {record['of']}" if "of" in record else None,
        "all that is asked": str(record.get("digest", ""))[:12] or None,
        "prompt ids": _ids(asked),
    }
    return values | (_sampling(recipe, spec, task, asked) if task.mode == "generate" or asked.get("sampling") else {})


def _sampling(recipe: Recipe, spec: ModelSpec, task: TaskSpec, asked: Mapping[str, Any]) -> Values:
    """Return the settings as they were sent, else as the recipe says them."""
    sent = asked.get("sampling")
    if sent is None:
        said = recipe.sampling.over(spec.sampling.over(task.sampling)).resolve(spec.generation_config)
        sent = {name: value for name, value in vars(said).items() if value is not None}
    sent = {"max_tokens" if name == "max_completion_tokens" else name: value for name, value in sent.items()}
    known = {kind.name for kind in KINDS}
    further = {name: value for name, value in sorted(sent.items()) if name not in known}
    values: Values = {name: _text(value) for name, value in sent.items() if name in known}
    values["stop"] = _dump(list(sent["stop"])) if sent.get("stop") else "none" if task.mode == "generate" else None
    return values | {"further settings": _plain(further)}


def _begin(record: Mapping[str, Any]) -> str | None:
    return " ".join(record["prefix_tokens"]) or "no special token" if "prefix_tokens" in record else None


def _template(spec: ModelSpec, record: Mapping[str, Any], chat: bool) -> str:
    if "chat_template" in record:
        return f"used, {record.get('chat_template_sha256', '')}".strip(", ") if chat else "not used"
    whose = "the server's" if spec.engine == "openai" else "none"
    return f"chat turns, template {whose}" if chat else "plain text"


def _ids(asked: Mapping[str, Any]) -> str | None:
    if "first" not in asked:
        return None
    return f"item {asked['item']}: {asked['tokens']} tokens, {asked['first']} ... {asked['last']}"


def _rule(rule: Rule) -> str:
    """Write a rule in one line: what reads or compares, and the metric."""
    read = _call(rule.extract) if rule.extract else f"by {rule.by}" if rule.by else "no comparison"
    weight = f", weight {rule.weight}" if rule.weight else ""
    return f"{rule.label}: {read}, {_call(rule.metric)}{weight}"


def _call(call: Call) -> str:
    return call.name + (f" {_dump(call.options)}" if call.options else "")


def _formulation(task: TaskSpec) -> str:
    told = {"choices": task.choices, "baseline": task.baseline, "window": task.window}
    return ", ".join([task.mode, *(f"{name} {value}" for name, value in told.items() if value is not None)])


def _fewshot(task: TaskSpec, seed: int) -> str:
    spec = task.fewshot
    if not spec.count:
        return "0"
    select = spec.select if isinstance(spec.select, str) else _dump(spec.select)
    if select == "random":
        select += f", seed {seed}"
    return f"{spec.count}, {select}, as {spec.as_}"


def _suggestion(config: Mapping[str, Any] | None) -> str | None:
    """Return what became of the repository's generation_config, of which lengths and ids of tokens are no sampling."""
    if not config:
        return None
    said = config["applied"] if config["used"] else config["says"]
    plain = {name: value for name, value in sorted(said.items()) if name in _SUGGESTED}
    return ("used" if config["used"] else "ignored") + (f": {_plain(plain)}" if plain else "")


def _adapted(record: Mapping[str, str] | None) -> str | None:
    """Return what a server takes only in other words, without its own words for why."""
    if record is None:
        return None
    return ", ".join(f"{name} {how.partition(':')[0]}" for name, how in sorted(record.items())) or "nothing"


def _revision(record: Mapping[str, Any]) -> str | None:
    told = {name: record[name] for name in ("model_revision", "model_digest", "replayed_sha256") if name in record}
    told |= {name: ", ".join(sorted(names)) for name, names in record.get("told", {}).items() if names}
    return _plain(told)


def _arguments(spec: ModelSpec, sent: bool) -> dict[str, Any]:
    """Return the engine's arguments that no other condition tells, and none that may hold a secret."""
    hidden = _ELSEWHERE | ({"extra_body"} if sent else set())
    return {name: value for name, value in spec.args.items() if name not in hidden}


def _places(origin: Mapping[str, str]) -> str | None:
    """Return where data came from: a hub and its commit. Of a directory only that it is one: its path is nobody's business."""
    return ", ".join(dict.fromkeys(place if place.startswith(_HUBS) else "local files" for place in origin.values())) or None


def _hosts(urls: str | None) -> str | None:
    """Return the servers without user, path and query."""
    if not urls:
        return None
    parts = [urlsplit(url.strip()) for url in urls.split(",")]
    return ", ".join(f"{part.hostname or '?'}{f':{part.port}' if part.port else ''}" for part in parts)


def _name(spec: ModelSpec) -> str | None:
    """Return a hub id as it is, of a directory or a file the last name."""
    path = spec.path or ""
    local = spec.engine == "replay" or path.startswith((".", "/", "~"))
    return Path(path).name if local else spec.path


def _plain(values: Mapping[str, Any] | None) -> str | None:
    """Write a mapping as ``name value, name value``; a name that sounds of a secret has none."""
    return ", ".join(f"{name} {_text(_hidden(name, value))}" for name, value in (values or {}).items()) or None


def _hidden(name: str, value: Any) -> Any:
    """Return a value without what could be a secret in it."""
    if _SECRET.search(name) and isinstance(value, str):
        return "***"
    return {key: _hidden(str(key), inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else _dump(value)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _short(text: str, longest: int) -> str:
    """Cut a long text; the hash at its end tells texts apart that begin alike."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 20]}... sha256 {hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"
