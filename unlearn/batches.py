"""Batches of token rows, in an order that is drawn from a named generator."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from unlearn.corpora import Corpus


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...


class Batch(NamedTuple):
    """Some texts as tokens."""

    tokens: Tensor
    """(B, T), padded on the right with 0."""
    mask: Tensor
    """(B, T), 1 for a real token."""


def endless_batches(
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    max_tokens: int,
    generator: torch.Generator,
) -> Iterator[Batch]:
    """Yield batches for ever, every text once in each pass, in an order drawn from `generator`."""
    while True:
        order = torch.randperm(len(corpus.texts), generator=generator).tolist()
        for start in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield make_batch(
                [tokenizer.encode(corpus.texts[index])[:max_tokens] for index in chosen]
            )


def make_batch(rows: list[list[int]]) -> Batch:
    """Pad token rows on the right, where causal attention never looks."""
    width = max(map(len, rows))
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return Batch(tokens, mask)
