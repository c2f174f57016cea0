"""Programs in replies: fenced or not, whole or the body of a function alone. Python only; knows nothing of what was asked.

What is read is meant to be put behind the prompt's own code, so a body keeps its indentation.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from textwrap import dedent, indent

import polars as pl

from ocli.extract.thoughts import strip_thoughts
from ocli.extract.ways import ByWays, each_reading
from ocli.registry import extractor

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([\w+#.-]*)(.*)$")
_ONE_LINE = re.compile(r"```(?:python|py)?[ \t]+(\S.*?)```")
_PYTHON = {"", "python", "python2", "python3", "py", "py3", "ipython", "ipython3", "sage", "code"}
_STARTS = re.compile(r"^(?:from\s+[\w.]+\s+import\b|import\s+\w|(?:async\s+)?def\s+\w+|class\s+\w+\s*[(:]|@\w)", re.M)
_DEFINES = re.compile(r"^[ \t]*(?:async\s+)?(?:def|class)\s+\w+", re.M)
_INDENT = (" ", "\t")
_CUTS = 50
"""How many lines at the margin a long string in a body may have."""
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@extractor
@ByWays
def code(text: pl.Expr, choices: Sequence[str]) -> pl.Expr:
    """Return the program of a reply: what its fenced blocks define, or else its lines of code; null where there are none.

    Of two definitions of a name the later holds, unless it is a stub. Calls, assertions and the like behind the last definition
    only try it out, and are left out. A body ends before the next statement at the margin, where a base model begins anew.
    """
    return each_reading(strip_thoughts(text), _program_of)


def _program_of(reply: str) -> tuple[str | None, str]:
    """Return the program of a reply without thoughts, and where it stood."""
    reply = reply.replace("\r\n", "\n")
    if "[BEGIN]" in reply:  # MBPP's own examples are written like this
        reply = reply.partition("[BEGIN]")[2]
    reply = reply.partition("[DONE]")[0]
    if (quoted := reply.strip())[:1] == "'" and _DEFINES.search(quoted[1:]):
        reply = quoted[1:].removesuffix("'")
    if _makes(reply.strip("\n")):
        return _tidy(reply.strip("\n")), "whole reply"  # fences within are a docstring's
    before, blocks = _split(reply)
    if blocks and not blocks[0].tag and (read := _unfenced(before)) and (_parsed(read) or _as_body(read)):
        return read, "before a fence"  # only the fence's end is here: its beginning stood in the prompt
    texts = [block.text for block in blocks if block.tag.lower() in _PYTHON and block.text.strip()]
    if texts := texts or _ONE_LINE.findall(reply):
        return _together(texts), "fenced"
    return _unfenced(before if blocks else reply), "unfenced"


@dataclass
class _Block:
    """A fenced block: what its fence calls it, and what stands in it."""

    tag: str
    text: str


def _split(reply: str) -> tuple[str, list[_Block]]:
    """Return the text before the first fence and the fenced blocks; the last one may lack its end."""
    before: list[str] = []
    blocks: list[_Block] = []
    fence, margin = "", ""
    for line in reply.split("\n"):
        mark = _FENCE.match(line)
        if not fence:
            if mark and "`" not in mark.group(4):
                margin, fence = mark.group(1), mark.group(2)
                blocks.append(_Block(mark.group(3), ""))
            elif not blocks:
                before.append(line)
        elif line.strip() == fence and len(line) - len(line.lstrip()) <= len(margin) + 3:
            fence = ""
        else:
            # A fence that closes at the end of a line of code: "return x```"
            ends = line.rstrip().endswith(fence) and line.strip() != fence
            line = line.rstrip().removesuffix(fence) if ends else line
            blocks[-1].text += line.removeprefix(margin) + "\n"
            fence = "" if ends else fence
    return "\n".join(before), blocks


def _together(blocks: list[str]) -> str | None:
    """Return what the blocks define, in their order; where none defines anything, the last one, which is a body."""
    defining = [_at_margin(block) for block in blocks if _DEFINES.search(block)]
    if not defining:
        return next((read for block in reversed(blocks) if (read := _body(block))), blocks[-1].rstrip("\n"))
    whole = [block for block in defining if _parsed(block)] or [_longest(defining[-1])]
    full = [block for block in whole if not _is_stub(block)] or whole
    return "\n\n".join(_tidy(block) for block in full)


def _at_margin(block: str) -> str:
    return (
        dedent(block) if dedent(block).lstrip("\n").startswith(("def ", "class ", "import ", "from ", "@", "async ")) else block
    )


def _unfenced(text: str) -> str | None:
    """Return the code of a text without fences: a body that goes on with the prompt, or lines from the first definition on."""
    lines = text.strip("\n")
    start = _STARTS.search(text)
    if lines[:1] in _INDENT and (read := _body(text)):
        return read
    if _makes(lines):
        return _tidy(lines)  # a constant may stand before the first definition
    if start and not re.match("return|yield", lines) and _DEFINES.search(text, start.start()):
        return _tidy(_longest(text[start.start() :]))
    return _body(text)


def _longest(text: str) -> str:
    """Return the longest beginning of a text that is a program, cut at lines that begin at the margin; all of it if none is."""
    lines = text.split("\n")
    end = len(lines)
    while end and not _parsed(part := "\n".join(lines[:end])):
        wrong = min(_wrong_line(part), end)
        end = next((number for number in range(wrong - 1, 0, -1) if lines[number][:1].strip()), 0)
    return part.rstrip() if end and _DEFINES.search(part) else text.rstrip()


def _wrong_line(text: str) -> int:
    """Return the line, from 1, where a text stops being a program."""
    try:
        ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return 1
    return 1


def _body(text: str) -> str | None:
    """Return the body of a function, indented, up to the next statement at the margin; None where the text is no body."""
    text = text.strip("\n")
    indented = text[:1] in _INDENT
    for candidate in _indented(text):
        for part in islice(_cuts(candidate), _CUTS):
            tree = _as_body(part)
            if tree and (indented or any(isinstance(node, ast.Return | ast.Yield) for node in ast.walk(tree))):
                return part.rstrip()
    return text.rstrip() if indented and _looks_like_code(text) else None


def _as_body(text: str) -> ast.Module | None:
    tree = _parsed(f"def _():\n{text}")
    return tree if tree and len(tree.body) == 1 else None


def _looks_like_code(text: str) -> bool:
    return bool(re.search(r"\breturn\b|[=()\[\]:]", text))


def _indented(text: str) -> Iterator[str]:
    """Yield readings of a body: as it is, with its first line as far in as it lost, and all of it moved in."""
    if text.startswith(("    ", "\t")):
        yield text
    first, _, rest = text.partition("\n")
    yield f"    {first.strip()}\n{rest}"
    if text[:1] not in _INDENT:
        yield indent(text, "    ")


def _cuts(text: str) -> Iterator[str]:
    """Yield the text up to each statement at the margin, the first one first: one may stand within a long string."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if number and line[:1].strip() and not line.startswith("#"):
            yield "\n".join(lines[:number])
    yield text


def _parsed(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a program is not the reader's to complain of
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _makes(text: str) -> bool:
    """Say whether a text is a program that defines something; a return at the margin is a body's."""
    tree = _parsed(text)
    nodes = tree.body if tree else []
    made = any(isinstance(node, _DEFINITIONS) or _is_lambda(node) for node in nodes)
    return made and not any(isinstance(node, ast.Return) for node in nodes)


def _is_lambda(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)


def _is_stub(block: str) -> bool:
    """Say whether all that a block defines are functions without a body."""
    tree = _parsed(block)
    made = [node for node in tree.body if isinstance(node, _DEFINITIONS)] if tree else []
    return bool(made) and all(_empty(node) for node in made)


def _empty(node: ast.AST) -> bool:
    body = getattr(node, "body", [])
    return all(isinstance(one, ast.Pass) or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)) for one in body)


def _tidy(program: str) -> str:
    """Leave out what stands behind the last definition and only tries it out."""
    tree = _parsed(program)
    ends = [node.end_lineno or 0 for node in tree.body if isinstance(node, _DEFINITIONS)] if tree else []
    if tree is None or not ends:
        return program.rstrip()
    lines = program.split("\n")
    kept = lines[: ends[-1]]
    for node in tree.body:
        if node.lineno > ends[-1] and _is_setting(node):
            kept += lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(kept).strip("\n")


def _is_setting(node: ast.stmt) -> bool:
    """Say whether a statement sets something up: an import, a name, sys.setrecursionlimit."""
    called = {ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
    if isinstance(node, ast.Expr):
        return called == {"sys.setrecursionlimit"}
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign) and not called & {"input", "print"}
