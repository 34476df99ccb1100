"""A domain's items in two halves: one to find something out with, one to measure it on."""

from fractions import Fraction
from typing import NamedTuple

import torch


class Halves(NamedTuple):
    """The places of a task's items."""

    train: list[int]
    test: list[int]


def halve(count: int, share: float | Fraction, seed: int) -> Halves:
    """Split items by lot, each half in the items' order.

    Args:
        count: Of the items.
        share: Of the first half; a number of items is a fraction, which no rounding takes one from.
        seed: Of the lot.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    cut = int(count * share)
    return Halves(sorted(order[:cut]), sorted(order[cut:]))
