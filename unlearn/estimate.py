"""What a run will load, train, need and take, from headers and `config.json` alone.

The counts follow the engine's passes: one shared prefix below the first trained layer, then the
trained segment up to l, frozen and updated. Texts are taken at their greatest length, so real
runs stay below. A *unit* is one decoder layer's forward pass over one batch of one corpus.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from unlearn.errors import TensorNotFoundError
from unlearn.shards import StoredTensor, locate_tensors, place_in_decoder
from unlearn.tensors import find_trained
from unlearn.workload import STORED_NAMES, Shape, Workload, read_shape

MASTER_BYTES = 4
TOKEN_BYTES = 4
ROW_BYTES = 128
"""Of a text: its array of tokens, its place in lists, and where it begins on disk; rounded up."""


class Loaded(NamedTuple):
    """Weights in bytes."""

    mapped_bytes: int
    """Used from the file; the system can drop and read them again."""
    converted_bytes: int
    """Of another type than the passes', so copied into memory."""
    left_bytes: int
    """Never read: the layers above l and the output head."""


class Memory(NamedTuple):
    """Anonymous memory beyond the interpreter and its libraries, in bytes."""

    converted: int
    """Weights whose type is not the one of the passes."""
    masters: int
    """fp32."""
    gradients: int
    optimizer: int
    """AdamW's two moments, fp32."""
    copies: int
    """The trained tensors in the compute type, and the gradients of those."""
    activations: int
    """Kept for the backward pass, and one layer's working space."""
    update: int
    """The optimiser's own working space, when the activations are gone."""
    corpora: int = 0
    """Their tokens, as far as texts are cut; the texts stay on disk."""

    @property
    def total(self) -> int:
        """The peak: activations and the optimiser's working space are not there at once."""
        return sum(self) - min(self.activations, self.update)


class Units(NamedTuple):
    """Layer forward passes in one step, a backward pass counted in the same unit."""

    prefix: float
    frozen: float
    updated: float
    backward: float

    @property
    def cold(self) -> float:
        """Nothing is cached."""
        return sum(self)

    @property
    def cached(self) -> float:
        """Prefixes and frozen activations come from the cache."""
        return self.updated + self.backward


class Disk(NamedTuple):
    """Bytes that are written."""

    candidate: int
    """Of the files with a trained tensor; the others are links."""
    state: int
    """For resuming; removed after the run."""
    cache: int
    """Activations, at most; kept for the next run."""


class Estimate(NamedTuple):
    """What a run needs."""

    trained: dict[str, StoredTensor]
    trained_values: int
    """Numbers that are trained: of the tensors, or of their factors."""
    loaded: Loaded
    memory: Memory
    units: Units
    unit_flops: float
    """Floating-point operations of one unit."""
    disk: Disk


class Counted(NamedTuple):
    """A corpus by its size."""

    texts: int
    max_tokens: int
    """Of a text: there it is cut."""


def estimate(work: Workload, checkpoint: Path, corpora: Iterable[Counted] = ()) -> Estimate:
    """Return what a run on a checkpoint needs; no weight is read.

    Args:
        work: What the recipe says about size.
        checkpoint: The base's directory.
        corpora: Those whose number of texts is known.

    Raises:
        TensorNotFoundError: The recipe names a layer or a tensor that is not there.
        UnsupportedModelError: `config.json` does not say how wide the model is.
        CheckpointCorruptError: A header cannot be read.
    """
    located = locate_tensors(checkpoint)
    layers = {place.layer for name in located if (place := place_in_decoder(name))}
    if work.layer not in layers:
        raise TensorNotFoundError(f"layers.{work.layer}", [f"layers.{one}" for one in layers])
    names = find_trained(checkpoint, work.trained_layers, work.trained_tensors)
    trained = {name.full: located[name.full] for name in names}
    shape = read_shape(checkpoint)
    values = sum(_trained_values(stored, work.rank) for stored in trained.values())
    loaded = count_loaded(work, located)
    return Estimate(
        trained=trained,
        trained_values=values,
        loaded=loaded,
        memory=count_memory(work, trained, shape, values, loaded.converted_bytes)._replace(
            corpora=count_corpora(corpora)
        ),
        units=count_units(work, trained, located, shape),
        unit_flops=_unit_flops(work, located, shape),
        disk=count_disk(work, trained, shape, values),
    )


def count_loaded(work: Workload, located: Mapping[str, StoredTensor]) -> Loaded:
    """Count the weights that a run opens: embeddings, and layers 0 to l."""
    mapped = converted = left = 0
    for name, stored in located.items():
        place = place_in_decoder(name)
        is_needed = place.layer <= work.layer if place else _is_text_embedding(name)
        if not is_needed:
            left += stored.nbytes
        elif stored.dtype == STORED_NAMES[work.compute_dtype]:
            mapped += stored.nbytes
        else:
            converted += stored.size * work.value_bytes
    return Loaded(mapped, converted, left)


def count_memory(
    work: Workload,
    trained: Mapping[str, StoredTensor],
    shape: Shape,
    values: int,
    converted_bytes: int,
) -> Memory:
    """Count the memory that a step needs at its peak.

    A layer keeps for its backward pass, for each token: the fp32 inputs of its two norms (8 D
    bytes), four D-wide and four I-wide values of attention and feed-forward in the compute type.
    Forget and retain batches are both kept. The layers of the prefix keep nothing. AdamW goes from
    tensor to tensor with two temporaries of its size; with what the allocator holds back it was
    measured to be three.
    """
    whole = sum(stored.size for stored in trained.values())
    is_master_used = not work.rank and work.compute_dtype == "float32"
    kept = 8 * shape.hidden + 4 * (shape.hidden + shape.inner) * work.value_bytes
    layers = work.layer - work.first + 1
    return Memory(
        converted=converted_bytes,
        masters=values * MASTER_BYTES,
        gradients=values * MASTER_BYTES,
        optimizer=2 * values * MASTER_BYTES,
        copies=0 if is_master_used else 2 * whole * work.value_bytes,
        activations=(2 * layers + 1) * work.tokens * kept,
        update=3
        * max(_trained_values(stored, work.rank) for stored in trained.values())
        * MASTER_BYTES,
    )


def count_corpora(corpora: Iterable[Counted]) -> int:
    """Count the bytes of the tokens that are drawn from, which are all held."""
    return sum(one.texts * (one.max_tokens * TOKEN_BYTES + ROW_BYTES) for one in corpora)


def count_units(
    work: Workload,
    trained: Mapping[str, StoredTensor],
    located: Mapping[str, StoredTensor],
    shape: Shape,
) -> Units:
    """Count a step's layer passes.

    The gradient goes back from l to the first trained layer, not through that layer, and a weight
    gradient costs what the tensor's own forward multiplication does.
    """
    segment = work.layer - work.first + 1
    layer_values = _layer_values(work, located, shape)
    own = sum(stored.size for stored in trained.values()) / layer_values
    return Units(
        prefix=2 * work.first,
        frozen=segment * (2 if work.reads_frozen_forget else 1),
        updated=2 * segment,
        backward=2 * (segment - 1) + 2 * own,
    )


def count_disk(
    work: Workload, trained: Mapping[str, StoredTensor], shape: Shape, values: int
) -> Disk:
    """Count what is written.

    The cache holds, for each step's two batches, the prefix, and the frozen activations behind l.
    """
    files = {stored.file for stored in trained.values()}
    kept = 4 if work.reads_frozen_forget else 3
    return Disk(
        candidate=sum(file.stat().st_size for file in files),
        state=3 * values * MASTER_BYTES,
        cache=work.steps * kept * work.tokens * shape.hidden * work.value_bytes,
    )


def _trained_values(stored: StoredTensor, rank: int) -> int:
    return rank * sum(stored.shape) if rank else stored.size


def _layer_values(work: Workload, located: Mapping[str, StoredTensor], shape: Shape) -> float:
    """The weights of layer l that one token is multiplied with."""
    values = 0.0
    for name, stored in located.items():
        place = place_in_decoder(name)
        if place is not None and place.layer == work.layer and len(stored.shape) > 1:
            values += stored.size * (shape.active if ".experts." in name else 1)
    return values


def _unit_flops(work: Workload, located: Mapping[str, StoredTensor], shape: Shape) -> float:
    """Two operations for each weight and token, and attention's two products of T x T."""
    attention = 4 * work.tokens * work.max_tokens * shape.hidden
    return 2 * work.tokens * _layer_values(work, located, shape) + attention


def _is_text_embedding(name: str) -> bool:
    return "embed" in name and "vision" not in name
