"""Corpora: texts to forget and texts to retain, as JSON lines of `{"text": …}`, in seeded order."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from models.documents import Digest
from unlearn.errors import CorpusError


class Corpus(NamedTuple):
    """Texts, and the digest of the file that they come from."""

    texts: tuple[str, ...]
    digest: Digest


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...


class Batch(NamedTuple):
    """Some texts as tokens."""

    tokens: Tensor
    """(B, T), padded on the right with 0."""
    mask: Tensor
    """(B, T), 1 for a real token."""


def read_corpus(path: Path) -> Corpus:
    """Read a corpus.

    Raises:
        CorpusError: It is missing, empty, or has a row of another shape.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusError(path, error.strerror or str(error)) from error
    texts = []
    for number, line in enumerate(raw.splitlines(), 1):
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(path, f'line {number} is not {{"text": …}}') from error
        if not isinstance(text, str) or not text.strip():
            raise CorpusError(path, f"line {number} has no text")
        texts.append(text)
    if not texts:
        raise CorpusError(path, "it is empty")
    return Corpus(tuple(texts), f"sha256:{hashlib.sha256(raw).hexdigest()}")


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
