"""Prompt files: Jinja templates whose blocks are chat roles, and one-line Jinja expressions over a row.

The environment is sandboxed and strict: a name that the row lacks is an error that says which template, which line, and
which names there are. A prompt file holds blocks only, so that nothing stands outside a role.
"""

from __future__ import annotations

import ast
import json
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.debug import rewrite_traceback_stack
from jinja2.exceptions import SecurityError, TemplateNotFound, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ocli.catalog import find_prompt, roots
from ocli.errors import OcliError, PromptError, did_you_mean
from ocli.task import Join
from ocli.types import Message

BLOCKS = ("system", "user", "assistant")
_NULL = "the row has no value (null) in a column that the prompt shows"

_NEWLINES = Join()

Shot = tuple[str, str]
"""A worked example: what the user asks, what the assistant answers."""


def _environment() -> ImmutableSandboxedEnvironment:
    return _environment_of(tuple(map(str, roots("prompts"))))


@lru_cache(maxsize=8)
def _environment_of(folders: tuple[str, ...]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        # A block's first newline belongs to its tag; every other character of a prompt is kept as it stands.
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        finalize=_not_null,
    )
    environment.filters["boxed"] = boxed
    environment.filters["fromjson"] = json.loads
    environment.filters["literal"] = literal
    environment.filters["option_letters"] = option_letters
    environment.filters["regex_replace"] = regex_replace
    return environment


def _not_null(value: Any) -> Any:
    """Refuse to write the word None where a row has no value."""
    if value is None:
        raise ValueError(_NULL)
    return value


def boxed(text: str) -> str:
    r"""Return what stands in a solution's last ``\\boxed{...}``, its braces balanced, as MATH marks its answers."""
    _, found, rest = text.rpartition("\\boxed{")
    depth = 1
    for place, character in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if found and not depth:
            return rest[:place]
    raise ValueError(rf"{text[-60:]!r} ends without a \boxed{{...}}")


def literal(text: str) -> Any:
    """Return the value that Python writes so (``"['a', 'b']"`` gives a list); it is read and not run."""
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"{str(text)[:60]!r} is not a Python literal") from None


def option_letters(row: Mapping[str, Any]) -> list[str]:
    """Return the letters A to J whose column a row fills in, up to the first one it does not."""
    filled = (letter for letter in "ABCDEFGHIJ" if row.get(letter) is not None and str(row[letter]).strip())
    return [letter for position, letter in enumerate(filled) if letter == "ABCDEFGHIJ"[position]]


def regex_replace(text: str, pattern: str, by: str) -> str:
    """Replace every match of a regular expression (Python's)."""
    try:
        return re.sub(pattern, by, text)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None


class Prompt:
    """One prompt file. ``user`` must be there; ``assistant`` is the answer of an example; ``system`` is optional."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = find_prompt(name)
        environment = _environment()
        try:
            tree = environment.parse(self.path.read_text(encoding="utf-8"), filename=str(self.path))
            self._template = environment.get_template(f"{name}.jinja")
        except TemplateSyntaxError as error:
            raise PromptError(f"{error.filename or self.path}:{error.lineno}: {error.message}") from None
        except TemplateNotFound as error:
            raise PromptError(f"{self.path}: includes {error.name!r}, which is not in a prompts folder") from None
        _check_blocks(self.path, tree)

    @property
    def blocks(self) -> Iterable[str]:
        """The roles this file writes."""
        return self._template.blocks

    def render(self, block: str, values: Mapping[str, Any]) -> str:
        """Render one block; the newline before its end tag is not part of the text."""
        if block not in self._template.blocks:
            return ""
        try:
            context = self._template.new_context(dict(values))
            text = "".join(self._template.blocks[block](context))
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise PromptError(_explain(error, self.path, values)) from None
        return text.removesuffix("\n")

    def source(self) -> str:
        """Return the text of this file and of every file it includes: what the prompt's version is made of."""
        return "\n".join(_sources(self.path, set()))

    def shot(self, values: Mapping[str, Any]) -> Shot:
        """Render a row as a worked example."""
        return self.render("user", values), self.render("assistant", values)

    def messages(
        self, values: Mapping[str, Any], shots: Sequence[Shot], system: str | None = None, as_text: bool = False
    ) -> tuple[Message, ...]:
        """Render for a chat model: examples as turns, or with ``as_text`` inside the one user turn."""
        turns: list[Message] = []
        system_text = system if system is not None else self.render("system", values)
        if system_text:
            turns.append({"role": "system", "content": system_text})
        question = self.render("user", values)
        if as_text:
            parts = [part for shot in shots for part in shot] + [question]
            return (*turns, {"role": "user", "content": "\n".join(part for part in parts if part)})
        for user, assistant in shots:
            turns += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
        return (*turns, {"role": "user", "content": question})

    def text(self, values: Mapping[str, Any], shots: Sequence[Shot], system: str | None = None, join: Join = _NEWLINES) -> str:
        """Render for a base model: the non-empty blocks, joined as the task says (by newlines, as OpenCompass does)."""
        system_text = system if system is not None else self.render("system", values)
        examples = join.examples.join(join.answer.join(part for part in shot if part) for shot in shots)
        question = self.render("user", values)
        between = join.examples if join.question is None else join.question
        asked = between.join(part for part in (examples, question) if part)
        return join.system.join(part for part in (system_text, asked) if part)


def compile_field(name: str, expression: str) -> Callable[[Mapping[str, Any]], Any]:
    """Compile a one-line Jinja expression over a row; its value keeps its type (``"'ABCD'[answer]"`` gives a letter)."""
    try:
        compiled = _environment().compile_expression(expression, undefined_to_none=False)
    except TemplateSyntaxError as error:
        raise PromptError(f"{name}: {expression!r} is not a Jinja expression: {error.message}") from None

    def evaluate(values: Mapping[str, Any]) -> Any:
        try:
            value = compiled(**values)
            for part in (value, *(value if isinstance(value, (list, tuple)) else ())):
                if isinstance(part, Undefined):
                    str(part)  # StrictUndefined speaks up only when used
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise PromptError(f"{name}: {expression!r}: {_reason(error, values)}") from None
        return value

    return evaluate


def _check_blocks(path: Path, tree: nodes.Template) -> None:
    for node in tree.body:
        if isinstance(node, nodes.Block):
            if node.name not in BLOCKS:
                raise PromptError(
                    f"{path}:{node.lineno}: unknown block {node.name!r}{did_you_mean(node.name, BLOCKS)} "
                    f"(blocks are roles: {', '.join(BLOCKS)})"
                )
        elif not (isinstance(node, nodes.Output) and _is_blank(node)):
            raise PromptError(f"{path}:{node.lineno}: everything in a prompt file must stand inside a block")
    if not any(isinstance(node, nodes.Block) and node.name == "user" for node in tree.body):
        raise PromptError(f"{path}: has no {{% block user %}}, so there is nothing to ask")


def _is_blank(node: nodes.Output) -> bool:
    return all(isinstance(part, nodes.TemplateData) and not part.data.strip() for part in node.nodes)


def _sources(path: Path, seen: set[Path]) -> list[str]:
    if path in seen:
        return []
    seen.add(path)
    text = path.read_text(encoding="utf-8")
    found = [text]
    for include in _environment().parse(text).find_all(nodes.Include):
        if isinstance(include.template, nodes.Const):
            found += _sources(find_prompt(str(include.template.value).removesuffix(".jinja")), seen)
    return found


def _explain(error: Exception, path: Path, values: Mapping[str, Any]) -> str:
    """Name the template file and line where rendering stopped; called while ``error`` is handled."""
    if isinstance(error, OcliError):
        return str(error)
    # Jinja compiles to Python; only its own rewriting turns that code's line numbers into the template's.
    told = traceback.extract_tb(rewrite_traceback_stack().__traceback__)
    frames = [frame for frame in told if frame.filename.endswith(".jinja")]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(path)
    return f"{where}: {_reason(error, values)}"


def _reason(error: Exception, values: Mapping[str, Any]) -> str:
    if isinstance(error, UndefinedError):
        message = (error.message or "something is undefined").removesuffix(" is undefined")
        name = message.strip("'")
        hint = did_you_mean(name, values) if message.startswith("'") and name.isidentifier() else ""
        return f"{error.message}{hint}; the row has: {', '.join(map(str, values)) or '(nothing)'}"
    if str(error) == _NULL:
        return f"{_NULL}: {', '.join(name for name, value in values.items() if value is None)}"
    if isinstance(error, SecurityError):
        return f"not allowed in a prompt: {error}"
    return f"{type(error).__name__}: {error}"
