"""Hugging Face transformers on a CPU or a GPU: waiting requests are batched by length, a micro-batch at a time.

Decoding settings come from the request alone. The model repository's ``generation_config`` is ignored (its end-of-sequence
ids apart) unless the model says ``generation_config: true``; either way the record keeps what it says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ocli.engines import model_path, refuse_unknown
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.tokens import Encoder, cut_at_stop, stop_token_ids
from ocli.types import Reply, Request, Sampling, Usage

NEEDS = ("torch", "transformers")
OWN_ARGS = ["device", "max_batch_size", "max_batch_tokens"]
LOAD_ARGS = [
    "dtype", "torch_dtype", "device_map", "attn_implementation", "quantization_config", "max_memory",
    "low_cpu_mem_usage", "offload_folder", "variant", "use_safetensors", "cache_dir", "subfolder", "code_revision",
]  # fmt: skip


@dataclass
class _Job:
    """A request that waits for its batch."""

    request: Request
    ids: list[int]
    future: asyncio.Future[Reply] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Engine:
    """A model loaded with ``AutoModelForCausalLM``."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, OWN_ARGS + LOAD_ARGS, "transformers")
        self.spec = spec
        self.path = model_path(spec)
        self.chat = False
        self.record: dict[str, Any] = {}
        self.max_batch_size = int(spec.args.get("max_batch_size", 64))
        self.max_batch_tokens = int(spec.args.get("max_batch_tokens", 32768))
        # Several batches' worth of requests wait, so that each batch can be cut from requests of like length.
        self.concurrency = spec.concurrency or self.max_batch_size * 8
        self._waiting: list[_Job] = []
        self._worker: asyncio.Task[None] | None = None
        self._model: Any = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transformers")

    async def start(self) -> None:
        """Load tokenizer and model in the engine's own thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def generate(self, request: Request) -> Reply:
        """Queue a request for the next batch that it fits in."""
        ids = self._encoder.encode(request)
        if len(ids) >= self._context:
            return Reply(error=f"the prompt has {len(ids)} tokens, the model's context {self._context}; nothing is cut silently")
        job = _Job(request, ids)
        self._waiting.append(job)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await job.future

    async def close(self) -> None:
        """Stop the worker and free the model."""
        if self._worker is not None:
            self._worker.cancel()
        self._thread.shutdown(wait=True)
        self._model = None

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(0)  # let every caller that was just answered put its next request in
            batch = self._take_batch()
            try:
                replies = await loop.run_in_executor(self._thread, self._run, batch)
            except Exception as error:  # noqa: BLE001 - whatever the model raises belongs to those who wait for it
                for job in batch:
                    if not job.future.done():
                        job.future.set_exception(_readable(error))
                continue
            for job, reply in zip(batch, replies, strict=True):
                if not job.future.done():  # an interrupted run has cancelled those who waited
                    job.future.set_result(reply)

    def _take_batch(self) -> list[_Job]:
        """Take the longest waiting prompt and those nearest to it in length that share its settings."""
        self._waiting.sort(key=lambda job: len(job.ids), reverse=True)
        first = self._waiting[0]
        sampling = first.request.sampling
        # A seeded draw must not depend on its neighbours, and torch has one generator a batch.
        alone = sampling.temperature > 0 and sampling.seed is not None
        width = len(first.ids) + sampling.max_tokens
        size = 1 if alone else max(1, min(self.max_batch_size, self.max_batch_tokens // width))
        batch = [job for job in self._waiting if job.request.sampling == sampling][:size]
        taken = set(map(id, batch))
        self._waiting = [job for job in self._waiting if id(job) not in taken]
        return batch

    def _load(self) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise EngineError(f"transformers is installed but cannot be imported: {error}") from error
        spec, path = self.spec, self.path
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        common = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
        args = {"dtype": "auto", **{key: value for key, value in spec.args.items() if key not in OWN_ARGS}}
        device = _device(torch, spec.args.get("device", "auto"))
        tokenizer = _from_hub(path, transformers.AutoTokenizer.from_pretrained, **common)
        model = _from_hub(path, transformers.AutoModelForCausalLM.from_pretrained, **common, **args)
        self._model = (model if "device_map" in args else model.to(device)).eval()
        self._torch, self._transformers, self._tokenizer = torch, transformers, tokenizer
        self._encoder = Encoder(tokenizer, spec.chat, path)
        self.chat = self._encoder.chat
        self._context = int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)
        self._eos = stop_token_ids(model.generation_config, tokenizer)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (self._eos or [0])[0]
        suggested = model.generation_config.to_diff_dict()
        suggested.pop("transformers_version", None)
        self._suggested = suggested if spec.generation_config else {}
        self.record = {
            **self._encoder.record(),
            "device": str(device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "context": self._context,
            "generation_config": {"used": spec.generation_config, "says": suggested},
        }

    def _run(self, batch: list[_Job]) -> list[Reply]:
        """Generate for one batch; when memory runs out, halve it and go on."""
        try:
            return self._generate(batch)
        except self._torch.cuda.OutOfMemoryError:
            self._torch.cuda.empty_cache()
            if len(batch) == 1:
                error = f"out of GPU memory on a prompt of {len(batch[0].ids)} tokens"
                return [Reply(error=error)]
            self.max_batch_size = max(1, len(batch) // 2)
            half = len(batch) // 2
            return self._run(batch[:half]) + self._run(batch[half:])

    def _generate(self, batch: list[_Job]) -> list[Reply]:
        torch, began = self._torch, time.perf_counter()
        sampling = batch[0].request.sampling
        width = max(len(job.ids) for job in batch)
        # Left padding: every row's next token is then in the same column.
        ids = torch.tensor([[self._pad] * (width - len(job.ids)) + job.ids for job in batch])
        mask = torch.tensor([[0] * (width - len(job.ids)) + [1] * len(job.ids) for job in batch])
        if sampling.seed is not None and sampling.temperature > 0:
            torch.manual_seed(sampling.seed)
        room = max(1, min(sampling.max_tokens, self._context - width))
        with torch.inference_mode():
            output = self._model.generate(
                ids.to(self._model.device), attention_mask=mask.to(self._model.device), **self._settings(sampling, room)
            )
        seconds = (time.perf_counter() - began) / len(batch)
        return [self._reply(job, row, seconds) for job, row in zip(batch, output[:, width:].tolist(), strict=True)]

    def _settings(self, sampling: Sampling, room: int) -> dict[str, Any]:
        """Say every decoding setting, so that nothing is left for the repository's generation_config to decide."""
        config = {"repetition_penalty": 1.0, "top_k": None, "top_p": None, "temperature": None, **self._suggested}
        config["do_sample"] = sampling.temperature > 0
        if sampling.temperature > 0:
            config["temperature"] = sampling.temperature
            config["top_p"] = sampling.top_p if sampling.top_p is not None else config["top_p"] or 1.0
            config["top_k"] = sampling.top_k if sampling.top_k is not None else config["top_k"] or 0
        else:
            config |= {"temperature": None, "top_p": None, "top_k": None}
        config |= {"max_new_tokens": room, "eos_token_id": self._eos or None, "pad_token_id": self._pad}
        settings: dict[str, Any] = {"generation_config": self._transformers.GenerationConfig(**config)}
        if sampling.stop:
            settings |= {"stop_strings": list(sampling.stop), "tokenizer": self._tokenizer}
        return settings

    def _reply(self, job: _Job, generated: list[int], seconds: float) -> Reply:
        ends = [index for index, token in enumerate(generated) if token in self._eos]
        kept = generated[: ends[0]] if ends else generated
        text, stopped = cut_at_stop(self._tokenizer.decode(kept, skip_special_tokens=True), job.request.sampling.stop)
        count = len(kept) + bool(ends)
        reason = "stop" if ends or stopped else "length"
        return Reply(text=text, finish_reason=reason, usage=Usage(len(job.ids), 0, count), seconds=seconds)


def _device(torch: Any, wanted: str) -> str:
    """Choose the device; a recipe that says ``cuda`` is never run on a CPU without a word."""
    has_cuda = bool(torch.cuda.is_available())
    if wanted == "auto":
        return "cuda" if has_cuda else "cpu"
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


def _from_hub(path: str, load: Callable[..., Any], **options: Any) -> Any:
    """Load from a directory or the hub; what goes wrong there is the user's to mend."""
    try:
        return load(path, **options)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise EngineError(f"{path}: cannot be loaded with transformers: {' '.join(str(error).split())[:500]}") from error


def _readable(error: Exception) -> Exception:
    return error if isinstance(error, EngineError) else EngineError(f"transformers failed: {type(error).__name__}: {error}")
