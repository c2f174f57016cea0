"""What a run puts on record beside its replies, so that ``ocli.fingerprint`` can tell how two runs differ. Nothing secret."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ocli import effects
from ocli.catalog import find_prompt
from ocli.engines import Engine
from ocli.plan import TaskPlan
from ocli.recipe import ModelSpec
from ocli.types import Request

PACKAGES = tuple(name for names in effects.PACKAGES.values() for name in names if name not in ("ocli", "python"))
"""Packages that have a say in replies or scores, of which a run keeps the versions."""
_INCLUDED = re.compile(r"""\{%[-+]?\s*(?:include|extends|import|from)\s+["']([^"']+?)(?:\.jinja)?["']""")


def of_task(plan: TaskPlan) -> dict[str, Any]:
    """Return what is known of a task before it is asked: where its data is from, and hashes of all that makes up its requests.

    ``digest`` is over everything that is asked of it; the other sums (12 hex digits) tell which part of it has changed.
    """
    whole = max(plan.total, plan.spec.published or 0)  # data that lacks rows gives a partial score
    items = ([item.id, item.values, item.accepted or item.target, item.choices, item.right] for item in plan.items)
    shown = plan.spec.fewshot.count
    record = {
        "data": plan.origin,
        "data_sha256": plan.data_sha256,
        "prompt_sha256": _sum(_sources(plan.prompt.path)),
        **({"examples_sha256": _sum([[subset, plan.shots[subset]] for subset in plan.shots])} if shown else {}),
        "questions_sha256": _sum(items),
        "digest": plan.digest,
        "asked": len(plan.items),
        "of": whole,
    }
    subsets = plan.spec.data
    return {**record, "subsets": [len(subsets.asked), len(subsets.subsets)]} if subsets.only else record


def of_model(engine: Engine, firsts: Iterable[Request], before: dict[str, Any]) -> dict[str, Any]:
    """Return what an engine has decided, and per task how its first request is sent: its prompt's ids and its sampling.

    ``before`` is what was on record until now: what servers have told of themselves in an earlier part of the run stays.
    """
    asked = {request.task: {"item": request.id, **engine.sent(request)} for request in firsts}
    told = {name: list(names) for name, names in before.get("told", {}).items()}
    for name, names in engine.record.get("told", {}).items():
        told[name] = list(dict.fromkeys([*told.get(name, []), *names]))
    return {**engine.record, **({"told": told} if told else {}), "asked": asked}


def describe(spec: ModelSpec, engine: Engine) -> str:
    """Say in one line how a model is asked."""
    record = engine.record
    words = [f"engine {spec.engine}", f"asked {'in chat turns' if engine.chat else 'with plain text'}"]
    if "device" in record:
        words.append(f"on {record['device']}")
    if "chat_template_reason" in record:
        words.append(f"chat template {'used' if engine.chat else 'not used'} ({record['chat_template_reason']})")
        words.append(f"prompts begin with {' '.join(record['prefix_tokens']) or 'no special token'}")
    if record.get("generation_config", {}).get("says"):
        config = record["generation_config"]
        words.append(f"generation_config {'used' if config['used'] else 'ignored'}")
    if "served_model" in record:
        words.append(f"{record['served_model']} at {record['base_url']}")
    return ", ".join(words)


def _sources(path: Path) -> list[str]:
    """Return the text of a prompt file, followed by those of the files that it includes."""
    text = path.read_text(encoding="utf-8")
    return [text, *(source for name in _INCLUDED.findall(text) for source in _sources(find_prompt(name)))]


def _sum(values: Iterable[Any]) -> str:
    """Hash values one after the other."""
    whole = hashlib.sha256()
    for value in values:
        whole.update(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace"))
    return whole.hexdigest()[:12]
