"""SCRUB: a student that disobeys its frozen teacher on what to forget and obeys it elsewhere.

    max-step, forget texts:  descend on -KL(teacher || student)
    min-step, retain texts:  descend on alpha * KL(teacher || student) + gamma * task loss

Source: Kurmanji, Triantafillou, Hayes, Triantafillou, "Towards Unbounded Machine Unlearning",
arXiv 2302.09880, section 3.1 and algorithms 1 to 3 (the alternation, DO-MAX-EPOCH, DO-MIN-EPOCH).
An epoch over the corpora of a language model is long, so a recipe counts the steps of each phase.
The task loss is the log-perplexity. AdamW with a constant learning rate and no weight decay.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from unlearn.baselines.likelihood import divergence, negative_log_likelihood, predicted
from unlearn.baselines.recipe import ScrubConfig
from unlearn.baselines.rows import TextBatch, deal
from unlearn.baselines.steps import BaselineStep, OnStep, finite
from unlearn.baselines.whole import WholeModel
from unlearn.corpora import Corpus


def fit(
    config: ScrubConfig, checkpoint: Path, corpora: Sequence[tuple[Corpus, Corpus]], on_step: OnStep
) -> dict[str, Tensor]:
    """Run SCRUB.

    Args:
        config: The recipe.
        checkpoint: The base's directory.
        corpora: Of each of the recipe's topics what to forget and what to retain.
        on_step: Told of every step: `forget` and `retain` are the divergences from the teacher.

    Returns:
        The tensors that differ from the base's, by name on disk, in fp32.

    Raises:
        DivergedError: The loss is not finite.
    """
    student = WholeModel(checkpoint)
    teacher = student.teacher()
    topics = deal(config, corpora, student.tokenizer)
    optimizer = torch.optim.AdamW(
        student.parameters.values(), lr=config.learning_rate, weight_decay=0.0
    )
    forget = retain = 0.0
    counts = {True: 0, False: 0}  # Steps of each phase: where its corpus stands.
    for step, is_max in enumerate(phases(config), 1):
        number, which = divmod(counts[is_max], len(topics))
        counts[is_max] += 1
        topic = topics[which]
        rows = topic.forget if is_max else topic.retain
        batch = student.on_device(rows.batch(number, config.batch_size))
        distance, task = distance_and_task(teacher, student, batch)
        loss = max_loss(distance) if is_max else min_loss(config, distance, task)
        value = finite(loss, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if is_max:
            forget = distance.item()
        else:
            retain = distance.item()
        on_step(BaselineStep(step, topic.domain, value, forget, retain))
    return student.changed()


def phases(config: ScrubConfig) -> Iterator[bool]:
    """Yield for each step whether it is a max-step (algorithm 1)."""
    for turn in range(config.rounds):
        if turn < config.max_rounds:
            yield from [True] * config.max_steps
        yield from [False] * config.min_steps


def distance_and_task(
    teacher: WholeModel, student: WholeModel, batch: TextBatch
) -> tuple[Tensor, Tensor]:
    """Return d = KL(teacher || student) and the student's task loss, two scalars in nats a token.

    Args:
        teacher: The base.
        student: What is trained.
        batch: Texts of B rows.
    """
    with torch.no_grad():
        wanted = teacher.logits(batch.tokens)
    given = student.logits(batch.tokens)
    counted = predicted(batch.mask)
    return (
        divergence(wanted, given, counted),
        negative_log_likelihood(given, batch.tokens, counted),
    )


def max_loss(distance: Tensor) -> Tensor:
    """Return the loss of a max-step: the negative distance (algorithm 2 ascends)."""
    return -distance


def min_loss(config: ScrubConfig, distance: Tensor, task: Tensor) -> Tensor:
    """Return the loss of a min-step: alpha * distance + gamma * task loss (algorithm 3)."""
    return config.alpha * distance + config.gamma * task
