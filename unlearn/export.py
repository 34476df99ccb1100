"""Writes a candidate: the base's files with the trained tensors' bytes replaced, and proves it.

Shapes and types stay, so every header and offset does. A file without a trained tensor is the
base's own, by a hard link; one that has some is copied by the kernel and written over in place.
The model is never held: the most that is in memory is one tensor.
"""

import errno
import os
import shutil
from collections.abc import Mapping, Set
from pathlib import Path
from typing import IO

import torch
from safetensors.torch import save
from torch import Tensor

from models.admission import MANIFEST
from models.documents import translate
from models.manifest import Changes
from unlearn.adapter import RESTORE, Factors, write_restore_adapter
from unlearn.errors import StrayUpdateError, TensorNotFoundError, UnwritableTensorError
from unlearn.shards import StoredTensor, locate_tensors, place_in_decoder, read_header, weight_files

PROVENANCE = "provenance"
VECTORS = "vectors.safetensors"
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CHUNK_BYTES = 8 << 20
# The file system has no such call, or the two files are not on the same one.
NOT_HERE = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK}


def write_candidate(
    base: Path,
    target: Path,
    updated: Mapping[str, Tensor],
    factors: Mapping[str, Factors],
    vectors: Mapping[str, Tensor],
) -> Changes:
    """Write the base with some tensors replaced, and check that no other byte differs.

    Args:
        base: The base checkpoint, one file or several with an index.
        target: An empty directory.
        updated: The trained tensors by their names on disk, fp32; rounded to the base's type.
        factors: The low-rank updates, for the restore adapter; empty after a full-rank run.
        vectors: The steering vectors by topic, kept under `provenance/`; may be empty.

    Returns:
        What differs, as compared byte by byte after writing.

    Raises:
        TensorNotFoundError: The base has no tensor of that name.
        UnwritableTensorError: A tensor has another shape, or does not fit the base's type.
        StrayUpdateError: Another byte differs.
        StoreFullError: No room is left.
        CheckpointCorruptError: The base's files cannot be read.
    """
    located = locate_tensors(base)
    for name, tensor in updated.items():
        _check_fits(name, tensor, located)
    try:
        touched = {located[name].file for name in updated}
        _bring_files(base, target, touched)
        _overwrite(target, updated, located)
        if factors:
            write_restore_adapter(target, factors)
        if vectors:
            kept = {name: vector.detach().cpu().contiguous() for name, vector in vectors.items()}
            (target / PROVENANCE).mkdir()
            (target / PROVENANCE / VECTORS).write_bytes(save(kept))
    except OSError as error:
        raise translate(error, target) from error
    return verify_changes(base, target, updated.keys())


def verify_changes(base: Path, target: Path, allowed: Set[str]) -> Changes:
    """Compare two checkpoints' weights byte by byte, headers included.

    Files that are one and the same on the disk (hard links) need no reading.

    Args:
        base: The one.
        target: The other.
        allowed: The tensors that may differ.

    Raises:
        StrayUpdateError: Another tensor, a header or the list of files differs.
        CheckpointCorruptError: A file cannot be read.
    """
    ours, theirs = weight_files(base), weight_files(target)
    if [path.name for path in ours] != [path.name for path in theirs]:
        raise StrayUpdateError({path.name for path in {*ours, *theirs}})
    located = locate_tensors(base)
    differing: set[str] = set()
    compared = shared = 0
    for one, other in zip(ours, theirs, strict=True):
        size = one.stat().st_size
        if one.samefile(other):
            shared += size
            continue
        compared += size
        differing |= _differing(one, other)
    if not differing <= allowed:
        raise StrayUpdateError(differing - allowed)
    return Changes(
        differing=tuple(sorted(differing)),
        tensors_compared=len(located),
        bytes_compared=compared,
        bytes_shared=shared,
        first_trained_layer=first_layer(allowed),
    )


def first_layer(names: Set[str]) -> int | None:
    """Return the lowest decoder layer with one of these tensors.

    Returns:
        None when there are no tensors, or one is outside the layers (an embedding, say): then no
        layer is known to be untouched.
    """
    places = [place_in_decoder(name) for name in names]
    layers = [place.layer for place in places if place is not None]
    return min(layers) if layers and len(layers) == len(places) else None


def _differing(one: Path, other: Path) -> set[str]:
    """Return the names of the tensors that differ in any byte, or the file's name for the rest."""
    tensors = read_header(one)
    with one.open("rb") as first, other.open("rb") as second:
        start = min((stored.begin for stored in tensors.values()), default=one.stat().st_size)
        if one.stat().st_size != other.stat().st_size or not _same(first, second, 0, start):
            return {one.name}
        return {
            name
            for name, stored in tensors.items()
            if not _same(first, second, stored.begin, stored.end)
        }


def _same(first: IO[bytes], second: IO[bytes], begin: int, end: int) -> bool:
    """Tell whether two files agree in a range, holding no more than two chunks of it."""
    for offset in range(begin, end, CHUNK_BYTES):
        length = min(CHUNK_BYTES, end - offset)
        one = os.pread(first.fileno(), length, offset)
        if len(one) != length or one != os.pread(second.fileno(), length, offset):
            return False
    return True


def _check_fits(name: str, tensor: Tensor, located: Mapping[str, StoredTensor]) -> None:
    stored = located.get(name)
    if stored is None:
        raise TensorNotFoundError(name, located)
    if stored.dtype not in DTYPES:
        raise UnwritableTensorError(name, f"the base stores it as {stored.dtype}")
    if tuple(tensor.shape) != stored.shape:
        problem = f"it has shape {tuple(tensor.shape)}, in the base {stored.shape}"
        raise UnwritableTensorError(name, problem)


def _bring_files(base: Path, target: Path, touched: Set[Path]) -> None:
    """Link or copy the base's files.

    Weights that the checkpoint's own list does not name stay behind, and so does what an earlier
    run left in its directories: they would carry along what is to be forgotten.
    """
    weights = weight_files(base)
    for path in sorted(base.rglob("*")):
        inside = path.relative_to(base)
        if path.is_dir() or inside.parts[0] in (MANIFEST, RESTORE, PROVENANCE):
            continue
        if path.suffix == ".safetensors" and path not in weights:
            continue
        (target / inside).parent.mkdir(parents=True, exist_ok=True)
        if path in touched:
            _copy(path, target / inside)
        else:
            _link(path, target / inside)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system cannot."""
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in NOT_HERE:
            raise
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    """Copy a file inside the kernel, which shares the blocks where the file system can."""
    with source.open("rb") as reader, target.open("xb") as writer:
        try:
            while os.copy_file_range(reader.fileno(), writer.fileno(), 1 << 30):
                pass
        except OSError as error:
            if error.errno not in NOT_HERE:
                raise
            shutil.copyfileobj(reader, writer, CHUNK_BYTES)


def _overwrite(
    target: Path, updated: Mapping[str, Tensor], located: Mapping[str, StoredTensor]
) -> None:
    """Write the trained tensors over their own bytes, one at a time."""
    for name, tensor in updated.items():
        stored = located[name]
        rounded = tensor.detach().to("cpu", DTYPES[stored.dtype]).contiguous()
        if not torch.isfinite(rounded).all():
            raise UnwritableTensorError(name, f"a value is not finite in {stored.dtype}")
        path = target / stored.file.name
        if path.samefile(stored.file):
            raise StrayUpdateError([name])  # A link: the write would go into the base itself.
        _write_at(path, stored.begin, rounded.view(-1).view(torch.uint8).numpy().data)


def _write_at(path: Path, offset: int, content: memoryview) -> None:
    with path.open("r+b", buffering=0) as stream:
        stream.seek(offset)
        while content:
            content = content[stream.write(content) :]
