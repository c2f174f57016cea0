"""vLLM in process, through ``AsyncLLM``: continuous batching, prefix caching, and vLLM's own parallelism.

``args`` are vLLM's engine arguments under their own names (``tensor_parallel_size``, ``data_parallel_size``,
``max_model_len``, ...); an unknown one is refused. Prompts are sent as token ids, so that BOS is ours to count.
"""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

from ocli.engines import model_path, refuse_unknown
from ocli.errors import EngineError
from ocli.recipe import ModelSpec
from ocli.tokens import Encoder
from ocli.types import Reply, Request, Sampling, Usage

NEEDS = ("vllm",)
OURS = ("model", "revision", "trust_remote_code", "generation_config")
"""Engine arguments that the model's own keys say."""


class Engine:
    """One ``AsyncLLM``: a model on one or many devices."""

    def __init__(self, spec: ModelSpec) -> None:
        for name in OURS:
            if name in spec.args:
                raise EngineError(f"args.{name}: say it as the model's own key ('path' for model), not among vLLM's args")
        self.spec = spec
        self.path = model_path(spec)
        self.chat = False
        self.record: dict[str, Any] = {}
        # Twice vLLM's default of running sequences: its queue never runs dry while replies are written.
        replicas = int(spec.args.get("data_parallel_size", 1))
        self.concurrency = spec.concurrency or 2 * int(spec.args.get("max_num_seqs", 256)) * replicas
        self._llm: Any = None
        self._number = 0

    async def start(self) -> None:
        """Start vLLM with the model's arguments; it logs warnings only."""
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        try:
            import vllm
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.sampling_params import RequestOutputKind
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise EngineError(f"vLLM is installed but cannot be imported: {_one_line(error)}") from error
        spec = self.spec
        refuse_unknown(spec.args, [item.name for item in dataclasses.fields(AsyncEngineArgs)], "vllm")
        try:
            args = AsyncEngineArgs(
                model=self.path,
                revision=spec.revision,
                trust_remote_code=spec.trust_remote_code,
                # "vllm" means: neutral sampling, not the repository's; end-of-sequence ids are read from it all the same.
                generation_config="auto" if spec.generation_config else "vllm",
                **{"disable_log_stats": True, **spec.args},
            )
            self._llm = AsyncLLM.from_engine_args(args)
        except Exception as error:
            raise EngineError(f"{self.path}: vLLM cannot start: {_one_line(error)}") from error
        config = self._llm.vllm_config.model_config
        self._encoder = Encoder(self._llm.get_tokenizer(), spec.chat, self.path)
        self.chat = self._encoder.chat
        self._context = int(config.max_model_len)
        self._sampling_class, self._final = vllm.SamplingParams, RequestOutputKind.FINAL_ONLY
        suggested = dict(config.try_get_generation_config())
        suggested.pop("transformers_version", None)
        self._suggested = config.get_diff_sampling_param() if spec.generation_config else {}
        self.record = {
            **self._encoder.record(),
            "dtype": str(config.dtype).removeprefix("torch."),
            "context": self._context,
            "generation_config": {"used": spec.generation_config, "says": suggested},
        }

    async def generate(self, request: Request) -> Reply:
        """Hand one prompt to vLLM and wait for its final output."""
        ids = self._encoder.encode(request)
        if len(ids) >= self._context:
            return Reply(error=f"the prompt has {len(ids)} tokens, the model's context {self._context}; nothing is cut silently")
        began = time.perf_counter()
        self._number += 1
        final: Any = None
        try:
            async for output in self._llm.generate({"prompt_token_ids": ids}, self._settings(request), str(self._number)):
                final = output
        except ValueError as error:
            return Reply(error=f"vLLM refuses this request: {_one_line(error)}")
        except Exception as error:
            if self._llm.errored:
                raise EngineError(
                    f"vLLM died: {_one_line(error)}; the log above says why, -r goes on where it stopped"
                ) from error
            raise
        completion = final.outputs[0]
        usage = Usage(len(ids), final.num_cached_tokens, len(completion.token_ids))
        return Reply(completion.text, None, completion.finish_reason, usage, time.perf_counter() - began)

    async def close(self) -> None:
        """Stop vLLM's processes, so that the next model finds the memory free."""
        if self._llm is not None:
            self._llm.shutdown()
            self._llm = None

    def _settings(self, request: Request) -> Any:
        sampling: Sampling = request.sampling
        said = {"top_p": sampling.top_p, "top_k": sampling.top_k, "seed": sampling.seed}
        return self._sampling_class(
            **{
                **self._suggested,
                **{key: value for key, value in said.items() if value is not None},
                "temperature": sampling.temperature,
                "max_tokens": sampling.max_tokens,
                "stop": list(sampling.stop),
                "output_kind": self._final,
            }
        )


def _one_line(error: BaseException) -> str:
    """Return an error's words in one line; vLLM wraps the cause of a failed start in pydantic's or its own error."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words[:600]
