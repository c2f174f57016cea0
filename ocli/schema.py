"""What every schema of a recipe, model, task or suite is: strict, frozen, and every problem of a file reported at once."""

from __future__ import annotations

import re
from typing import Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from ocli.documents import Document, Loc
from ocli.errors import RecipeError, did_you_mean

_SECRET = re.compile(r"\b(sk-[A-Za-z0-9_-]{12,}|hf_[A-Za-z0-9]{16,}|Bearer\s+[A-Za-z0-9._-]{12,})")
# What pydantic calls the members of a union in a path.
_UNION_MEMBERS = ("function-", "literal[", "constrained-", "dict[", "list[")


class Strict(BaseModel):
    """A mapping with exactly these keys: an unknown key is an error, and no type is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    may_hold_a_key: ClassVar[bool] = False
    """Whether a secret could be written here by mistake, and is looked for; a task may well have a field called "key"."""


def validate(document: Document, schema: type[Strict]) -> Any:
    """Check a document against a schema; raise one RecipeError with every problem, a line each."""
    problems = []
    if schema.may_hold_a_key:
        problems = [f"{document.locate(loc)}: {text}" for loc, text in _secrets(document.data, ())]
    try:
        spec = schema.model_validate(document.data)
    except ValidationError as error:
        problems += [_explain(problem, document, schema) for problem in error.errors()]
    if problems:
        raise RecipeError("\n".join(dict.fromkeys(problems)))
    return spec


def _secrets(value: Any, loc: Loc) -> list[tuple[Loc, str]]:
    """Find keys written into the file itself: a recipe is shared, a key must not be."""
    advice = "a literal key does not belong in a recipe: export it and write 'api_key_env: NAME'"
    if isinstance(value, dict):
        names = ("api_key", "key", "token", "password")
        found = [((*loc, key), advice) for key in value if key in names and isinstance(value[key], str)]
        inside = [(key, child) for key, child in value.items() if key not in ("task", "tasks")]
        return found + [hit for key, child in inside for hit in _secrets(child, (*loc, key))]
    if isinstance(value, list):
        return [hit for index, child in enumerate(value) for hit in _secrets(child, (*loc, index))]
    return [(loc, advice)] if isinstance(value, str) and _SECRET.search(value) else []


def _explain(problem: Any, document: Document, schema: type[BaseModel]) -> str:
    """Turn one pydantic error into ``file:line: key.path: what is wrong``."""
    loc: Loc = tuple(part for part in problem["loc"] if not (isinstance(part, str) and part.startswith(_UNION_MEMBERS)))
    name = ".".join(str(part) for part in loc)
    if problem["type"] == "extra_forbidden":
        known = _keys_at(schema, loc[:-1])
        hint = did_you_mean(str(loc[-1]), known) or f" (known here: {', '.join(known)})"
        text = f"unknown key {loc[-1]!r}{hint}"
        name = ".".join(str(part) for part in loc[:-1])
    elif problem["type"] == "missing":
        text, name = f"needs the key {loc[-1]!r}", ".".join(str(part) for part in loc[:-1])
    else:
        text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
        if problem["type"] not in ("value_error",) and isinstance(problem["input"], (str, int, float, bool)):
            text += f", not {problem['input']!r}"
            expected = re.findall(r"'([^']*)'", problem["msg"])
            text += did_you_mean(str(problem["input"]), expected)
    return f"{document.locate(loc)}: {name + ': ' if name else ''}{text}"


def _keys_at(schema: Any, loc: Loc) -> list[str]:
    """Return the keys that the schema knows at a path."""
    for part in loc:
        if isinstance(part, int):
            continue
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            fields = {field.alias or name: field for name, field in schema.model_fields.items()}
            schema = _inner(fields[part].annotation) if part in fields else None
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return []
    return [field.alias or name for name, field in schema.model_fields.items()]


def _inner(annotation: Any) -> Any:
    """Find the schema inside ``list[X]``, ``Annotated[X, ...]`` or ``X | None``."""
    if get_origin(annotation) is None:
        return annotation
    found = [_inner(arg) for arg in get_args(annotation)]
    return next((arg for arg in found if isinstance(arg, type) and issubclass(arg, BaseModel)), None)
