"""Devices and checkpoints for the transformers engine: what goes wrong there is the user's to mend, said in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ocli.errors import EngineError


def device_of(torch: Any, wanted: str) -> str:
    """Choose the device; a recipe that says ``cuda`` is never run on a CPU without a word."""
    has_cuda = bool(torch.cuda.is_available())
    if wanted == "auto":
        return "cuda" if has_cuda else "cpu"
    try:
        torch.device(wanted)
    except RuntimeError as error:
        known = str(error).splitlines()[0][:300]
        raise EngineError(f"args.device is {wanted!r}, which torch does not know: {known}") from None
    if wanted.startswith("cuda") and not has_cuda:
        kind = (
            "the CPU build"
            if "+cpu" in torch.__version__ or torch.version.cuda is None
            else f"built for CUDA {torch.version.cuda}"
        )
        raise EngineError(
            f"args.device is {wanted!r}, but torch {torch.__version__} ({kind}) sees no GPU here; "
            "install a CUDA build of torch, or say --set model.args.device=cpu"
        )
    return wanted


def moved(model: Any, device: str) -> Any:
    """Put a model on a device."""
    try:
        return model.to(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # no such card, no such backend, no memory left
        raise EngineError(f"the model cannot be put on {device}: {' '.join(str(error).split())[:300]}") from error


def from_hub(path: str, load: Callable[..., Any], **options: Any) -> Any:
    """Load from a directory or the hub; what goes wrong there is the user's to mend."""
    try:
        return load(path, **options)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise EngineError(f"{path}: cannot be loaded with transformers: {' '.join(str(error).split())[:500]}") from error
