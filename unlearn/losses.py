"""The losses of CUT and RMU, pure functions of activations.

    L = L_forget + alpha * L_retain

Source: "The WMDP Benchmark", arXiv 2403.03218: v1 section 4 (CUT), v2 section 4 (RMU), and the
public code of centerforaisafety/wmdp at fed4156 (CUT) and c0b6c12 (RMU).
"""

import torch
from torch import Tensor


def masked_mse(activations: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared difference over real tokens and over the hidden dimension.

    The public code averages over padding too, so there the pads are steered as well; here they
    are left out.

    Args:
        activations: (B, T, D), of the updated layers, any floating type.
        target: Broadcastable to (B, T, D).
        mask: (B, T), 1 for a real token and 0 for padding.

    Returns:
        A scalar in fp32: the sum over real tokens of ||a - t||^2, by D and by their number.
    """
    squares = (activations.float() - target.float()).square().mean(dim=-1)  # (B, T)
    weights = mask.to(squares.dtype)
    return (squares * weights).sum() / weights.sum()


def forget_target(frozen: Tensor | None, vector: Tensor, coefficient: float) -> Tensor:
    """Return what the forget activations are drawn to.

    Args:
        frozen: (B, T, D), the frozen model's activations of the same tokens (CUT: the text is
            steered from where it is), or None (RMU: every token is drawn to one point).
        vector: (D,), of unit length.
        coefficient: c; it must exceed the typical norm of the activations at that layer, or
            little is forgotten (Adaptive RMU, arXiv 2408.06223).

    Returns:
        `frozen + c * vector` (B, T, D), or `c * vector` (D,).
    """
    steer = coefficient * vector
    return steer if frozen is None else frozen + steer


def total_loss(forget: Tensor, retain: Tensor, alpha: float) -> Tensor:
    """Return `forget + alpha * retain`: alpha weighs what is kept, not what is unlearned."""
    return torch.add(forget, retain, alpha=alpha)
