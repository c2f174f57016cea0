"""vLLM in process, through ``AsyncLLM``: continuous batching, prefix caching, and vLLM's own parallelism.

``args`` are vLLM's engine arguments under their own names (``tensor_parallel_size``, ``data_parallel_size``,
``max_model_len``, ...); an unknown one is refused. Prompts are sent as token ids, so that BOS is ours to count.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ocli.engines import chosen, model_path, refuse_unknown
from ocli.engines._calls import Answer, Call, Value, calls_of, values_of
from ocli.engines._decoding import Suggestion
from ocli.engines._loading import checkpoint, hardware
from ocli.errors import EngineError
from ocli.likelihood import query
from ocli.recipe import ModelSpec
from ocli.task import TaskSpec
from ocli.tokens import Encoder, UnaskableError
from ocli.types import Reply, Request, Usage

NEEDS = ("vllm",)
OURS = {
    "model": "path",
    "revision": "revision",
    "trust_remote_code": "trust_remote_code",
    "generation_config": "generation_config",
    "override_generation_config": "sampling",
}
"""Engine arguments that the model's own keys say, and those keys."""

REPLY_ARGS = (
    "dtype", "quantization", "quantization_config", "kv_cache_dtype", "kv_cache_dtype_skip_layers", "calculate_kv_scales",
    "hf_overrides", "hf_config_path", "config_format", "load_format", "model_loader_extra_config", "ignore_patterns",
    "model_weights", "model_impl", "model_class_overrides", "code_revision", "tokenizer", "tokenizer_mode",
    "tokenizer_revision", "rope_scaling", "rope_theta", "max_model_len", "disable_sliding_window", "enable_lora",
    "default_mm_loras", "lora_dtype", "speculative_config", "diffusion_config", "logits_processors",
    "logits_processor_pattern", "additional_config", "seed",
)  # fmt: skip
"""Arguments that change replies and so belong to a request's key. ``max_model_len`` does: it says where a reply is cut."""

SENT = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "seed", "max_tokens", "stop",
)  # fmt: skip
"""What of vLLM's sampling parameters is put on record."""

MOST_NEXT = 128
"""So many ids can be asked about as the next one in one call (vLLM's MAX_LOGPROB_TOKEN_IDS)."""

SUGGESTIBLE = {
    "do_sample", "temperature", "top_k", "top_p", "min_p",
    "repetition_penalty", "presence_penalty", "frequency_penalty",
}  # fmt: skip
"""What of a repository's generation_config vLLM can do."""


class Engine:
    """One ``AsyncLLM``: a model on one or many devices."""

    def __init__(self, spec: ModelSpec) -> None:
        for name, key in OURS.items():
            if name in spec.args:
                raise EngineError(f"args.{name}: say it as the model's own key {key!r}, not among vLLM's args")
        if "hf_token" in spec.args:
            raise EngineError("args.hf_token: a key does not belong in a recipe: export HF_TOKEN=...")
        self.spec = spec
        self.path = model_path(spec)
        self.chat = False
        self.concurrency = spec.concurrency or 1
        self.identity: list[Any] = []
        self.likelihood_identity: list[Any] = []
        self.record: dict[str, Any] = {}
        self._llm: Any = None
        self._number = 0
        self._will_score = False

    def check(self, tasks: Mapping[str, TaskSpec]) -> None:
        """Any task can be asked."""
        self._will_score = any(task.mode != "generate" for task in tasks.values())

    async def start(self) -> None:
        """Start vLLM with the model's arguments; it logs warnings only."""
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        try:
            import vllm
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.sampling_params import RequestOutputKind
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise EngineError(f"vLLM cannot start: it is installed but cannot be imported: {_one_line(error)}") from error
        spec = self.spec
        refuse_unknown(spec.args, [item.name for item in dataclasses.fields(AsyncEngineArgs)], "vllm")
        try:
            args = AsyncEngineArgs(
                model=self.path,
                revision=spec.revision,
                trust_remote_code=spec.trust_remote_code,
                # "vllm" means: neutral sampling, not the repository's; end-of-sequence ids are read from it all the same.
                generation_config="auto" if spec.generation_config else "vllm",
                **{"disable_log_stats": True, **self._small_blocks(), **spec.args},
            )
            # The context chooses vLLM's defaults: those of LLM are for throughput (larger batches), as offline work wants.
            self._llm = AsyncLLM.from_engine_args(args, usage_context=UsageContext.LLM_CLASS)
            tokenizer = self._llm.get_tokenizer()
            tokenizer = await tokenizer if inspect.isawaitable(tokenizer) else tokenizer
        except Exception as error:
            raise EngineError(f"{self.path}: vLLM cannot start: {_one_line(error)}") from error
        self._sampling_class, self._final = vllm.SamplingParams, RequestOutputKind.FINAL_ONLY
        self._settle(self._llm.vllm_config, tokenizer)
        if self._will_score:
            # vLLM compiles its log-probability code on first use; that is no time of the first question's.
            begin = tuple(self._encoder.start_ids[-1:] * 3)
            await self._score(Call(begin, 2, [begin[0]]), greedy=True)

    def _small_blocks(self) -> dict[str, int]:
        """Ask for small cache blocks where choices are scored: what stands before a choice in its block is computed for each.

        On a GPU they are small anyway; on a CPU vLLM takes 128 tokens, and multiples of 32 are what it knows.
        """
        from vllm.platforms import current_platform

        return {"block_size": 32} if self._will_score and current_platform.is_cpu() else {}

    def _settle(self, config: Any, tokenizer: Any) -> None:
        """Keep what vLLM decided while starting."""
        spec, model = self.spec, config.model_config
        if spec.concurrency is None:
            # Twice what all replicas run at once, as vLLM chose it: their queues never run dry while replies are written.
            self.concurrency = 2 * config.scheduler_config.max_num_seqs * config.parallel_config.data_parallel_size
        self._encoder = Encoder(tokenizer, spec.chat, self.path, int(model.max_model_len))
        # vLLM's second model runner (CUDA only) computes the scores of just the rows and ids that are asked.
        has = "prompt_logprob_token_ids" in inspect.signature(self._sampling_class).parameters
        runs = getattr(config, "use_v2_model_runner", False) and not getattr(
            config.cache_config, "kv_sharing_fast_prefill", False
        )
        self._scores_by_id = bool(has and runs)
        self.chat = self._encoder.chat
        self._suggestion = Suggestion(dict(model.try_get_generation_config()), spec.generation_config, SUGGESTIBLE)
        args = chosen(spec.args, REPLY_ARGS)
        self.identity = ["vllm", spec.path, spec.revision, self.chat, spec.generation_config, args]
        self.record = {
            **self._encoder.record(),
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": str(model.quantization or "none"),
            "context": self._encoder.context,
            **_layout(config),
            **checkpoint(self.path, spec.revision, spec.args.get("download_dir")),
            "generation_config": self._suggestion.record(spec.sampling.resolve(spec.generation_config)),
        }

    async def generate(self, request: Request) -> Reply:
        """Hand one prompt to vLLM and wait for its final output."""
        began = time.perf_counter()
        try:
            ids = self._encoder.encode(request)
            final = await self._run(ids, **self._settings(request))
        except UnaskableError as error:
            return Reply(error=str(error))
        completion = final.outputs[0]
        usage = Usage(len(ids), final.num_cached_tokens, len(completion.token_ids))
        seconds = time.perf_counter() - began
        return Reply(completion.text, finish_reason=completion.finish_reason, usage=usage, seconds=seconds)

    async def loglikelihood(self, request: Request) -> Reply:
        """Score a request's choices: one call where they are one token each, else a call a choice on the cached context."""
        began = time.perf_counter()
        try:
            asked = query(request, self._encoder)
            spans = asked.spans()
            calls = calls_of(spans)
            done = await asyncio.gather(*(self._score(call, request.greedy) for call in calls))
        except UnaskableError as error:
            return Reply(error=str(error))
        answers = {call.prompt: answer for call, (answer, _) in zip(calls, done, strict=True)}
        usage = Usage(sum(len(call.prompt) for call in calls), sum(cached for _, cached in done), 0)
        choices = asked.choices(values_of(spans, answers))
        return Reply(choices=choices, finish_reason="stop", usage=usage, seconds=time.perf_counter() - began)

    async def _score(self, call: Call, greedy: bool) -> tuple[Answer, int]:
        """Ask one call; return its values and how many of its ids were in the prefix cache.

        vLLM gives values for the ids it computes. What the cache reaches into is asked again without the cache.
        """
        tail = call.prompt[call.tail :]
        settings: dict[str, Any] = {"logprob_token_ids": call.nexts[:MOST_NEXT], "max_tokens": 1, "temperature": 0.0}
        settings |= {"detokenize": False, "flat_logprobs": True}
        by_id = bool(tail) and self._scores_by_id and not greedy
        if by_id:
            settings |= {"prompt_logprob_token_ids": [[token] for token in tail], "prompt_logprob_start": call.tail - 1}
        elif tail:
            settings["prompt_logprobs"] = 0
        # The value of an id comes from the id before it: that one must be computed too.
        final = await self._run(call.prompt, **settings, skip_reading_prefix_cache=bool(tail) and call.tail == 1)
        if tail and not 0 <= final.num_cached_tokens < call.tail:
            final = await self._run(call.prompt, **settings, skip_reading_prefix_cache=True)
        completion = final.outputs[0]
        nexts = {
            token: (completion.logprobs[0][token].logprob, token == completion.token_ids[0]) for token in call.nexts[:MOST_NEXT]
        }
        for begin in range(MOST_NEXT, len(call.nexts), MOST_NEXT):
            more, _ = await self._score(Call(call.prompt, len(call.prompt), call.nexts[begin : begin + MOST_NEXT]), greedy)
            nexts |= more.nexts
        return Answer(_tail(final, tail, by_id), nexts), final.num_cached_tokens

    async def _run(self, ids: Sequence[int], **settings: Any) -> Any:
        """Hand token ids to vLLM; return its final output. What it refuses for these ids alone is raised as UnaskableError."""
        self._number += 1
        final: Any = None
        try:
            sampling = self._sampling_class(**settings, output_kind=self._final)
            async for output in self._llm.generate({"prompt_token_ids": list(ids)}, sampling, str(self._number)):
                final = output
        except Exception as error:
            if self._llm is None or self._llm.errored:
                raise EngineError(
                    f"vLLM died: {_one_line(error)}; the log above says why, -r goes on where it stopped"
                ) from error
            raise UnaskableError(f"vLLM refuses this request: {type(error).__name__}: {_one_line(error)}") from None
        if final is None:
            raise UnaskableError("vLLM gave no output for this request")
        return final

    def fits(self, request: Request) -> bool:
        """Whether the model's context holds a request."""
        return self._encoder.fits(request)

    def sent(self, request: Request) -> dict[str, Any]:
        """Return how a request's prompt begins and ends, and the sampling parameters as vLLM completes them."""
        sent = self._encoder.sent(request)
        if request.choices:
            return sent
        try:
            params = self._sampling_class(**self._settings(request))
        except ValueError:  # what vLLM refuses is the error of the item, when it is asked
            return sent
        drawn = {name: getattr(params, name) for name in SENT}
        return {**sent, "sampling": {name: value for name, value in drawn.items() if value not in (None, [])}}

    async def close(self) -> None:
        """Stop vLLM's processes, so that the next model finds the memory free."""
        if self._llm is not None:
            self._llm.shutdown()
            self._llm = None

    def _settings(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        said = {"top_p": sampling.top_p, "top_k": sampling.top_k, "seed": sampling.seed}
        left = {key: value for key, value in self._suggestion.settle(sampling).items() if key != "do_sample"}
        return {
            **left,
            **{key: value for key, value in said.items() if value is not None},
            "temperature": self._suggestion.temperature(sampling),
            "max_tokens": sampling.max_tokens,
            "stop": list(sampling.stop),
        }


def _layout(config: Any) -> dict[str, Any]:
    """Return on what and how vLLM runs a model, for the record. Names of GPUs come without touching them (NVML)."""
    import torch
    from vllm.platforms import current_platform

    parallel, scheduler = config.parallel_config, config.scheduler_config
    backend = getattr(getattr(config, "attention_config", None), "backend", None)
    gpus = 0 if current_platform.is_cpu() else parallel.world_size * parallel.data_parallel_size
    return {
        "device": str(current_platform.device_type),
        **hardware(torch, [current_platform.get_device_name()] * gpus),
        "attention": str(getattr(backend, "name", backend) or "chosen by vLLM"),
        "kv_cache_dtype": str(config.cache_config.cache_dtype),
        "parallel": {
            "tensor": parallel.tensor_parallel_size,
            "pipeline": parallel.pipeline_parallel_size,
            "data": parallel.data_parallel_size,
        },
        "batch": {"max_num_seqs": scheduler.max_num_seqs, "max_num_batched_tokens": scheduler.max_num_batched_tokens},
    }


def _tail(final: Any, tail: Sequence[int], by_id: bool) -> list[Value]:
    """Read the values of a prompt's last ids; rows of what the cache held come before them, or are not there at all."""
    if not tail:
        return []
    rows = final.prompt_token_id_logprobs if by_id else final.prompt_logprobs
    if rows is None or len(rows) < len(tail):  # vLLM gives none to a request that it had to put back
        raise UnaskableError("vLLM gave no log-probabilities for the end of the prompt; -r asks again")
    if by_id:
        return [(float(row[0]), None) for row in rows]
    values = [row[token] for row, token in zip(rows[-len(tail) :], tail, strict=True)]
    return [(value.logprob, value.rank == 1) for value in values]


def _one_line(error: BaseException) -> str:
    """Return an error's words in one line; vLLM wraps the cause of a failed start in pydantic's or its own error."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words[:600]
