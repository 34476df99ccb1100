"""Which batches and which phrase each step takes: a function of seed and step, with no state.

So a run that goes on after a break draws what it would have drawn, and so does every process.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch

from models.documents import Digest, digest_of
from unlearn.config import RunConfig


class Draw(NamedTuple):
    """What one step takes."""

    topic: int
    forget: int
    """Number of the batch to forget."""
    retain: int
    phrase: int


class Sizes(NamedTuple):
    """How much a topic has to draw from."""

    forget: int
    """Batches."""
    retain: int
    phrases: int


def draw(config: RunConfig, sizes: Sequence[Sizes], step: int) -> Draw:
    """Return what a step takes.

    Topics alternate: step s, from 1, is use (s-1) // n of topic (s-1) % n. `reference` takes
    batches in the file's order; `masked` shuffles them anew in each pass over the corpus.

    Source: wmdp c0b6c12, rmu/unlearn.py (alternation), fed4156, cut/unlearn.py (phrases).
    """
    use, topic = divmod(step - 1, len(sizes))
    size = sizes[topic]
    phrase = _number(config.seed, topic, "phrase", step) % size.phrases
    if config.numerics == "reference":
        return Draw(topic, use % size.forget, use % size.retain, phrase)
    return Draw(
        topic,
        _shuffled(config.seed, topic, "forget", use, size.forget),
        _shuffled(config.seed, topic, "retain", use, size.retain),
        phrase,
    )


def order_digest(config: RunConfig, sizes: Sequence[Sizes], batches: Sequence[Digest]) -> Digest:
    """Return the digest of every step's draw, and of what it is drawn from.

    Args:
        config: The recipe.
        sizes: Of each topic.
        batches: The digests of the topics' corpora as batches.
    """
    draws = [list(draw(config, sizes, step)) for step in range(1, config.steps + 1)]
    return digest_of([draws, list(batches)])


def _shuffled(seed: int, topic: int, name: str, use: int, size: int) -> int:
    epoch, place = divmod(use, size)
    generator = torch.Generator().manual_seed(_number(seed, topic, name, epoch))
    return int(torch.randperm(size, generator=generator)[place])


def _number(*words: object) -> int:
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
