"""Where recipes, models, tasks, suites and prompts are found, and how a name becomes a checked spec.

Search order: the working directory's ``recipes/`` and ``prompts/``, then the ones that come with ocli. A name is a file's
name without its suffix (or a variant inside it); nothing lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ocli import documents
from ocli.documents import SUFFIXES, Document, merge, merge_documents
from ocli.errors import NotFoundError, RecipeError, did_you_mean
from ocli.recipe import ENGINES, RATES, ModelSpec, Recipe, RecipeSpec, References, Settings, SuiteSpec
from ocli.rows import is_data_file, read_rows
from ocli.schema import validate
from ocli.task import TaskSpec

Kind = Literal["models", "tasks", "recipes", "suites"]
KINDS: tuple[Kind, ...] = ("models", "tasks", "recipes", "suites")

_PACKAGE = Path(__file__).parent
# In a wheel the two folders lie inside the package (pyproject's force-include); in a checkout they are beside it.
PACKAGED = _PACKAGE / "_files" if (_PACKAGE / "_files").is_dir() else _PACKAGE.parent


def roots(folder: str) -> list[Path]:
    """Return the existing ``recipes`` or ``prompts`` folders, the working directory's first."""
    found = [root / folder for root in (Path.cwd(), PACKAGED) if (root / folder).is_dir()]
    return list(dict.fromkeys(path.resolve() for path in found))


@dataclass(frozen=True)
class Entry:
    """One catalog name: where it is defined, what its variant says over its file, and what it inherits below that."""

    kind: Kind
    name: str
    path: Path
    variant: dict[str, Any] = field(default_factory=dict)
    inherited: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def data(self) -> dict[str, Any]:
        """The first look at what it says (unchecked), read when it is wanted: finding a name must not read a hundred files."""
        said: dict[str, Any] = merge(merge(self.inherited, documents.read_quick(self.path)), self.variant)
        return said


def entries(kind: Kind) -> Iterator[Entry]:
    """Yield every name of a kind; the working directory's come first and hide packaged ones of the same name."""
    seen: set[str] = set()
    for root in roots("recipes"):
        for path in sorted(_files(root, kind)):
            variants = documents.read_quick(path).get("variants") if kind == "models" else None
            for name, extra in (variants if isinstance(variants, dict) and variants else {path.stem: {}}).items():
                if isinstance(name, str) and name not in seen:
                    seen.add(name)
                    yield Entry(kind, name, path, extra if isinstance(extra, dict) else {})


def _inheriting(entries: list[Entry]) -> list[Entry]:
    """Give each entry what the ones say that it extends, as far as they are in the catalog."""
    known = {entry.name: entry for entry in entries}

    def whole(name: str, depth: int = 0) -> dict[str, Any]:
        if name not in known or depth > len(known):  # not in the catalog, or round a circle
            return {}
        data = known[name].data
        return merge(whole(str(data["extends"]), depth + 1), data) if "extends" in data else data

    return [
        replace(entry, inherited=whole(str(entry.data["extends"]))) if "extends" in entry.data else entry for entry in entries
    ]


def _files(root: Path, kind: Kind) -> Iterator[Path]:
    folder = root if kind == "recipes" else root / kind
    for path in folder.glob("*" if kind == "recipes" else "**/*"):
        # ``ceval_subjects.yaml`` beside ``ceval_gen.yaml`` is a table that a task includes, not a task.
        if path.suffix in SUFFIXES and not path.stem.endswith("_subjects"):
            yield path


def find(kind: Kind, name: str) -> Entry:
    """Return the entry of a catalog name; raise NotFoundError with the nearest names."""
    known = {entry.name: entry for entry in entries(kind)}
    if name in known:
        return known[name]
    hint = did_you_mean(name, known) or f"; 'ocli list --kind {kind}' shows them"
    raise NotFoundError(f"no {kind[:-1]} is called {name!r}{hint}")


def find_prompt(name: str) -> Path:
    """Return the path of ``prompts/<name>.jinja``."""
    for root in roots("prompts"):
        if (root / f"{name}.jinja").is_file():
            return root / f"{name}.jinja"
    known = [str(path.relative_to(root).with_suffix("")) for root in roots("prompts") for path in root.rglob("*.jinja")]
    raise NotFoundError(f"no prompt is called {name!r}{did_you_mean(name, known)} (looked for prompts/{name}.jinja)")


def load_recipe(reference: str | None, models: list[str], tasks: list[str], overrides: dict[str, Any]) -> Recipe:
    """Resolve a recipe (a file or a name, or none) with the command line's models, tasks and overrides laid over it."""
    document, name = Document(Path("the command line"), {}), None
    if reference:
        document = read_document("recipes", reference)
        name = document.path.stem
    data = merge(document.data, overrides)
    if models:
        data["models"] = models
    if tasks:
        data["tasks"] = tasks
    spec: RecipeSpec = validate(Document(document.path, data, document.where), RecipeSpec)
    for kind, given, flag in (("models", spec.models, "-m MODEL"), ("tasks", spec.tasks, "-t TASK")):
        if not given:
            raise RecipeError(f"{document.path}: names no {kind}; add '{kind}: [...]' or give {flag}")
    loaded = [load_model(item, spec.model) for item in spec.models]
    all_tasks = [pair for item in spec.tasks for pair in load_tasks(item, spec.task)]
    resolved_tasks = _without(all_tasks, spec.skip)
    settings = {key: getattr(spec, key) for key in Settings.model_fields}
    resolved_names = [pair[0] for pair in all_tasks]
    return Recipe(
        name=name or "-".join(slug(pair[0]) for pair in loaded[:2]) + "-" + "-".join(pair[0] for pair in resolved_tasks[:2]),
        description=spec.description,
        models=_named(loaded, "model"),
        tasks=_named(resolved_tasks, "task"),
        reference=_references(spec, document, [] if models else [pair[0] for pair in loaded], [] if tasks else resolved_names),
        **settings,
    )


def _without(tasks: list[tuple[str, TaskSpec]], skip: list[str]) -> list[tuple[str, TaskSpec]]:
    """Leave tasks out; one that is not there, or nothing left, is a mistake."""
    names = [name for name, _ in tasks]
    for name in skip:
        if name not in names:
            raise RecipeError(f"skip: there is no task {name!r}{did_you_mean(name, names)} in this recipe")
    kept = [(name, task) for name, task in tasks if name not in skip]
    if not kept:
        raise RecipeError("skip: leaves no task")
    return kept


def _references(spec: RecipeSpec, document: Document, models: list[str], tasks: list[str]) -> References:
    """Return the recipe's reference scores; one for a model or task that the recipe does not have is a mistake in it.

    Where ``-m`` or ``-t`` has replaced a list, it is empty here: then there is nothing to compare with.
    """
    for model, scores in spec.reference.items():
        for kind, name, known in (("model", model, models), *(("task", task, tasks) for task in scores)):
            if known and name not in known:
                where = document.locate(("reference", model))
                raise RecipeError(f"{where}: reference: there is no {kind} {name!r}{did_you_mean(name, known)} in this recipe")
    return spec.reference


def _named(pairs: list[tuple[str, Any]], kind: str) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, spec in pairs:
        if name in named and isinstance(spec, ModelSpec) and spec.engine == "replay":
            name = slug(f"replay_{Path(str(spec.path)).stem}")
        if name in named and named[name] != spec:
            raise RecipeError(f"two {kind}s of this recipe are called {name!r}; give one of them another name")
        named[name] = spec
    return named


def slug(name: str) -> str:
    """Turn a model's name into one that is safe as a folder's name."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_.") or "model"


def load_model(item: str | dict[str, Any], over: dict[str, Any] | None = None) -> tuple[str, ModelSpec]:
    """Return (name, spec) of a catalog name, a YAML file, ``engine:path-or-name``, or an inline mapping."""
    if isinstance(item, dict):
        name = str(item.get("name") or item.get("extends") or item.get("path") or item.get("engine"))
        data = {key: value for key, value in item.items() if key != "name"}
        document = _extend(Document(Path(f"model {name}"), data), "models")
        return slug(name), _model(document, over)
    engine, _, rest = item.partition(":")
    engine = {"hf": "transformers"}.get(engine, engine)
    if _is_file(item):
        return Path(item).stem, _model(read_document("models", item), over)
    if engine in ENGINES and (rest or engine == "echo"):
        name = engine if engine == "replay" else slug(item)
        return name, _model(_on_engine(engine, rest), over)
    if rest and "/" not in engine:
        near = did_you_mean(engine, [*ENGINES, "hf"])
        raise NotFoundError(f"no engine is called {engine!r}{near} (model {item!r}; there are: {', '.join(ENGINES)})")
    return slug(item), _model(read_document("models", item), over)


def _on_engine(engine: str, rest: str) -> Document:
    """Build ``engine:rest``: a catalog model on another engine, or a bare path with that engine's defaults."""
    known = {entry.name for entry in entries("models")}
    if rest not in known:
        data = {"engine": engine, **({"path": rest} if rest else {})}
        return Document(Path(f"{engine}:{rest}"), data)
    document = read_document("models", rest)
    if document.data.get("engine") == engine:
        return document
    # Engine arguments have each engine's own names: those of the model's usual engine mean nothing to another one.
    base = {key: value for key, value in document.data.items() if key not in ("args", "concurrency", *RATES)}
    patch = {"engine": engine, **document.data.get("engines", {}).get(engine, {})}
    return Document(document.path, merge(base, patch), document.where)


def _model(document: Document, over: dict[str, Any] | None) -> ModelSpec:
    spec: ModelSpec = validate(Document(document.path, merge(document.data, over or {}), document.where), ModelSpec)
    return spec


def load_tasks(item: str | dict[str, Any], over: dict[str, Any] | None = None) -> list[tuple[str, TaskSpec]]:
    """Return the (name, spec) pairs of a task's or suite's name, a YAML file, a data file, or an inline mapping."""
    if isinstance(item, dict):
        name = str(item.get("name") or item.get("extends") or "task")
        data = {key: value for key, value in item.items() if key != "name"}
        return [(slug(name), _task(_extend(Document(Path(f"task {name}"), data), "tasks"), over))]
    if is_data_file(item):
        return [_data_file_task(Path(item), over)]
    if not _is_file(item) and item not in {entry.name for entry in entries("tasks")}:
        suites = {entry.name: entry for entry in entries("suites")}
        if item in suites:
            suite: SuiteSpec = validate(documents.read(suites[item].path), SuiteSpec)
            return [pair for task in suite.tasks for pair in load_tasks(task, over)]
        known = [*suites, *(entry.name for entry in entries("tasks"))]
        hint = did_you_mean(item, known) or "; 'ocli list --kind tasks' shows them"
        raise NotFoundError(f"no task or suite is called {item!r}{hint}")
    document = read_document("tasks", item)
    return [(document.path.stem, _task(document, over))]


def _task(document: Document, over: dict[str, Any] | None) -> TaskSpec:
    spec: TaskSpec = validate(Document(document.path, merge(document.data, over or {}), document.where), TaskSpec)
    return spec


def _data_file_task(path: Path, over: dict[str, Any] | None) -> tuple[str, TaskSpec]:
    """Make a task of a user's own file: ``question,A,B,...,answer`` or ``question,answer``, no YAML needed."""
    if not path.is_file():
        raise NotFoundError(f"no data file {path} (working directory: {Path.cwd()})")

    columns = list(next(iter(read_rows(path)), {}))
    letters = [name for name in columns if re.fullmatch(r"[A-J]", name)]
    expected = [chr(ord("A") + index) for index in range(len(letters))]
    if "question" not in columns or "answer" not in columns or (letters and (letters != expected or len(letters) < 2)):
        raise RecipeError(
            f"{path}: has the columns {', '.join(columns) or '(none)'}; a task without YAML needs 'question,A,B,...,answer' "
            "(two to ten lettered options) or 'question,answer'"
        )
    document = read_document("tasks", "custom_mcq" if letters else "custom_qa")
    data = merge(document.data, {"data": {"local": str(path.resolve())}})
    return slug(path.name.split(".")[0]), _task(Document(path, data, document.where), over)


def read_document(kind: Kind, reference: str, seen: tuple[str, ...] = ()) -> Document:
    """Read a catalog name or a file with its ``extends``, its variant and the files it names beside it."""
    if _is_file(reference):
        path, variant = Path(reference), None
        if not path.is_file():
            if kind == "recipes" and path.name in (names := [f"{entry.name}{entry.path.suffix}" for entry in entries(kind)]):
                path = next(entry.path for entry in entries(kind) if f"{entry.name}{entry.path.suffix}" == path.name)
            else:
                names = [entry.name + entry.path.suffix for entry in entries(kind)]
                raise NotFoundError(f"no file {path} (working directory: {Path.cwd()}){did_you_mean(path.name, names)}")
    else:
        entry = find(kind, reference)
        path, variant = entry.path, entry.name
    document = documents.read(path)
    variants = document.data.pop("variants", None)
    if variants:
        if not isinstance(variants, dict) or not all(isinstance(extra, (dict, type(None))) for extra in variants.values()):
            place = document.locate(("variants",))
            raise RecipeError(f"{place}: variants: must be names, each with a mapping of what it changes")
        if variant is None:
            raise RecipeError(f"{path}: holds several models ({', '.join(variants)}); name one of them instead of the file")
        document = _take_variant(document, variants[variant] or {}, variant)
    return _extend(document, kind, seen)


def _take_variant(document: Document, extra: dict[str, Any], name: str) -> Document:
    prefix = ("variants", name)
    where = {loc[2:]: place for loc, place in document.where.items() if loc[:2] == prefix and len(loc) > 2}
    return Document(document.path, merge(document.data, extra), {**document.where, **where})


def _extend(document: Document, kind: Kind, seen: tuple[str, ...] = ()) -> Document:
    """Lay a document over the one it ``extends``, and make the file names it says absolute."""
    _anchor(document)
    parent = document.data.pop("extends", None)
    if parent is None:
        return document
    if not isinstance(parent, str):
        raise RecipeError(f"{document.locate(('extends',))}: extends: should be one name or file, not {parent!r}")
    if parent in seen:
        raise RecipeError(f"{document.locate(('extends',))}: extends goes in a circle: {' -> '.join([*seen, parent])}")
    beside = document.path.parent / str(parent)
    if _is_file(str(parent)) and beside.is_file():
        below = _extend(documents.read(beside), kind, (*seen, parent))
    else:
        below = read_document(kind, str(parent), (*seen, parent))
    return merge_documents(below, document)


def _anchor(document: Document) -> None:
    """Resolve what is relative to the file itself: ``./`` paths, and the table of subsets."""
    folder, data = document.path.parent, document.data
    if isinstance(data.get("path"), str) and data["path"].startswith(("./", "../")):
        data["path"] = str((folder / data["path"]).resolve())
    source = data.get("data")
    if not isinstance(source, dict):
        return
    _anchor_patterns(folder, source, "local")
    columns = source.get("columns")
    for name in list(columns) if isinstance(columns, dict) else ():
        _anchor_patterns(folder, columns, name)
    if isinstance(source.get("subsets"), str):
        table = folder / source["subsets"]
        if not table.is_file():
            place = document.locate(("data", "subsets"))
            raise RecipeError(f"{place}: data.subsets: no file {table}")
        source["subsets"] = documents.read(table).data


def _anchor_patterns(folder: Path, holder: Any, key: str) -> None:
    said = holder.get(key)
    if said is not None:
        holder[key] = [_beside(folder, one) for one in said] if isinstance(said, list) else _beside(folder, said)


def _beside(folder: Path, pattern: Any) -> Any:
    """Make a pattern that begins with ``./`` absolute; anything else is not this file's business."""
    relative = isinstance(pattern, str) and pattern.startswith(("./", "../"))
    return str((folder / pattern).resolve()) if relative else pattern


def _is_file(reference: str) -> bool:
    return reference.endswith(SUFFIXES)


def search(words: list[str], kinds: list[Kind]) -> list[Entry]:
    """Return the entries in which every word occurs (name, description, capability or engine), case ignored."""
    found = []
    for kind in kinds:
        for entry in _inheriting(list(entries(kind))):
            said = [str(entry.data.get(key, "")) for key in ("description", "capability", "engine", "path")]
            haystack = " ".join([entry.name, *said]).lower()
            if all(word.lower() in haystack for word in words):
                found.append(entry)
    return found
