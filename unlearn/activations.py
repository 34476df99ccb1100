"""The part of a decoder that a run needs: a shared prefix, and the trained layers up to l.

    tokens → embeddings, masks, rotary → layers 0 … first-1 → layers first … l
                                         same in both models   frozen, or with the trained tensors

Frozen and updated passes run the same modules; the trained tensors are put into an updated pass for
its length, so there is one copy of the weights. Nothing runs above l.
"""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unlearn.errors import UnsupportedModelError
from unlearn.layers import Opened

Arguments = dict[str, object]
Overlay = Mapping[int, Mapping[str, Tensor]]
"""By layer, the trained tensors by their names within it, in memory."""


class Entered(NamedTuple):
    """What the decoder layers are called with for some tokens."""

    hidden: Tensor
    """(B, T, D), the embeddings."""
    arguments: tuple[Arguments, ...]
    """Of each layer its own: masks and position embeddings may differ from layer to layer."""


class Segment:
    """Passes through a decoder's layers, frozen and updated."""

    def __init__(self, opened: Opened) -> None:
        """Use the layers of `opened`."""
        self._decoder = opened.decoder
        self._layers = opened.layers
        self._device = opened.device

    @torch.no_grad()
    def enter(self, tokens: Tensor, attention: Tensor | None = None) -> Entered:
        """Return what the layers would be called with, running none of them.

        Args:
            tokens: (B, T).
            attention: (B, T), 1 where a token may be attended to; None: everywhere. Padding on the
                right needs none, since causal attention never sees it.

        Raises:
            UnsupportedModelError: The decoder does not call its layers one after the other.
        """
        calls: list[Entered] = []

        def record(*args: object, **kwargs: object) -> object:
            hidden = args[0] if args else kwargs.pop("hidden_states")
            calls.append(Entered(cast(Tensor, hidden), (dict(kwargs),)))
            return hidden

        # Decoders read attributes of their layers, so the layers stay and only lose their work.
        original = [layer.forward for layer in self._layers]
        try:
            for layer in self._layers:
                layer.forward = record
            words = {} if attention is None else {"attention_mask": attention.to(self._device)}
            self._decoder(input_ids=tokens.to(self._device), use_cache=False, **words)
        finally:
            for layer, forward in zip(self._layers, original, strict=True):
                layer.forward = forward
        if len(calls) != len(self._layers):
            raise UnsupportedModelError(type(self._decoder).__name__)
        return Entered(calls[0].hidden, tuple(call.arguments[0] for call in calls))

    @torch.no_grad()
    def frozen(self, entered: Entered, hidden: Tensor, start: int, stop: int) -> Tensor:
        """Return the base's state behind layer `stop`.

        Args:
            entered: What layers are called with.
            hidden: (B, T, D), the state in front of layer `start`.
            start: The first layer to run; above `stop` nothing runs.
            stop: The last one.

        Returns:
            (B, T, D).
        """
        for number in range(start, stop + 1):
            hidden = _output(self._layers[number](hidden, **entered.arguments[number]))
        return hidden

    def updated(
        self, entered: Entered, hidden: Tensor, start: int, stop: int, overlay: Overlay
    ) -> Tensor:
        """Return the updated model's state behind layer `stop`, with gradients to the overlay.

        Args:
            entered: What layers are called with.
            hidden: (B, T, D), the state in front of layer `start`.
            start: The lowest trained layer.
            stop: l.
            overlay: The trained tensors, in the compute type.

        Returns:
            (B, T, D).
        """
        for number in range(start, stop + 1):
            layer, words = self._layers[number], entered.arguments[number]
            tensors = dict(overlay.get(number, {}))
            hidden = _output(
                functional_call(layer, tensors, (hidden,), words)
                if tensors
                else layer(hidden, **words)
            )
        return hidden


def _output(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Older layers return a tuple whose first item is the state."""
    return result[0] if isinstance(result, tuple) else result


def parameter_of(layer: nn.Module, name: str) -> Tensor:
    """Return a layer's weight by its name in memory."""
    return layer.get_parameter(name)
