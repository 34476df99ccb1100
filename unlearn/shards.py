"""A checkpoint's weight files: which tensor is where, read from the safetensors headers alone.

A safetensors file is an 8-byte little-endian length, a JSON header of that length, and the
tensors' bytes without gaps. Source: github.com/huggingface/safetensors, README, "Format".
"""

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

from models.errors import CheckpointCorruptError

INDEX = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
BYTES_PER_VALUE = {"F32": 4, "F16": 2, "BF16": 2}
"""Of the types that can be unlearned; quantised ones have sizes of their own."""
# The text decoder's layers: `model.layers.5.…`, `model.language_model.layers.5.…`,
# `gpt_neox.layers.5.…`, but not a vision tower's.
LAYER = re.compile(r"^(?:(?:model|language_model|gpt_neox|transformer)\.)*layers\.(\d+)\.(.+)$")


class StoredTensor(NamedTuple):
    """Where a tensor's bytes are."""

    file: Path
    dtype: str
    """As safetensors names it: `BF16`, `F16`, `F32`, …"""
    shape: tuple[int, ...]
    begin: int
    """The first byte's offset in the file."""
    end: int

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return self.end - self.begin


class LayerTensor(NamedTuple):
    """A tensor's place in the decoder."""

    layer: int
    """The decoder layer, counted from 0."""
    name: str
    """Its name within the layer."""


def place_in_decoder(name: str) -> LayerTensor | None:
    """Return which decoder layer a tensor belongs to, or None when it belongs to none."""
    match = LAYER.match(name)
    return LayerTensor(int(match[1]), match[2]) if match else None


def weight_files(checkpoint: Path) -> list[Path]:
    """Return the files that hold a checkpoint's weights, sorted.

    Raises:
        CheckpointCorruptError: There are none, or the index cannot be read.
    """
    index = checkpoint / INDEX
    if index.exists():
        try:
            names = {_plain(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointCorruptError(checkpoint.name, INDEX, "is no index") from error
    else:
        names = {path.name for path in checkpoint.glob("*.safetensors")}
    files = sorted(checkpoint / name for name in names)
    for path in files:
        if not path.is_file():
            raise CheckpointCorruptError(checkpoint.name, path.name, "is missing")
    if not files:
        raise CheckpointCorruptError(checkpoint.name, "*.safetensors", "is missing")
    return files


def _plain(name: str) -> str:
    if Path(name).name != name:
        raise ValueError("a weight file is outside the checkpoint")
    return name


def locate_tensors(checkpoint: Path) -> dict[str, StoredTensor]:
    """Return where each tensor of a checkpoint is, by its name on disk; no weights are read.

    Raises:
        CheckpointCorruptError: A file is missing or is no safetensors file.
    """
    located: dict[str, StoredTensor] = {}
    for path in weight_files(checkpoint):
        located |= read_header(path)
    return located


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return where each tensor of one safetensors file is, in the order of their bytes.

    Raises:
        CheckpointCorruptError: It is no safetensors file, or does not end where it should.
    """
    try:
        tensors = sorted(_parse(path).items(), key=lambda item: (item[1].begin, item[1].end))
        position = min((stored.begin for _, stored in tensors), default=path.stat().st_size)
        for _, stored in tensors:
            width = BYTES_PER_VALUE.get(stored.dtype)
            if stored.begin != position or (width and stored.nbytes != stored.size * width):
                raise ValueError("its tensors do not follow each other")
            position = stored.end
        if position != path.stat().st_size:
            raise ValueError("it does not end with its last tensor")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is no whole safetensors file ({error})"
        raise CheckpointCorruptError(path.parent.name, path.name, problem) from error
    return dict(tensors)


def _parse(path: Path) -> dict[str, StoredTensor]:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(MAX_HEADER_BYTES, path.stat().st_size):
            raise ValueError("its header is too long")
        header = json.loads(stream.read(length))
    data = 8 + length
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            shape = tuple(int(size) for size in entry["shape"])
            found[name] = StoredTensor(path, entry["dtype"], shape, data + begin, data + end)
    return found
