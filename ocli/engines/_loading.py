"""Devices and checkpoints for the engines that run a model themselves: what is there, for the record of a run.

For the transformers engine they are loaded here too; what goes wrong is the user's to mend, said in one line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
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


WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
SAMPLE = 1 << 16
"""So many bytes are read in the middle and at the end of each file of weights: a model trained further has the same sizes."""


def checkpoint(path: str, revision: str | None, cache: str | None = None) -> dict[str, str]:
    """Return which weights these are, for the record: the hub's commit, or of a directory a digest that is quickly taken."""
    folder = Path(path)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        file = try_to_load_from_cache(path, "config.json", cache_dir=cache, revision=revision)
        folder = Path(file).parent if isinstance(file, str) else folder
    if re.fullmatch(r"[0-9a-f]{40}", folder.name):
        return {"model_revision": folder.name}
    return {"model_digest": _digest(folder)} if folder.is_dir() else {}


def _digest(folder: Path) -> str:
    """Hash config.json, and of each file of weights its name, its size and two samples."""
    whole = hashlib.sha256()
    config = folder / "config.json"
    whole.update(config.read_bytes() if config.is_file() else b"")
    for file in sorted(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        size = file.stat().st_size
        whole.update(f"{file.name} {size}".encode())
        with open(file, "rb") as opened:
            for begin in (size // 2, max(0, size - SAMPLE)):
                opened.seek(begin)
                whole.update(opened.read(SAMPLE))
    return whole.hexdigest()[:12]


def hardware(torch: Any, names: list[str]) -> dict[str, str]:
    """Return what a model runs on, for the record: the GPUs of these names, with CUDA and driver, else the CPU."""
    if not names:
        return {"processor": _cpu()}
    counted = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    told = {"processor": counted, "cuda": torch.version.cuda or getattr(torch.version, "hip", None), "driver": _driver()}
    return {name: str(value) for name, value in told.items() if value}


def _cpu() -> str:
    found = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo"))
    return found[1].strip() if found else "CPU"


def _driver() -> str | None:
    found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", _read("/proc/driver/nvidia/version"))
    return found[1] if found else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system
        return ""


def quantization(config: Any) -> str:
    """Return how a transformers model's weights are quantized."""
    found = getattr(config, "quantization_config", None)
    if found is None:
        return "none"
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method) or "unknown")
