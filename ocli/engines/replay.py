"""Replies made elsewhere: JSONL lines with ``text`` (or ``texts``, one a sample) and the item's ``id``, or a request's ``key``.

``replay:FILE`` answers one task, ``replay:DIR`` reads ``DIR/<task>.jsonl``. The prediction files of a run are replay files
too. What the file has no reply for is a failed request, never a wrong answer.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocli.engines import refuse_unknown
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.rows import read_rows
from ocli.task import TaskSpec
from ocli.types import MODEL_PART, Likelihood, Reply, Request, Row, Scored, Usage


@dataclass
class _Table:
    """One file's replies: by the question's part of their key, and by item and sample, each with its place in the file."""

    by_key: dict[str, Row] = field(default_factory=dict)
    by_item: dict[tuple[str, int], tuple[Row, str]] = field(default_factory=dict)


class Engine:
    """A look-up in files."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, [], "replay")
        self.path = Path(spec.path or "").expanduser()
        self.chat = spec.chat is not False
        self.concurrency = spec.concurrency or 64
        self.identity: list[Any] = []
        self.likelihood_identity: list[Any] = []
        self.record: dict[str, Any] = {"replayed_from": str(self.path.resolve())}
        self._tables: dict[str, _Table] = {}

    def check(self, tasks: Mapping[str, TaskSpec]) -> None:
        """Refuse one file for several tasks: item 0 of each would get the same reply."""
        self._must_exist()
        if self.path.is_dir():
            for task in tasks:
                self._file(task)
        elif len(tasks) > 1:
            raise EngineError(f"replay:{self.path} has one file for {len(tasks)} tasks; give a folder with <task>.jsonl each")

    async def start(self) -> None:
        """Take the sum of what is replayed, so that a changed file is replayed anew."""
        self._must_exist()
        whole = hashlib.sha256()
        for path in sorted(self.path.glob("*.jsonl")) if self.path.is_dir() else [self.path]:
            try:
                whole.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise EngineError(f"replay:{path}: cannot be read: {error.strerror}") from None
            if self.path.is_dir():
                whole.update(path.name.encode())
        self.identity = ["replay", whole.hexdigest()]
        self.record["replayed_sha256"] = whole.hexdigest()[:12]

    async def generate(self, request: Request) -> Reply:
        """Return the recorded reply of this request's key, or of its item."""
        table = self._table(request.task)
        found = table.by_item.get((request.id, request.sample))
        row = found[0] if found else None
        question = request.key[MODEL_PART:]
        # Of two items that ask the same, each has its own reply; where an id means another question, the key knows better.
        if row is None or _question(row) != question:
            row = table.by_key.get(question, row)
        if row is None:
            sample = f", sample {request.sample}" if request.sample else ""
            return Reply(error=f"the replay file has no reply for item {request.id}{sample}")
        return _reply(row)

    async def loglikelihood(self, request: Request) -> Reply:
        """Return the recorded likelihoods of this request's choices."""
        reply = await self.generate(request)
        if reply.error is None and (reply.choices is None or len(reply.choices) != len(request.choices)):
            has = "no likelihoods" if reply.choices is None else f"the likelihoods of {len(reply.choices)} choices"
            return Reply(error=f"the replay file has {has} for item {request.id}, which asks for {len(request.choices)}")
        for choice, scored in zip(request.choices, reply.choices or (), strict=False):
            if scored.text and scored.text != choice.text:
                return Reply(
                    error=f"the replay file has the choice {scored.text!r} where item {request.id} asks for {choice.text!r}"
                )
            if request.single and scored.own.tokens != 1:
                return Reply(error=f"by: clp needs choices of one token, but item {request.id} has one of {scored.own.tokens}")
        apart = any(choice.context != request.choices[0].context for choice in request.choices)
        if request.whole and apart and any(scored.context is None for scored in reply.choices or ()):
            return Reply(error=f"the replay file has no likelihood of the contexts of item {request.id}, which differ")
        return reply

    def fits(self, request: Request) -> bool:
        """Anything fits."""
        return True

    def sent(self, request: Request) -> dict[str, Any]:
        """Nothing is sent anywhere."""
        return {}

    async def close(self) -> None:
        """Nothing to give back."""

    def _must_exist(self) -> None:
        if not self.path.exists():
            raise EngineError(f"replay:{self.path}: no such file or directory (working directory: {Path.cwd()})")

    def _file(self, task: str) -> Path:
        path = self.path / f"{task}.jsonl" if self.path.is_dir() else self.path
        if not path.is_file():
            raise EngineError(f"replay:{self.path}: has no file {path.name} with the replies of task {task}")
        return path

    def _table(self, task: str) -> _Table:
        if task not in self._tables:
            self._tables[task] = _index(self._file(task))
        return self._tables[task]


def _index(path: Path) -> _Table:
    table = _Table()
    rows = read_rows(path)
    for place, row in zip(_places(path, len(rows)), rows, strict=True):
        _check(place, row)
        texts = row["texts"] if "texts" in row else [row.get("text") or ""]
        first = row.get("sample") or 0
        for sample, text in enumerate(texts, start=first):
            reply = {**row, "text": text}
            if row.get("key") is not None and sample == first:
                table.by_key.setdefault(row["key"][MODEL_PART:], reply)
            if row.get("id") is None:
                continue
            item = (str(row["id"]), sample)
            if item in table.by_item:
                raise EngineError(
                    f"{place}: a second reply for item {item[0]}, sample {sample}; the first is at {table.by_item[item][1]}"
                )
            table.by_item[item] = (reply, place)
    return table


def _places(path: Path, count: int) -> list[str]:
    """Name each row as an editor does. Blank lines of a JSONL file hold no row, but count."""
    if path.suffix.lower() == ".jsonl":
        lines = path.read_bytes().decode("utf-8-sig", "replace").split("\n")
        numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
        if len(numbers) == count:
            return [f"{path}:{number}" for number in numbers]
    return [f"{path}: row {number}" for number in range(1, count + 1)]


def _check(place: str, row: Row) -> None:
    """Refuse a row that is no reply: what is not text now would be a crash, or a wrong score, when it is scored."""
    names = f"the line has: {', '.join(row)}"
    if "text" not in row and "texts" not in row and not row.get("choices"):
        raise EngineError(f"{place}: a reply needs 'text' (or 'texts'); {names}")
    if row.get("id") is None and row.get("key") is None:
        raise EngineError(f"{place}: a reply needs the 'id' or 'key' of what it answers; {names}")
    key, item, texts, usage = row.get("key"), row.get("id"), row.get("texts"), row.get("usage")
    problems = {
        "'key' must be 32 hex digits, as a run's predictions have it": key is None or _is_key(key),
        "'id' must be a string or a whole number": item is None or _is_whole(item) or isinstance(item, str),
        "'texts' must be a list of strings": "texts" not in row or _are_strings(texts),
        "'text' must be a string": "texts" in row or isinstance(row.get("text", ""), str) or bool(row.get("error")),
        "'choices' must be a list of mappings with 'logprob' (0 or less, or null), 'tokens' and 'greedy' (or none)": _are_choices(
            row.get("choices")
        ),
        "'sample' must be a whole number": _is_count(row.get("sample")),
        "'usage' must hold whole numbers": usage is None or (isinstance(usage, dict) and all(map(_is_count, usage.values()))),
        "'seconds' must be a number": isinstance(row.get("seconds") or 0, (int, float)),
    }
    for name in ("reasoning", "finish_reason"):
        problems[f"'{name}' must be a string"] = row.get(name) is None or isinstance(row[name], str)
    for problem, fine in problems.items():
        if not fine:
            raise EngineError(f"{place}: {problem}")


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}", value) is not None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return value is None or (_is_whole(value) and value >= 0)


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _are_choices(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(part, dict) and _is_likely(part) for part in value))


def _is_likely(value: Any) -> bool:
    """Whether a mapping holds a likelihood: a sum of log-probabilities (none for zero), tokens, and the same of its context."""
    logprob, tokens = value.get("logprob", 1), value.get("tokens")
    fine = logprob is None or (isinstance(logprob, (int, float)) and not isinstance(logprob, bool) and -math.inf < logprob <= 0)
    fine = fine and _is_whole(tokens) and tokens >= 0 and value.get("greedy") in (None, True, False)
    inner = [value[name] for name in ("context", "baseline") if value.get(name) is not None]
    return fine and all(isinstance(part, dict) and _is_likely(part) for part in inner)


def _scored(value: Row) -> Scored:
    own, context, baseline = (
        None if part is None else Likelihood(part["logprob"], part["tokens"])
        for part in (value, value.get("context"), value.get("baseline"))
    )
    assert own is not None
    return Scored(str(value.get("text", "")), own, value.get("greedy"), context, baseline)


def _question(row: Row) -> str | None:
    return row["key"][MODEL_PART:] if row.get("key") is not None else None


def _reply(row: Row) -> Reply:
    if row.get("error"):
        return Reply(error=str(row["error"]))
    usage = row.get("usage") or {}
    return Reply(
        text=row["text"],
        choices=tuple(map(_scored, row["choices"])) if row.get("choices") else None,
        reasoning=row.get("reasoning"),
        finish_reason=row.get("finish_reason"),
        usage=Usage(usage.get("prompt"), usage.get("cached"), usage.get("completion")),
        seconds=float(row.get("seconds") or 0),
    )
