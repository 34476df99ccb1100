"""CUT, RMU and Adaptive RMU as anybody would write them: what the engine is measured against.

Two whole models are in memory; every pass goes through all layers and the head; a hook takes the
output of layer l; gradients are taken of whatever leads to it, although only some tensors are
stepped, and those of the others are never cleared, as in the published code
(centerforaisafety/wmdp at c0b6c12, rmu/unlearn.py). Written from the formulas of the paper (arXiv
2403.03218, section 4) and of Adaptive RMU (arXiv 2408.06223), with no code of the engine.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer


class Texts(NamedTuple):
    """A batch as the engine has cut it."""

    tokens: Tensor  # (B, T)
    counted: Tensor  # (B, T), 1 where the losses count a position
    attention: Tensor  # (B, T), 1 where a token may be attended to


class Feed(NamedTuple):
    """What one step is given."""

    forget: Texts
    retain: Texts
    vector: Tensor | str
    """(D,) of unit length, or the keyword phrase that it is to be found from."""
    coefficient: float
    """c, in the units of activations."""
    alpha: float
    is_shifted: bool
    """Whether the target is the frozen activation plus c times the vector (CUT)."""


class PublishedAdamW(torch.optim.Optimizer):
    """AdamW without weight decay, as transformers had it, by which the published code steps.

    Source: transformers 4.38, optimization.py, with its defaults.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float) -> None:
        """Step `parameters`."""
        super().__init__(list(parameters), {"lr": learning_rate})
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step."""
        self._steps += 1
        first, second = 1 - 0.9**self._steps, 1 - 0.999**self._steps
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros_like(parameter))
                square = state.setdefault("square", torch.zeros_like(parameter))
                mean.mul_(0.9).add_(parameter.grad, alpha=0.1)
                square.mul_(0.999).addcmul_(parameter.grad, parameter.grad, value=0.001)
                rate = group["lr"] * second**0.5 / first
                parameter.addcdiv_(mean, square.sqrt() + 1e-6, value=-rate)


class PlainModels:
    """The frozen and the updated model."""

    def __init__(
        self,
        checkpoint: Path,
        *,
        layer: int,
        trained: Sequence[str],
        learning_rate: float,
        dtype: torch.dtype,
        is_published: bool = False,
    ) -> None:
        """Load the checkpoint twice.

        Args:
            checkpoint: Its directory.
            layer: l, whose output is steered.
            trained: The full names of the trained tensors.
            learning_rate: Of AdamW, without weight decay.
            dtype: Of weights, gradients and the optimiser's state.
            is_published: Step by the AdamW of the published code.
        """
        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self._frozen = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
        self._updated = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
        self._layer = layer
        parameters = dict(self._updated.named_parameters())
        self.trained = {name: parameters[name] for name in trained}
        self._optimizer: torch.optim.Optimizer = (
            PublishedAdamW(self.trained.values(), learning_rate)
            if is_published
            else torch.optim.AdamW(self.trained.values(), lr=learning_rate, weight_decay=0.0)
        )
        self._vectors: dict[str, Tensor] = {}

    def step(self, feed: Feed) -> float:
        """Take one step and return its loss."""
        steer = feed.coefficient * self._vector(feed.vector)  # (D,)
        target = steer
        if feed.is_shifted:
            with torch.no_grad():
                target = self._state(self._frozen, feed.forget) + steer  # (B, T, D)
        forget = _mean_square(self._state(self._updated, feed.forget), target, feed.forget)
        retained = self._state(self._updated, feed.retain)
        with torch.no_grad():
            kept = self._state(self._frozen, feed.retain)
        loss = forget + feed.alpha * _mean_square(retained, kept, feed.retain)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def _state(self, model: torch.nn.Module, texts: Texts) -> Tensor:
        """The output of layer l, (B, T, D), of a pass through all layers."""
        caught: list[Tensor] = []

        def catch(_module: torch.nn.Module, _inputs: object, output: object) -> None:
            caught.append(output[0] if isinstance(output, tuple) else output)

        layer = model.get_submodule(f"model.layers.{self._layer}")
        handle = layer.register_forward_hook(catch)
        try:
            model(input_ids=texts.tokens, attention_mask=texts.attention, use_cache=False)
        finally:
            handle.remove()
        return caught[0]

    def _vector(self, given: Tensor | str) -> Tensor:
        """Novice minus expert of a phrase, of unit length; a vector that is given is returned."""
        if isinstance(given, Tensor):
            return given
        if given not in self._vectors:
            novice, expert = (
                self._last_state(text)
                for text in (
                    f"You are a novice in {given} who often makes mistakes.",
                    f"You are a world-class expert in {given}.",
                )
            )
            self._vectors[given] = (novice - expert) / (novice - expert).norm()
        return self._vectors[given]

    @torch.no_grad()
    def _last_state(self, text: str) -> Tensor:
        tokens = torch.tensor([self._tokenizer.encode(text)])
        ones = torch.ones_like(tokens)
        return self._state(self._frozen, Texts(tokens, ones, ones))[0, -1].float()


def _mean_square(states: Tensor, target: Tensor, texts: Texts) -> Tensor:
    """The mean over counted positions and over D of the squared difference."""
    squares = (states.float() - target.float()) ** 2  # (B, T, D)
    return squares[texts.counted.bool()].mean()
