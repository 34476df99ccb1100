"""A recipe's topics, ready to be drawn from: their corpora as batches, their vectors, their c."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor
from transformers import AutoTokenizer

from models.documents import Digest
from unlearn.activations import Segment
from unlearn.batches import (
    CHARACTERS_PER_TOKEN,
    REFERENCE_CUT_CHARACTERS,
    REFERENCE_RETAIN_TOKENS,
    Batches,
    Tokenizer,
    cut_corpus,
    make_batch,
)
from unlearn.cache import ActivationCache
from unlearn.config import RunConfig, Topic
from unlearn.corpora import Corpus
from unlearn.errors import TokenizerMismatchError
from unlearn.layers import Opened
from unlearn.order import Sizes
from unlearn.plan import TopicCorpora
from unlearn.processes import Group
from unlearn.source import Source, open_shelf
from unlearn.steering import contrastive_vectors, mean_norm, random_vector

# From so many batches the norm is taken that Adaptive RMU's coefficient multiplies: batches are of
# texts of one length, and short ones have a larger mean, since the first token's norm is. The
# published code takes one, of texts in the file's order.
NORM_BATCHES = {"masked": 8, "reference": 1}


class ReadyTopic(NamedTuple):
    """What the loop draws from."""

    topic: Topic
    forget: Source
    retain: Source
    vectors: Tensor
    """(P, D), fp32, of unit length."""
    coefficient: float
    """c, in the units of activations."""

    @property
    def sizes(self) -> Sizes:
        """How much there is to draw from."""
        return Sizes(len(self.forget.batches), len(self.retain.batches), len(self.vectors))


def ready_topics(
    config: RunConfig,
    checkpoint: Path,
    opened: Opened,
    corpora: Sequence[TopicCorpora],
    *,
    base: Digest,
    group: Group,
    cache: ActivationCache | None,
    generator: torch.Generator,
) -> list[ReadyTopic]:
    """Make a recipe's topics ready.

    Args:
        config: The recipe.
        checkpoint: The base's directory, for its tokenizer.
        opened: The base's layers.
        corpora: Of each topic.
        base: The base's digest.
        group: Whose rows are taken.
        cache: Where activations are kept, if anywhere.
        generator: Of which random vectors are drawn, topic by topic.

    Raises:
        TokenizerMismatchError: The tokenizer is missing or does not fit the embeddings.
    """
    tokenizer = read_tokenizer(checkpoint, opened.vocabulary)
    segment = Segment(opened)

    def source(batches: Batches) -> Source:
        shelf = None
        if cache is not None:
            shelf = open_shelf(cache, opened, base, batches, group.share)
        return Source(segment, config, batches, share=group.share, shelf=shelf)

    def last_token_state(text: str) -> Tensor:
        batch = make_batch([tokenizer([text])["input_ids"][0]])
        entered = segment.enter(batch.tokens)
        return segment.frozen(entered, entered.hidden, 0, config.layer)[0, -1]  # (D,)

    ready = []
    for topic, texts in zip(config.topics, corpora, strict=True):
        forget = source(cut(config, topic, texts.forget, tokenizer, is_retain=False))
        retain = source(cut(config, topic, texts.retain, tokenizer, is_retain=True))
        if config.vector == "contrastive":
            vectors = contrastive_vectors(topic.phrases, last_token_state)
        else:
            vectors = random_vector(opened.hidden_size, generator)
        coefficient = topic.coefficient
        if config.target == "scaled":
            whole = Source(segment, config, forget.batches)
            coefficient *= usual_norm(whole, NORM_BATCHES[config.numerics])
        ready.append(ReadyTopic(topic, forget, retain, vectors.to(opened.device), coefficient))
    return ready


def read_tokenizer(checkpoint: Path, vocabulary: int) -> Tokenizer:
    """Return a checkpoint's tokenizer.

    Raises:
        TokenizerMismatchError: There is none, or it knows more tokens than the base has embeddings.
    """
    try:
        tokenizer = cast(Tokenizer, AutoTokenizer.from_pretrained(checkpoint))
    except (OSError, ValueError, KeyError) as error:
        raise TokenizerMismatchError("it cannot be read") from error
    if len(tokenizer) > vocabulary:
        raise TokenizerMismatchError(
            f"it has {len(tokenizer)} tokens, the embedding {vocabulary} rows"
        )
    return tokenizer


def cut(
    config: RunConfig, topic: Topic, corpus: Corpus, tokenizer: Tokenizer, *, is_retain: bool
) -> Batches:
    """Cut one of a topic's corpora into batches, as far as the run can use them.

    Raises:
        TokenizerMismatchError: The tokenizer makes no token of it.
    """
    max_tokens, texts = topic.max_tokens, corpus.texts
    if config.numerics == "reference":
        if is_retain:
            max_tokens = min(max_tokens, REFERENCE_RETAIN_TOKENS)
        # Nothing is shuffled, so that what stands behind is never reached.
        texts = texts[: -(-config.steps // len(config.topics)) * config.batch_size]
    is_published_cut = config.numerics == "reference" and config.method == "cut"
    characters = REFERENCE_CUT_CHARACTERS if is_published_cut else max_tokens * CHARACTERS_PER_TOKEN
    return cut_corpus(
        texts,
        tokenizer,
        batch_size=config.batch_size,
        max_tokens=max_tokens,
        numerics=config.numerics,
        characters=characters,
    )


def usual_norm(source: Source, batches: int) -> float:
    """Return the mean norm of the frozen activations at layer l over evenly spread batches."""
    count = len(source.batches)
    taken = min(batches, count)
    numbers = [place * count // taken for place in range(taken)]
    given = [source.give(number) for number in numbers]
    states = [source.frozen(number, item) for number, item in zip(numbers, given, strict=True)]
    return mean_norm(states, [item.batch.mask for item in given])
