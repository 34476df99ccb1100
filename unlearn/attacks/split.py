"""A domain's items in two halves: one to find something out with, one to measure it on."""

from typing import NamedTuple

import torch


class Halves(NamedTuple):
    """The places of a task's items."""

    train: list[int]
    test: list[int]


def halve(count: int, share: float, seed: int) -> Halves:
    """Split items by lot, each half in the items' order."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    cut = int(count * share)
    return Halves(sorted(order[:cut]), sorted(order[cut:]))
