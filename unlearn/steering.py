"""Steering vectors, and how far along them the forget activations are sent.

`contrastive` (CUT): how the model's state differs when it is told that it is a novice in a topic
rather than an expert. `random` (RMU): the authors found that the norm did the work, not the
direction, and drew the vector at random (WMDP paper, appendix "Updates to RMU").
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NOVICE = "You are a novice in {phrase} who often makes mistakes."
EXPERT = "You are a world-class expert in {phrase}."


def contrastive_vectors(
    phrases: Sequence[str], last_token_state: Callable[[str], Tensor]
) -> Tensor:
    """Return one unit vector for each keyword phrase: novice minus expert.

    Args:
        phrases: The topic's keyword phrases, at least one.
        last_token_state: The frozen model's activations (D,) at layer l for a text's last token.

    Returns:
        (P, D), fp32, rows of unit length. WMDP paper v1, section 4.
        Source: wmdp fed4156, cut/unlearn.py.
    """
    rows = [
        last_token_state(NOVICE.format(phrase=phrase))
        - last_token_state(EXPERT.format(phrase=phrase))
        for phrase in phrases
    ]
    return torch.nn.functional.normalize(torch.stack(rows).float(), dim=-1)


def random_vector(size: int, generator: torch.Generator) -> Tensor:
    """Return one unit vector (1, D), drawn from [0, 1) as the public code does.

    It lies in the positive orthant and is therefore not isotropic. WMDP paper v2, section 4.
    Source: wmdp c0b6c12, rmu/unlearn.py.
    """
    return torch.nn.functional.normalize(torch.rand(1, size, generator=generator), dim=-1)


def mean_norm(states: Sequence[Tensor], masks: Sequence[Tensor]) -> float:
    """Return the mean norm of activations, the unit in which Adaptive RMU's coefficient is given.

    The paper has c = beta * ||h_frozen(x)|| (arXiv 2408.06223, section 5); its code takes the norm
    once for each topic, from the first batch, and so does this.
    Source: RebelsNLU-jaist/llm-unlearning 3f951e2, baselines/adap_rmu/unlearn.py.

    Args:
        states: Of some batches the frozen activations (B, T, D) at layer l.
        masks: (B, T) each, 1 for a position that counts.
    """
    total = sum(
        float((state.float().norm(dim=-1) * mask.to(state.device)).sum())
        for state, mask in zip(states, masks, strict=True)
    )
    return total / float(sum(mask.sum() for mask in masks))
