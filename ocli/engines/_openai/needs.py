"""What tasks need of a server beside its text, as far as it can be told before any question is asked."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ocli.engines._openai.letters import is_letter
from ocli.errors import EngineError
from ocli.task import TaskSpec

Tasks = Mapping[str, TaskSpec]


def likelihood_tasks(tasks: Tasks) -> Tasks:
    """Return the tasks that ask for likelihoods."""
    return {name: task for name, task in tasks.items() if task.mode != "generate"}


def beyond_letters(tasks: Tasks) -> Tasks:
    """Return the tasks that next tokens surely cannot answer; of a choice that depends on the row each question decides."""
    return {name: task for name, task in tasks.items() if task.mode == "perplexity" or not _may_be_letters(task.choices or "")}


def refuse_for_chat(tasks: Tasks, place: str) -> None:
    """Raise EngineError for what no chat server can be asked."""
    turns = f"{place} is asked in chat turns (a base model is said to be 'chat: false')"
    long = beyond_letters(tasks)
    if long:
        raise EngineError(f"{turns}, where a server tells the likelihoods of single letters only; {advise(long)}")
    alone = {name: task for name, task in tasks.items() if task.baseline is not None}
    if alone:
        raise EngineError(f"{turns}, where there is no text without them to compare with; {advise(alone)}")


def advise(tasks: Tasks) -> str:
    """Say of each task what to do instead."""
    return "; ".join(f"task {name}: {instead(task)}" for name, task in tasks.items())


def instead(task: TaskSpec) -> str:
    """Say how a task's question can be answered without this server's likelihoods."""
    return f"ask -t {task.twin} instead" if task.twin else "ask a local engine (vllm or transformers) instead"


def _may_be_letters(expression: str) -> bool:
    try:
        choices = ast.literal_eval(expression.strip())  # Jinja writes a list of texts as Python does
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return True
    return not isinstance(choices, (list, tuple)) or all(is_letter(str(choice)) for choice in choices)
