"""What a baseline tells of each step, and the one way in which its loss may end a run."""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from unlearn.errors import DivergedError


class BaselineStep(NamedTuple):
    """What one step did."""

    step: int
    """From 1."""
    topic: str
    """The hazard domain of its texts."""
    loss: float
    """What was minimised; for SSD the log-perplexity whose gradient was taken."""
    forget: float
    """The method's figure on forget texts, of this step or the latest before it."""
    retain: float
    """The method's figure on retain texts, likewise."""


OnStep = Callable[[BaselineStep], None]


def finite(loss: Tensor, step: int) -> float:
    """Return a loss as a number.

    Raises:
        DivergedError: It is not finite.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise DivergedError(step)
    return value
