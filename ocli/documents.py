"""Read YAML and TOML files into plain values, and remember which line of which file said what.

Knows nothing of recipes: the schema is in ``recipe.py``. The line numbers serve its error messages.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ocli.errors import RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIXES = (".yaml", ".yml", ".toml")
Loc = tuple[str | int, ...]

# libyaml's parser is ten times faster; some platforms ship PyYAML without it.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]
    """YAML with the booleans of YAML 1.2: ``no`` is a word (and a country), not false."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in _Safe.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


@dataclass
class Document:
    """A mapping read from a file. ``where`` gives the file and line (from 1) of each key path."""

    path: Path
    data: dict[str, Any]
    where: dict[Loc, tuple[Path, int]] = field(default_factory=dict)

    def locate(self, loc: Loc) -> str:
        """Return ``file:line`` of a key path, or of its nearest parent that has one."""
        for end in range(len(loc), -1, -1):
            if loc[:end] in self.where:
                path, line = self.where[loc[:end]]
                return f"{path}:{line}"
        return str(self.path)


def read_quick(path: Path) -> dict[str, Any]:
    """Read a mapping without line numbers: for listings, where hundreds of files are read and errors do not matter."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if path.suffix == ".toml" else yaml.load(text, Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, tomllib.TOMLDecodeError):
        return {}
    return data if isinstance(data, dict) else {}


def read(path: Path) -> Document:
    """Read one YAML or TOML file that holds a mapping; raise RecipeError with file and line when it does not."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    return _read_toml(path, text) if path.suffix == ".toml" else _read_yaml(path, text)


def parse_value(text: str) -> Any:
    """Read the right-hand side of ``--set KEY=VALUE`` as YAML, so that ``5``, ``true`` and ``[a, b]`` keep their type."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text


def merge(below: Any, above: Any) -> Any:
    """Lay ``above`` over ``below``: mappings key by key, anything else replaced whole."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
    return above


def merge_documents(below: Document, above: Document) -> Document:
    """Lay one document over another, keeping for each key the line of the file that had the last word."""

    def replaced(loc: Loc) -> bool:
        return any(isinstance(part, int) and loc[:end] in above.where for end, part in enumerate(loc))

    where = {loc: place for loc, place in below.where.items() if not replaced(loc)}
    return Document(above.path, merge(below.data, above.data), {**where, **above.where})


def _read_toml(path: Path, text: str) -> Document:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    document = Document(path, data, {(): (path, 1)})
    # TOML's parser keeps no marks: the first line that assigns or opens the key is near enough for an error message.
    lines = text.splitlines()

    def visit(value: Any, loc: Loc) -> None:
        for key, child in value.items() if isinstance(value, dict) else []:
            inner: Loc = (*loc, key)
            pattern = re.compile(rf'^\s*(\[.*\b{re.escape(key)}\b.*\]|"?{re.escape(key)}"?\s*[.=])|[{{,]\s*{re.escape(key)}\s*=')
            for number, line in enumerate(lines, start=1):
                if pattern.search(line):
                    document.where[inner] = (path, number)
                    break
            visit(child, inner)

    visit(data, ())
    return document


def _read_yaml(path: Path, text: str) -> Document:
    try:
        node = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RecipeError(f"{path}{line}: not valid YAML: {problem}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path}:1: must hold a mapping (key: value lines), not {type(data).__name__}")
    document = Document(path, data)
    if node is not None:
        _mark(node, (), document)
    return document


def _mark(node: yaml.Node, loc: Loc, document: Document) -> None:
    document.where.setdefault(loc, (document.path, node.start_mark.line + 1))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise RecipeError(f"{document.path}:{line}: the key {key.value!r} stands here a second time; keep one of them")
            seen.add(key.value)
            inner: Loc = (*loc, key.value)
            document.where[inner] = (document.path, line)
            _mark(value, inner, document)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*loc, index), document)
