"""The tensors that a recipe trains, by the names that they have on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from unlearn.errors import TensorNotFoundError
from unlearn.shards import StoredTensor, locate_tensors, place_in_decoder


class TrainedName(NamedTuple):
    """A trained tensor's place."""

    full: str
    """Its name on disk."""
    layer: int
    """The decoder layer, counted from 0."""
    tensor: str
    """Its name within the layer, on disk."""


def find_trained(
    checkpoint: Path, layers: Sequence[int], tensors: Sequence[str]
) -> tuple[TrainedName, ...]:
    """Return the trained tensors, by layer and then as the recipe lists them; reads headers alone.

    Args:
        checkpoint: The base's directory.
        layers: The trained layers.
        tensors: Names within a layer, as they are on disk.

    Raises:
        TensorNotFoundError: One is not there; the message lists what that layer has.
        CheckpointCorruptError: The checkpoint's weights cannot be read.
    """
    stored = locate_tensors(checkpoint)
    prefix = layers_prefix(stored)
    found = []
    for layer in sorted(layers):
        for tensor in tensors:
            full = f"{prefix}{layer}.{tensor}"
            if full not in stored:
                raise TensorNotFoundError(full, in_layer(stored, layer) or stored)
            found.append(TrainedName(full, layer, tensor))
    return tuple(found)


def layers_prefix(stored: Mapping[str, StoredTensor]) -> str:
    """Return what stands before a layer's number on disk, such as `model.layers.`.

    Raises:
        TensorNotFoundError: No tensor belongs to a decoder layer.
    """
    for name in stored:
        place = place_in_decoder(name)
        if place is not None:
            return name.removesuffix(f"{place.layer}.{place.name}")
    raise TensorNotFoundError("layers.0", stored)


def in_layer(stored: Mapping[str, StoredTensor], layer: int) -> list[str]:
    """Return the names of one decoder layer's tensors."""
    places = {name: place_in_decoder(name) for name in stored}
    return [name for name, place in places.items() if place is not None and place.layer == layer]
