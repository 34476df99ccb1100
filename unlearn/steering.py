"""Steering vectors: where the forget activations are sent.

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
        (P, D), fp32, rows of unit length. Source: wmdp fed4156, cut/unlearn.py.
    """
    rows = [
        last_token_state(NOVICE.format(phrase=phrase))
        - last_token_state(EXPERT.format(phrase=phrase))
        for phrase in phrases
    ]
    return torch.nn.functional.normalize(torch.stack(rows).float(), dim=-1)


def random_vector(size: int, generator: torch.Generator) -> Tensor:
    """Return one unit vector (1, D), drawn from [0, 1) as the public code does.

    It lies in the positive orthant and is therefore not isotropic. Source: wmdp c0b6c12,
    rmu/unlearn.py.
    """
    return torch.nn.functional.normalize(torch.rand(1, size, generator=generator), dim=-1)
