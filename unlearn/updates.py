"""The trained tensors: fp32 masters, whole or as a low-rank product, put into passes as an overlay.

Full rank: the master is the tensor. Low rank: the tensor is W + BA with W the base's, B (out, r)
zero at the start, so that a run begins at the base, and A (r, in) drawn; both are masters. Masters
are fp32 whatever the passes run in: in bf16 a step of 5e-5 is smaller than the rounding of a weight
of 2^-6, and is lost.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearn.activations import parameter_of
from unlearn.adapter import Factors
from unlearn.errors import RecipeError
from unlearn.layers import Opened
from unlearn.tensors import TrainedName


class TrainedTensors:
    """The tensors of a run that change, by their names on disk."""

    def __init__(
        self, opened: Opened, names: Sequence[TrainedName], rank: int, generator: torch.Generator
    ) -> None:
        """Start at the base's values.

        Args:
            opened: The base.
            names: Which tensors.
            rank: 0 for whole tensors, or r.
            generator: Of which each A is drawn, in the order of `names`.

        Raises:
            RecipeError: A low-rank update of what is no matrix, or is smaller than the rank.
        """
        self._opened = opened
        self._names = tuple(names)
        self.masters: dict[str, Tensor] = {}
        for name in self._names:
            start = self._base(name)
            if not rank:
                self.masters[name.full] = start.float().clone().requires_grad_()
                continue
            if start.dim() != 2 or rank > min(start.shape):
                shape = tuple(start.shape)
                raise RecipeError("rank", f"{name.full} {shape} has no update of rank {rank}")
            rows, columns = start.shape
            # LoRA (arXiv 2106.09685, section 4.1) starts at zero by one factor; the bound is that
            # of a linear layer with as many inputs.
            drawn = torch.rand(rank, columns, generator=generator) * 2 - 1
            self.masters[f"{name.full}.a"] = (drawn * columns**-0.5).to(start.device)
            self.masters[f"{name.full}.b"] = torch.zeros(rows, rank, device=start.device)
        for master in self.masters.values():
            master.requires_grad_()

    def overlay(self) -> dict[int, dict[str, Tensor]]:
        """Return the tensors as they are now, in the compute type, for an updated pass."""
        result: dict[int, dict[str, Tensor]] = {}
        for name in self._names:
            tensor = self._tensor(name).to(self._opened.dtype)
            result.setdefault(name.layer, {})[self._opened.memory_name(name.tensor)] = tensor
        return result

    @torch.no_grad()
    def updated(self) -> dict[str, Tensor]:
        """Return the tensors by their names on disk, in fp32 on the CPU."""
        return {name.full: self._tensor(name).detach().cpu() for name in self._names}

    def factors(self) -> dict[str, Factors]:
        """Return the factors of the low-rank updates by name; empty for whole tensors."""
        return {
            name.full: Factors(
                self.masters[f"{name.full}.a"].detach().cpu(),
                self.masters[f"{name.full}.b"].detach().cpu(),
            )
            for name in self._names
            if name.full not in self.masters
        }

    def _tensor(self, name: TrainedName) -> Tensor:
        """The tensor in fp32, with gradients to its masters."""
        if name.full in self.masters:
            return self.masters[name.full]
        a, b = self.masters[f"{name.full}.a"], self.masters[f"{name.full}.b"]
        return torch.addmm(self._base(name).float(), b, a)

    def _base(self, name: TrainedName) -> Tensor:
        memory_name = self._opened.memory_name(name.tensor)
        return parameter_of(self._opened.layers[name.layer], memory_name)
