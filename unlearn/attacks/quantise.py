"""Quantisation: weights rounded to the nearest of a few values, group by group (RTN).

Small updates can be lost in it, and what they hid comes back. Source: arXiv 2410.16454. Plain
round-to-nearest, symmetric, with one scale a group along the input dimension, on every matrix of
the decoder layers; embeddings and head stay. No calibrated method (GPTQ, AWQ) is tried.
"""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from models.attacks import Setting
from unlearn.attacks.domain import Domain
from unlearn.attacks.subject import Outcome, Subject, layers_of


def quantise(subject: Subject, domain: Domain, setting: Setting) -> Outcome:
    """Ask the same items of the rounded weights."""
    model = subject.load()
    round_weights(model, int(str(setting["bits"])), int(str(setting["group_size"])))
    after = subject.score(model, domain.task)
    return Outcome(before=subject.right(), after=after, n=len(domain.task.items))


@torch.no_grad()
def round_weights(model: PreTrainedModel, bits: int, group_size: int) -> None:
    """Round every matrix of the decoder layers in place."""
    for parameter in layers_of(model).parameters():
        if parameter.ndim >= 2:
            parameter.copy_(rounded(parameter, bits, group_size))


def rounded(weights: Tensor, bits: int, group_size: int) -> Tensor:
    """Return weights (…, I) at the nearest of 2^bits − 1 evenly spaced values a group.

    Args:
        weights: In any type; the result is fp32.
        bits: Of each weight.
        group_size: Weights that share a scale, along the last dimension; the last group is smaller
            where the dimension is no multiple.
    """
    width = weights.shape[-1]
    spare = -width % group_size
    groups = functional.pad(weights.float(), (0, spare)).reshape(
        *weights.shape[:-1], -1, group_size
    )
    highest = 2 ** (bits - 1) - 1
    scale = groups.abs().amax(-1, keepdim=True) / highest
    steps = (groups / scale.clamp(min=torch.finfo(torch.float32).tiny)).round()
    back: Tensor = (steps * scale).reshape(*weights.shape[:-1], -1)
    return back[..., :width]
