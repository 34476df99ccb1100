"""A corpus as activations: its batches with the base's states, computed or from the cache."""

from typing import NamedTuple

import torch
import transformers
from torch import Tensor

from models.documents import Digest
from unlearn.activations import Entered, Segment
from unlearn.batches import WHOLE, Batch, Batches, Share
from unlearn.cache import ActivationCache, Shelf
from unlearn.config import RunConfig
from unlearn.layers import Opened


class Given(NamedTuple):
    """What a step needs of one batch."""

    batch: Batch
    entered: Entered
    prefix: Tensor
    """(B, T, D), the state in front of the first trained layer."""


class Source:
    """One corpus's batches with the base's states."""

    def __init__(
        self,
        segment: Segment,
        config: RunConfig,
        batches: Batches,
        *,
        share: Share = WHOLE,
        shelf: Shelf | None = None,
    ) -> None:
        """Compute states by `segment`, and keep them on `shelf` if there is one."""
        self._segment = segment
        self._first, self._last = config.first, config.layer
        self.batches = batches
        self._share = share
        self._shelf = shelf

    def give(self, number: int) -> Given:
        """Return a process's rows of a batch with their prefix."""
        batch = self.batches.batch(number, self._share)
        entered = self._segment.enter(batch.tokens, batch.attention)
        if not self._first:
            return Given(batch, entered, entered.hidden)
        prefix = self._state(number, entered, entered.hidden, 0, self._first - 1)
        return Given(batch, entered, prefix)

    def frozen(self, number: int, given: Given) -> Tensor:
        """Return the base's state (B, T, D) behind layer l of what `give(number)` returned."""
        return self._state(number, given.entered, given.prefix, self._first, self._last)

    def _state(
        self, number: int, entered: Entered, hidden: Tensor, start: int, stop: int
    ) -> Tensor:
        cached = None if self._shelf is None else self._shelf.get(number, stop)
        if cached is not None:
            return cached.to(hidden.device)
        state = self._segment.frozen(entered, hidden, start, stop)
        if self._shelf is not None:
            self._shelf.put(number, stop, state)
        return state


def open_shelf(
    cache: ActivationCache, opened: Opened, base: Digest, batches: Batches, share: Share
) -> Shelf:
    """Return the shelf of a corpus's states: its key is all that their bits depend on.

    Args:
        cache: Where.
        opened: The base, for the compute type and the device.
        base: Its digest.
        batches: The corpus as tokens.
        share: The rows that this process computes.
    """
    return cache.shelf(
        {
            "base": base,
            "tokens": batches.digest,
            "share": list(share),
            "dtype": str(opened.dtype),
            "device": _device_name(opened.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    )


def _device_name(device: torch.device) -> str:
    """Kernels differ by processor: what one has computed is not what another would."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"
