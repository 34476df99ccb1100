"""SSD: shrink the parameters that matter to the forget texts far more than to the others.

    importance  I = E[(d ln p / d theta)^2], the diagonal of the Fisher information
    where I_forget > alpha * I_retain:  theta <- min(lambda * I_retain / I_forget, 1) * theta

Source: Foster, Schoepf, Brintrup, "Fast Machine Unlearning Without Retraining Through Selective
Synaptic Dampening", arXiv 2308.07707, section 3 (importance, selection with alpha, dampening with
lambda); public code if-loops/selective-synaptic-dampening at 77161cc, ssd.py. Its second importance
is of all training data, which nobody has of a language model: the retain texts stand for it.
ln p is a text's log-perplexity. No step is taken: the run is two means of squared gradients.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from unlearn.baselines.likelihood import negative_log_likelihood, predicted
from unlearn.baselines.recipe import SsdConfig
from unlearn.baselines.rows import TextBatch, deal
from unlearn.baselines.steps import BaselineStep, OnStep, finite
from unlearn.baselines.whole import WholeModel
from unlearn.corpora import Corpus

Importance = dict[str, Tensor]


def fit(
    config: SsdConfig, checkpoint: Path, corpora: Sequence[tuple[Corpus, Corpus]], on_step: OnStep
) -> dict[str, Tensor]:
    """Run SSD.

    Args:
        config: The recipe.
        checkpoint: The base's directory.
        corpora: Of each of the recipe's topics what to forget and what to retain.
        on_step: Told of every gradient: the figures are the texts' log-perplexities.

    Returns:
        The tensors that differ from the base's, by name on disk, in fp32.

    Raises:
        DivergedError: The loss is not finite.
    """
    model = WholeModel(checkpoint)
    parameters = model.parameters
    uses: tuple[Literal["forget", "retain"], ...] = ("forget", "retain")
    importances = {use: {n: torch.zeros_like(p) for n, p in parameters.items()} for use in uses}
    figures = dict.fromkeys(uses, 0.0)
    batches = math.ceil(config.samples / config.batch_size)
    share = 1 / (batches * len(config.topics))
    step = 0
    for topic in deal(config, corpora, model.tokenizer):
        for number in range(batches):
            for use in uses:
                step += 1
                rows = topic.forget if use == "forget" else topic.retain
                batch = model.on_device(rows.batch(number, config.batch_size))
                loss = log_perplexity(model, batch)
                figures[use] = finite(loss, step)
                add_squared_gradients(loss, model, importances[use], share)
                on_step(BaselineStep(step, topic.domain, figures[use], **figures))
    for name, parameter in parameters.items():
        dampen(
            parameter,
            importances["forget"][name],
            importances["retain"][name],
            alpha=config.alpha,
            dampening=config.dampening,
        )
    return model.changed()


def log_perplexity(model: WholeModel, batch: TextBatch) -> Tensor:
    """Return the mean of the texts' log-perplexities, a scalar in nats per token."""
    logits = model.logits(batch.tokens)
    return negative_log_likelihood(logits, batch.tokens, predicted(batch.mask))


def add_squared_gradients(
    loss: Tensor, model: WholeModel, importance: Importance, share: float
) -> None:
    """Add the loss's squared gradients to `importance`, weighed by `share`, in place.

    With one text a batch the sum is the paper's expectation over texts; with several the gradient
    is averaged over the batch before it is squared, as in the public code.
    """
    parameters = model.parameters
    gradients = torch.autograd.grad(
        loss, list(parameters.values()), allow_unused=True, materialize_grads=True
    )
    for name, gradient in zip(parameters, gradients, strict=True):
        importance[name].addcmul_(gradient, gradient, value=share)


@torch.no_grad()
def dampen(
    parameter: Tensor, forget: Tensor, retain: Tensor, *, alpha: float, dampening: float
) -> None:
    """Dampen, in place, what is specialised on the forget texts.

    Args:
        parameter: theta, of any shape.
        forget: I_forget, of the same shape, at least 0.
        retain: I_retain, likewise.
        alpha: A parameter is selected where I_forget > alpha * I_retain.
        dampening: lambda; a factor above 1 is taken as 1, so that nothing ever grows.
    """
    selected = forget > alpha * retain
    # Where nothing is selected the quotient may be 0 / 0; it is not used.
    factor = (dampening * retain / forget).clamp(max=1.0)
    parameter.copy_(torch.where(selected, factor * parameter, parameter))
