"""Hugging Face transformers on a CPU or a GPU: waiting requests are batched by length, a micro-batch at a time.

Decoding settings come from the request alone. The model repository's ``generation_config`` is ignored (its end-of-sequence
ids apart) unless the model says ``generation_config: true``; either way the record keeps what it says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ocli.engines import chosen, model_path, number, refuse_unknown
from ocli.engines._decoding import DRAWING, Halt, Suggestion
from ocli.engines._loading import checkpoint, device_of, from_hub, hardware, moved, quantization
from ocli.engines._scoring import Scorer, Scores
from ocli.engines._trees import Tree, pick, trees_of
from ocli.errors import EngineError
from ocli.likelihood import query
from ocli.recipe import ModelSpec
from ocli.task import TaskSpec
from ocli.tokens import Encoder, UnaskableError, cut_at_stop, stop_token_ids
from ocli.types import Reply, Request, Sampling, Usage

NEEDS = ("torch", "transformers")
OWN_ARGS = ["device", "max_batch_size", "max_batch_tokens"]
LOAD_ARGS = [
    "dtype", "torch_dtype", "device_map", "attn_implementation", "quantization_config", "max_memory",
    "low_cpu_mem_usage", "offload_folder", "variant", "use_safetensors", "cache_dir", "subfolder", "code_revision",
]  # fmt: skip
REPLY_ARGS = (
    "dtype", "torch_dtype", "quantization_config", "attn_implementation", "code_revision", "variant", "subfolder",
)  # fmt: skip
"""Arguments that change replies and so belong to a request's key."""
SUGGESTIBLE = DRAWING | {
    "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens",
    "min_new_tokens", "exponential_decay_length_penalty", "sequence_bias", "renormalize_logits", "guidance_scale",
}  # fmt: skip
"""What of a repository's generation_config is used when it is; lengths, beams and outputs stay ocli's."""


@dataclass
class _Job:
    """A request that waits for its batch; ``room`` is how many tokens its reply may have. Of likelihoods a tree is a job."""

    request: Request
    ids: list[int]
    room: int = 0
    tree: Tree | None = None
    future: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True)
class _Failure:
    """Why a batch gave no replies: words only, for an exception would hold the batch's tensors in memory."""

    words: str
    memory: bool


class Engine:
    """A model loaded with ``AutoModelForCausalLM``."""

    def __init__(self, spec: ModelSpec) -> None:
        refuse_unknown(spec.args, OWN_ARGS + LOAD_ARGS, "transformers")
        self.spec = spec
        self.path = model_path(spec)
        self.chat = False
        self.identity: list[Any] = []
        self.likelihood_identity: list[Any] = []
        self.record: dict[str, Any] = {}
        self.max_batch_size = int(number(spec.args, "max_batch_size", 64, least=1))
        self.max_batch_tokens = int(number(spec.args, "max_batch_tokens", 32768, least=1))
        if not isinstance(spec.args.get("device", "auto"), str):
            raise EngineError(f"args.device must be a string like cuda:0 or cpu, not {spec.args['device']!r}")
        # Several batches' worth of requests wait, so that each batch can be cut from requests of like length.
        self.concurrency = spec.concurrency or self.max_batch_size * 8
        self._waiting: list[_Job] = []
        self._worker: asyncio.Task[None] | None = None
        self._model: Any = None
        self._closed = False
        self._halt: Halt | None = None
        self._scorer: Scorer | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transformers")

    def check(self, tasks: Mapping[str, TaskSpec]) -> None:
        """Any task can be asked."""

    async def start(self) -> None:
        """Load tokenizer and model in the engine's own thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def generate(self, request: Request) -> Reply:
        """Queue a request for the next batch that it fits in."""
        try:
            ids = self._encoder.encode(request)
        except UnaskableError as error:
            return Reply(error=str(error))
        reply: Reply = await self._queue(_Job(request, ids, min(request.sampling.max_tokens, self._context - len(ids))))
        return reply

    async def loglikelihood(self, request: Request) -> Reply:
        """Queue the trees of a request's spans, each for the next batch that begins as it does."""
        try:
            asked = query(request, self._encoder)
            jobs = [_Job(request, tree.ids, tree=tree) for tree in trees_of(asked.spans())]
            done: list[Scores | Reply] = await asyncio.gather(*map(self._queue, jobs))
            failed = [outcome for outcome in done if isinstance(outcome, Reply)]
            if failed:
                return failed[0]
            scores = [outcome for outcome in done if isinstance(outcome, Scores)]
            choices = asked.choices({span: score for each in scores for span, score in each.spans.items()})
        except UnaskableError as error:
            return Reply(error=str(error))
        usage = Usage(sum(each.prompt for each in scores), sum(each.cached for each in scores), 0)
        return Reply(choices=choices, finish_reason="stop", usage=usage, seconds=sum(each.seconds for each in scores))

    def fits(self, request: Request) -> bool:
        """Whether the model's context holds a request."""
        return self._encoder.fits(request)

    def sent(self, request: Request) -> dict[str, Any]:
        """Return how a request's prompt begins and ends, and how its reply is drawn."""
        sent, sampling = self._encoder.sent(request), request.sampling
        if request.choices:
            return sent
        config = self._settings(sampling, sampling.max_tokens)
        names = dict.fromkeys(["temperature", "top_p", "top_k", "repetition_penalty", *self._suggestion.applied])
        drawn = {name: getattr(config, name) for name in names if name != "do_sample"}
        drawn |= {"temperature": config.temperature or 0.0, "seed": sampling.seed, "max_tokens": sampling.max_tokens}
        drawn["stop"] = list(sampling.stop) or None
        return {**sent, "sampling": {name: value for name, value in drawn.items() if value is not None}}

    async def close(self) -> None:
        """Stop the worker and free the model; a batch at work ends with its next token or forward."""
        self._closed = True
        if self._halt is not None:
            self._halt.closed = True
        if self._scorer is not None:
            self._scorer.closed = True
        if self._worker is not None:
            self._worker.cancel()
        for job in self._waiting:
            job.future.cancel()
        self._thread.shutdown(wait=True)
        self._model = self._scorer = None

    def _queue(self, job: _Job) -> asyncio.Future[Any]:
        """Let a job wait for its batch; its future is a reply, or the scores of its tree."""
        self._waiting.append(job)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return job.future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(0)  # let every caller that was just answered put its next request in
            batch = self._take_batch()
            try:
                outcomes = await loop.run_in_executor(self._thread, self._run, batch)
                for job, outcome in zip(batch, outcomes, strict=True):
                    if not job.future.done():  # an interrupted run has cancelled those who waited
                        job.future.set_result(outcome)
            except Exception as error:  # noqa: BLE001 - whatever the model raises belongs to those who wait for it
                for job in batch:
                    if not job.future.done():
                        job.future.set_exception(_readable(error))
            finally:
                for job in batch:  # only of a worker that was cancelled
                    job.future.cancel()

    def _take_batch(self) -> list[_Job]:
        """Take jobs of one kind, that of the job that came first."""
        scored = [job for job in self._waiting if job.tree is not None]
        if scored and scored[0] is self._waiting[0]:
            trees = [job.tree for job in scored if job.tree is not None]
            batch = [scored[index] for index in pick(trees, self.max_batch_size, self.max_batch_tokens)]
        else:
            batch = self._alike([job for job in self._waiting if job.tree is None])
        taken = set(map(id, batch))
        self._waiting = [job for job in self._waiting if id(job) not in taken]
        return batch

    def _alike(self, waiting: list[_Job]) -> list[_Job]:
        """Return the longest waiting prompt and those nearest to it in length that share its settings and its room.

        Room counts because a batch generates as many tokens for each: a prompt near the context's end would cut its neighbours.
        """
        waiting.sort(key=lambda job: len(job.ids), reverse=True)
        first = waiting[0]
        sampling = first.request.sampling
        # A seeded draw must not depend on its neighbours, and torch has one generator a batch.
        alone = sampling.seed is not None and self._suggestion.temperature(sampling) > 0
        size = 1 if alone else max(1, min(self.max_batch_size, self.max_batch_tokens // (len(first.ids) + first.room)))
        return [job for job in waiting if job.request.sampling == sampling and job.room == first.room][:size]

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
        args = {key: value for key, value in spec.args.items() if key not in OWN_ARGS}
        if "torch_dtype" not in args:
            args.setdefault("dtype", "auto")
        device = device_of(torch, spec.args.get("device", "auto"))
        tokenizer = from_hub(path, transformers.AutoTokenizer.from_pretrained, **common)
        model = from_hub(path, transformers.AutoModelForCausalLM.from_pretrained, **common, **args)
        self._model = (model if "device_map" in args else moved(model, device)).eval()
        self._torch, self._transformers, self._tokenizer = torch, transformers, tokenizer
        self._settle(model, tokenizer)
        self._scorer = Scorer(torch, model, self._context, self._pad)
        self.record["device"] = str(model.device) if "device_map" in args else device
        cards = {str(parameter.device) for parameter in model.parameters() if parameter.device.type == "cuda"}
        self.record |= hardware(torch, [torch.cuda.get_device_name(card) for card in sorted(cards)])

    def _settle(self, model: Any, tokenizer: Any) -> None:
        """Keep what was decided while loading, and take the repository's decoding settings off the model."""
        spec, config = self.spec, model.config
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        self._context = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        self._encoder = Encoder(tokenizer, spec.chat, self.path, self._context)
        self.chat = self._encoder.chat
        self._eos = stop_token_ids(model.generation_config, tokenizer)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (self._eos or [0])[0]
        self._suggestion = Suggestion(model.generation_config.to_diff_dict(), spec.generation_config, SUGGESTIBLE)
        # transformers fills what a request leaves open from the model's own: there must be nothing to find.
        bos = model.generation_config.bos_token_id
        model.generation_config = self._transformers.GenerationConfig(bos_token_id=bos)
        args = chosen(spec.args, REPLY_ARGS)
        self.identity = ["transformers", spec.path, spec.revision, self.chat, spec.generation_config, args]
        self.record = {
            **self._encoder.record(),
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": quantization(model.config),
            "attention": str(getattr(model.config, "_attn_implementation", None) or "its own"),
            "context": self._context,
            "batch": {"max_batch_size": self.max_batch_size, "max_batch_tokens": self.max_batch_tokens},
            **checkpoint(self.path, spec.revision, spec.args.get("cache_dir")),
            "generation_config": self._suggestion.record(spec.sampling.resolve(spec.generation_config)),
        }

    def _run(self, batch: list[_Job]) -> list[Reply | Scores]:
        """Generate for one batch, or score it. Where memory runs out it is halved; where else it fails, each is asked alone."""
        outcome = self._attempt(batch)
        if isinstance(outcome, list):
            return outcome
        if outcome.memory:
            if self._scorer is not None:
                self._scorer.forget()
            self._torch.cuda.empty_cache()  # here, where no exception holds the failed batch's tensors any more
            if len(batch) == 1:
                return [Reply(error=f"out of GPU memory on a prompt of {len(batch[0].ids)} tokens")]
            half = len(batch) // 2
            # Later batches have fewer tokens, not fewer requests: short prompts still go many at a time.
            cost = max(len(job.ids) + job.room for job in batch) * len(batch)
            self.max_batch_tokens = max(1, min(self.max_batch_tokens, cost // 2))
            return self._run(batch[:half]) + self._run(batch[half:])
        if len(batch) == 1:
            return [Reply(error=outcome.words)]
        outcomes = [self._run([job])[0] for job in batch]
        if all(isinstance(each, Reply) and each.error for each in outcomes):
            raise EngineError(outcome.words)
        return outcomes

    def _attempt(self, batch: list[_Job]) -> list[Reply | Scores] | _Failure:
        if self._closed:
            return [Reply(error="interrupted") for _ in batch]
        try:
            trees = [job.tree for job in batch if job.tree is not None]
            return [*self._score(trees)] if trees else [*self._generate(batch)]
        except EngineError:
            raise
        except self._torch.cuda.OutOfMemoryError as error:
            return _Failure(str(error), memory=True)
        except Exception as error:
            words = str(_readable(error))
            logging.getLogger(__name__).warning("a batch of %d failed", len(batch), exc_info=True)
            if "CUDA error" in words:  # the device's context is lost with it: nothing works after this
                raise EngineError(words) from error
            return _Failure(words, memory=False)

    def _score(self, trees: list[Tree]) -> list[Scores]:
        assert self._scorer is not None  # made when the model was loaded
        return self._scorer.score(trees, self.max_batch_tokens)

    def _generate(self, batch: list[_Job]) -> list[Reply]:
        torch, began = self._torch, time.perf_counter()
        sampling = batch[0].request.sampling
        width = max(len(job.ids) for job in batch)
        # Left padding: every row's next token is then in the same column.
        ids = torch.tensor([[self._pad] * (width - len(job.ids)) + job.ids for job in batch])
        mask = torch.tensor([[0] * (width - len(job.ids)) + [1] * len(job.ids) for job in batch])
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        halt = self._halt = Halt(torch, self._tokenizer, sampling.stop, self._eos, len(batch), width)
        halt.closed = self._closed
        with torch.inference_mode():
            output = self._model.generate(
                ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                generation_config=self._settings(sampling, batch[0].room),
                stopping_criteria=self._transformers.StoppingCriteriaList([halt]),
            )
        seconds = (time.perf_counter() - began) / len(batch)
        rows = zip(batch, output[:, width:].tolist(), halt.ends, strict=True)
        return [self._reply(job, generated[:end], end is not None, seconds) for job, generated, end in rows]

    def _settings(self, sampling: Sampling, room: int) -> Any:
        """Say every decoding setting, so that nothing is left for transformers' defaults to decide."""
        left = self._suggestion.settle(sampling)
        config = {"repetition_penalty": 1.0, "top_k": None, "top_p": None, **left}
        temperature = self._suggestion.temperature(sampling)
        config |= {"do_sample": temperature > 0, "temperature": temperature or None}
        if temperature > 0:
            config["top_p"] = sampling.top_p if sampling.top_p is not None else config["top_p"] or 1.0
            config["top_k"] = sampling.top_k if sampling.top_k is not None else config["top_k"] or 0
        config |= {"max_new_tokens": room, "eos_token_id": self._eos or None, "pad_token_id": self._pad}
        return self._transformers.GenerationConfig(**config)

    def _reply(self, job: _Job, generated: list[int], stopped: bool, seconds: float) -> Reply:
        """Make the reply of one row; what follows its end-of-sequence token is padding."""
        ends = [index for index, token in enumerate(generated) if token in self._eos]
        kept = generated[: ends[0]] if ends else generated
        text, cut = cut_at_stop(self._tokenizer.decode(kept, skip_special_tokens=True), job.request.sampling.stop)
        count = len(kept) + bool(ends)
        reason = "stop" if ends or stopped or cut else "length"
        return Reply(text=text, finish_reason=reason, usage=Usage(len(job.ids), 0, count), seconds=seconds)


def _readable(error: Exception) -> EngineError:
    return (
        error
        if isinstance(error, EngineError)
        else EngineError(f"transformers failed: {type(error).__name__}: {' '.join(str(error).split())[:500]}")
    )
