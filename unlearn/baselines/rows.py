"""Token rows of a corpus, dealt in an order that is a function of seed and position alone."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from unlearn.baselines.recipe import BaselineConfig
from unlearn.corpora import Corpus


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...


class TextBatch(NamedTuple):
    """Some texts as tokens."""

    tokens: Tensor
    """(B, T), padded on the right with 0, where causal attention never looks."""
    mask: Tensor
    """(B, T), fp32, 1 for a real token."""


def pad(rows: Sequence[Sequence[int]]) -> TextBatch:
    """Return token rows, none empty, as one batch."""
    width = max(map(len, rows))
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return TextBatch(tokens, mask)


def named_generator(*names: object) -> torch.Generator:
    """Return a generator whose draws depend on `names` and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Rows:
    """A corpus that is dealt for ever: every text once in each pass, each pass in its own order."""

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, *, max_tokens: int, seed: int, use: str
    ) -> None:
        """Deal `corpus`.

        Args:
            corpus: The texts.
            tokenizer: The checkpoint's.
            max_tokens: Rows are cut there.
            seed: The recipe's.
            use: What the rows are for; another use of the same corpus has another order.
        """
        self._texts = corpus.texts
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._names = (seed, use)
        self._orders: dict[int, list[int]] = {}

    def row(self, position: int) -> list[int]:
        """Return the tokens of the text that is dealt at `position`, counted from 0."""
        turn, place = divmod(position, len(self._texts))
        if turn not in self._orders:
            generator = named_generator(*self._names, turn)
            order = torch.randperm(len(self._texts), generator=generator).tolist()
            self._orders[turn] = order
        text = self._texts[self._orders[turn][place]]
        return self._tokenizer.encode(text)[: self._max_tokens]

    def rows(self, number: int, size: int) -> list[list[int]]:
        """Return the rows of the batch with that number, counted from 0."""
        return [self.row(number * size + index) for index in range(size)]

    def batch(self, number: int, size: int) -> TextBatch:
        """Return the batch with that number."""
        return pad(self.rows(number, size))


class TopicRows(NamedTuple):
    """A topic's texts as they are dealt."""

    domain: str
    forget: Rows
    retain: Rows
    unrelated: Rows
    """The retain corpus once more, in another order."""


def deal(
    config: BaselineConfig, corpora: Sequence[tuple[Corpus, Corpus]], tokenizer: Tokenizer
) -> list[TopicRows]:
    """Return each topic's rows, in the recipe's order.

    Args:
        config: The recipe.
        corpora: Of each of its topics what to forget and what to retain.
        tokenizer: The checkpoint's.
    """
    dealt = []
    for topic, (gone, kept) in zip(config.topics, corpora, strict=True):
        forget, retain, unrelated = (
            Rows(
                corpus,
                tokenizer,
                max_tokens=topic.max_tokens,
                seed=config.seed,
                use=f"{topic.domain}/{use}",
            )
            for corpus, use in (
                (gone, "forget"),
                (kept, "retain"),
                (kept, "unrelated"),
            )
        )
        dealt.append(TopicRows(topic.domain, forget, retain, unrelated))
    return dealt
