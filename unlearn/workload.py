"""What of a recipe and of a base's `config.json` decides how much a run needs."""

import json
from pathlib import Path
from typing import NamedTuple

from unlearn.config import RunConfig
from unlearn.errors import UnsupportedModelError
from unlearn.shards import BYTES_PER_VALUE

STORED_NAMES = {"float32": "F32", "bfloat16": "BF16"}


class Workload(NamedTuple):
    """What a recipe says about size."""

    layer: int
    """l: nothing above it is loaded."""
    trained_layers: tuple[int, ...]
    trained_tensors: tuple[str, ...]
    """Names within a layer, as on disk."""
    rank: int
    """0 for whole tensors."""
    steps: int
    batch_size: int
    max_tokens: int
    """Of the longest topic."""
    compute_dtype: str
    """`float32` or `bfloat16`."""
    reads_frozen_forget: bool
    """Whether each step's forget target needs the frozen activations, as CUT's does."""

    @property
    def tokens(self) -> int:
        """Tokens in one batch of one corpus, at most."""
        return self.batch_size * self.max_tokens

    @property
    def first(self) -> int:
        """The first trained layer."""
        return min(self.trained_layers)

    @property
    def value_bytes(self) -> int:
        """Bytes of a value in the compute type."""
        return BYTES_PER_VALUE[STORED_NAMES[self.compute_dtype]]


class Shape(NamedTuple):
    """Sizes from `config.json`."""

    hidden: int
    inner: int
    """Of the feed-forward part, of one expert, times the experts that a token goes to."""
    active: float
    """The share of the experts' weights that a token uses."""


def workload(config: RunConfig) -> Workload:
    """Return what a recipe says about size."""
    return Workload(
        layer=config.layer,
        trained_layers=config.trained_layers,
        trained_tensors=config.trained_tensors,
        rank=config.rank,
        steps=config.steps,
        batch_size=config.batch_size,
        max_tokens=max(topic.max_tokens for topic in config.topics),
        compute_dtype=config.compute_dtype,
        reads_frozen_forget=config.target == "shifted",
    )


def read_shape(checkpoint: Path) -> Shape:
    """Return the sizes that activations depend on.

    Raises:
        UnsupportedModelError: `config.json` does not say how wide the model is.
    """
    config = json.loads((checkpoint / "config.json").read_bytes())
    # Null and 0 say of a part that the model has none, as a missing key does.
    text = config.get("text_config") or config
    hidden = text.get("hidden_size")
    if not hidden:
        raise UnsupportedModelError(str(config.get("model_type")), "no hidden_size")
    experts = text.get("num_local_experts") or text.get("num_experts") or 1
    chosen = (text.get("num_experts_per_tok") or 1) if experts > 1 else 1
    inner = text.get("intermediate_size") or 4 * hidden
    if experts > 1:
        inner = text.get("moe_intermediate_size") or inner
    return Shape(hidden, inner * chosen, chosen / experts)
