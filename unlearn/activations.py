"""One causal language model, cut at the layer where its activations are read.

The layers below the first trained one are the same in the frozen and in the updated model, so they
run once; above the last one nothing runs at all; of the trained layers a frozen copy is kept.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Prefix(NamedTuple):
    """The state in front of the first trained layer, and what else that layer is called with."""

    hidden: Tensor  # (B, T, D)
    arguments: dict[str, object]


class _PrefixReachedError(Exception):
    """Ends a forward pass where the trained layers begin; carries what they would be given."""

    def __init__(self, prefix: Prefix) -> None:
        super().__init__()
        self.prefix = prefix


class SplitModel:
    """A model's trained layers in two copies, frozen and updated, behind one shared prefix."""

    def __init__(self, model: nn.Module, layers: nn.ModuleList, first: int, last: int) -> None:
        """Split `model`; its own layers `first` to `last` (both included) are the updated ones.

        Args:
            model: A decoder whose `forward(input_ids=...)` runs `layers` in order.
            layers: Its decoder layers; those above `last` are dropped.
            first: The lowest layer with a trained tensor.
            last: l, the layer whose output is steered.
        """
        model.requires_grad_(False)
        model.eval()
        self._model = model
        self.updated = list(layers[first : last + 1])
        self._frozen = copy.deepcopy(self.updated)
        self._first = layers[first]

    @torch.no_grad()
    def prefix(self, tokens: Tensor) -> Prefix:
        """Run `tokens` (B, T) through everything below the trained layers.

        Padding must be on the right: attention is causal, so real tokens never see it.
        """

        def stop(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, object]) -> None:
            rest = dict(kwargs)
            hidden = args[0] if args else rest.pop("hidden_states")
            if not isinstance(hidden, Tensor):
                raise TypeError("the decoder layer is not called with a tensor of hidden states")
            raise _PrefixReachedError(Prefix(hidden, rest))

        handle = self._first.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self._model(input_ids=tokens, use_cache=False)
        except _PrefixReachedError as reached:
            return reached.prefix
        finally:
            handle.remove()
        raise RuntimeError("the forward pass did not reach the trained layers")

    def updated_state(self, prefix: Prefix) -> Tensor:
        """Return the updated model's output at layer l, (B, T, D), with gradients."""
        return _through(self.updated, prefix)

    @torch.no_grad()
    def frozen_state(self, prefix: Prefix) -> Tensor:
        """Return the frozen model's output at layer l, (B, T, D)."""
        return _through(self._frozen, prefix)


def _through(layers: list[nn.Module], prefix: Prefix) -> Tensor:
    hidden = prefix.hidden
    for layer in layers:
        output = layer(hidden, **prefix.arguments)
        hidden = output[0] if isinstance(output, tuple) else output
    return hidden
