"""A transformers model in two parts: token ids to the states of its last layer, and states to logits, as many as are wanted."""

from __future__ import annotations

from typing import Any


class Head:
    """What a ``...ForCausalLM`` does after its base model: the output head, with the scales and softcaps that some put around it.

    Logits of chosen positions come from the model's own ``forward``, with the base model's output put in place of the base model.
    """

    def __init__(self, torch: Any, model: Any) -> None:
        class Ready(torch.nn.Module):  # type: ignore[misc]
            output: Any = None

            def forward(self, *_: Any, **__: Any) -> Any:
                return self.output

        self._model, self._body, self._ready = model, model.base_model, Ready()
        self._dummy = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        self._kind: Any = None

    def states(self, **inputs: Any) -> Any:
        """Run the base model; return the states of its last layer, rows x positions x features."""
        output = self._body(**inputs)
        self._kind = type(output)
        return output.last_hidden_state

    def __call__(self, states: Any) -> Any:
        """Return the logits of states, positions x features to positions x vocabulary."""
        name = self._model.base_model_prefix
        self._ready.output = self._kind(last_hidden_state=states[None])
        setattr(self._model, name, self._ready)
        try:
            return self._model(input_ids=self._dummy, use_cache=False).logits[0]
        finally:
            setattr(self._model, name, self._body)
            self._ready.output = None
