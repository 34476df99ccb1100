"""The losses of CUT, RMU and Adaptive RMU, pure functions of activations.

    L = L_forget + alpha * L_retain

Source: "The WMDP Benchmark", arXiv 2403.03218: v1 section 4 (CUT), v2 section 4 (RMU), and the
public code of centerforaisafety/wmdp at fed4156 (CUT) and c0b6c12 (RMU); "On Effects of Steering
Latent Representation for Large Language Model Unlearning", arXiv 2408.06223 (Adaptive RMU).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from unlearn.batches import Batch


def masked_mse(activations: Tensor, target: Tensor, mask: Tensor, count: float) -> Tensor:
    """Return the mean squared difference over counted positions and over the hidden dimension.

    With a mask of 1 at real tokens padding is left out. The public code averages over padding
    too (a mask of 1 everywhere), so there the pads are steered as well.

    Args:
        activations: (B, T, D), of the updated layers, any floating type.
        target: Broadcastable to (B, T, D).
        mask: (B, T), 1 for a position that counts, else 0.
        count: How many positions count in the whole batch. Processes that share a batch pass the
            same number, so that their results add up to what one process would have.

    Returns:
        A scalar in fp32: the sum over counted positions of ||a - t||^2, by D and by `count`.
        Source: WMDP paper v2, section 4, both losses; v1, section 4, with the shifted target.
    """
    # A decoder's layers may be spread over devices: what comes from below l is on another one.
    target, mask = target.to(activations.device), mask.to(activations.device)
    squares = (activations.float() - target.float()).square().mean(dim=-1)  # (B, T)
    return (squares * mask).sum() / count


def forget_target(frozen: Tensor | None, vector: Tensor, coefficient: float) -> Tensor:
    """Return what the forget activations are drawn to.

    Args:
        frozen: (B, T, D), the frozen model's activations of the same tokens (CUT, WMDP paper v1,
            section 4: the text is steered from where it is), or None (RMU, v2, section 4: every
            token is drawn to one point).
        vector: (D,), of unit length.
        coefficient: c, in the units of activations; it must exceed their typical norm at that
            layer, or little is forgotten (Adaptive RMU, arXiv 2408.06223, section 4).

    Returns:
        `frozen + c * vector` (B, T, D), or `c * vector` (D,).
    """
    steer = coefficient * vector
    return steer if frozen is None else frozen + steer.to(frozen.device)


def total_loss(forget: Tensor, retain: Tensor, alpha: float) -> Tensor:
    """Return `forget + alpha * retain`: alpha weighs what is kept, not what is unlearned."""
    return torch.add(forget, retain, alpha=alpha)


class Gauges(NamedTuple):
    """What a step shows beside its losses."""

    retain_cosine: Tensor
    """Scalar: how much the retain activations still point where they did, at most 1."""
    forget_norm: Tensor
    """Scalar: the mean norm of the forget activations, in their units."""


@torch.no_grad()
def gauges(
    forget: Tensor, forget_batch: Batch, retain: Tensor, frozen: Tensor, retain_batch: Batch
) -> Gauges:
    """Return a step's gauges, means over counted positions; a process's share of them.

    Args:
        forget: (B, T, D), updated.
        forget_batch: Whose activations these are.
        retain: (B, T, D), updated.
        frozen: (B, T, D), of the retain texts.
        retain_batch: Whose activations these are.
    """
    norms = forget.float().norm(dim=-1)  # (B, T)
    cosines = torch.cosine_similarity(  # (B, T)
        retain.float(), frozen.to(retain.device).float(), dim=-1
    )
    return Gauges(
        (cosines * retain_batch.mask.to(cosines.device)).sum() / retain_batch.positions,
        (norms * forget_batch.mask.to(norms.device)).sum() / forget_batch.positions,
    )
