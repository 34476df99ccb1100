"""A corpus cut into batches of tokens, once and for all seeds.

`masked` cuts texts by length, so that a batch has hardly any padding, and pads on the right, where
causal attention never looks. `reference` keeps the file's order and pads on the left, as the
published code does. Which batch is taken when is not decided here.
"""

import hashlib
from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from models.documents import Digest, digest_of
from unlearn.config import Numerics
from unlearn.errors import TokenizerMismatchError

# Texts are cut to this many characters for each token that is wanted before they are tokenized:
# whole papers would otherwise be tokenized for their first page. English has four to five.
CHARACTERS_PER_TOKEN = 16
# Tokenized at once: as lists, the tokens of a whole corpus would take gigabytes.
TEXTS_AT_ONCE = 512
# The published code of CUT cuts texts here, before it tokenizes them.
# Source: wmdp fed4156, cut/utils.py.
REFERENCE_CUT_CHARACTERS = 2000
# The published code of RMU cuts retain texts here, whatever it does to forget texts.
# Source: wmdp c0b6c12, rmu/unlearn.py.
REFERENCE_RETAIN_TOKENS = 512


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    eos_token_id: int | None

    def __len__(self) -> int: ...
    def __call__(self, text: list[str]) -> dict[str, list[list[int]]]: ...


class Share(NamedTuple):
    """Which rows of each batch a process takes: every `of`-th, from `number` on."""

    number: int
    of: int


WHOLE = Share(0, 1)


class Batch(NamedTuple):
    """Some texts as tokens."""

    tokens: Tensor
    """(B, T)."""
    mask: Tensor
    """(B, T), fp32: 1 where the losses count a position."""
    attention: Tensor | None
    """(B, T), 1 where a token may be attended to; None: everywhere."""
    positions: float
    """How many positions count in the whole batch, other processes' rows included."""


def make_batch(
    rows: Sequence[Sequence[int]],
    *,
    numerics: Numerics = "masked",
    pad: int = 0,
    share: Share = WHOLE,
) -> Batch:
    """Return a process's rows of a batch, padded to the whole batch's width.

    A process for which there is no row gets the first one with no weight, so that every process
    runs every pass.

    Args:
        rows: The whole batch's texts as tokens.
        numerics: `masked` pads on the right, where causal attention never looks; `reference` on
            the left, and counts the padding.
        pad: The token that fills rows.
        share: Which rows are taken.
    """
    width = max(map(len, rows))
    taken = rows[share.number :: share.of] or rows[:1]
    tokens = torch.full((len(taken), width), pad)
    is_text = torch.zeros(len(taken), width)
    for index, row in enumerate(taken):
        start = width - len(row) if numerics == "reference" else 0
        tokens[index, start : start + len(row)] = torch.tensor(row)
        is_text[index, start : start + len(row)] = 1
    has_rows = share.number < len(rows)
    if numerics == "reference":
        mask = torch.full_like(is_text, float(has_rows))
        return Batch(tokens, mask, is_text.long(), float(len(rows) * width))
    return Batch(tokens, is_text * has_rows, None, float(sum(map(len, rows))))


class Batches:
    """A corpus as a fixed list of batches."""

    def __init__(
        self, rows: Sequence[Sequence[Sequence[int]]], numerics: Numerics, pad: int
    ) -> None:
        """Take token rows, batch by batch.

        Args:
            rows: Of each batch its texts' tokens.
            numerics: As in `make_batch`.
            pad: The token that fills rows.
        """
        self._rows = rows
        self._numerics: Numerics = numerics
        self._pad = pad

    def __len__(self) -> int:
        """Return how many batches there are."""
        return len(self._rows)

    @cached_property
    def digest(self) -> Digest:
        """The digest of all that a batch is made of."""
        tokens = hashlib.sha256()
        for batch in self._rows:
            tokens.update(len(batch).to_bytes(8, "little"))
            for row in batch:
                tokens.update(len(row).to_bytes(8, "little") + array("q", row).tobytes())
        return digest_of([tokens.hexdigest(), self._numerics, self._pad])

    def batch(self, number: int, share: Share = WHOLE) -> Batch:
        """Return a process's rows of a batch."""
        rows = self._rows[number]
        return make_batch(rows, numerics=self._numerics, pad=self._pad, share=share)


def cut_corpus(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    max_tokens: int,
    numerics: Numerics,
    characters: int | None = None,
) -> Batches:
    """Cut texts into batches; the last one may be smaller.

    Args:
        texts: Looked at once, a few at a time.
        tokenizer: The base's.
        batch_size: Texts in a batch.
        max_tokens: Of a text, at most.
        numerics: As in `make_batch`.
        characters: Only so many of each text are tokenized; None: all.

    Raises:
        TokenizerMismatchError: The tokenizer makes no token of them.
    """
    rows: list[Sequence[int]] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = [text[:characters] for text in texts[start : start + TEXTS_AT_ONCE]]
        tokens = tokenizer(some)["input_ids"]
        rows += [array("i", row[:max_tokens]) for row in tokens if row]
    if not rows:
        raise TokenizerMismatchError("it makes no token of a corpus")
    if numerics == "masked":
        rows.sort(key=len)  # Stable: texts of one length stay in the file's order.
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    # The published code pads with the end-of-text token; to the right of a text any token will do.
    pad = (tokenizer.eos_token_id or 0) if numerics == "reference" else 0
    return Batches(batches, numerics, pad)
