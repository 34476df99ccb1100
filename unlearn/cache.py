"""Activations of the base on disk, so that second epochs, sweeps and new seeds skip the prefix.

    <home>/cache/activations/<key>/<batch>-<layer>.safetensors

The key is the digest of everything that the bits depend on. A file is written whole or not at all
and carries a checksum; one that is missing or damaged is computed again. Runs may share a cache:
who writes second replaces a file by the same bits. Nothing here is needed: without room a run goes
on.
"""

import contextlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.documents import digest_of

GIB = 2**30


class Shelf:
    """The cached activations of one corpus in one base, by batch and layer."""

    def __init__(self, directory: Path, room: int, say: Callable[[str], None]) -> None:
        """Use `directory`.

        Args:
            directory: Named for the key.
            room: How many bytes may still be written.
            say: Told once when that is used up or the disk is full.
        """
        self._directory = directory
        self._room = room
        self._say = say

    def get(self, batch: int, layer: int) -> Tensor | None:
        """Return the state (B, T, D) behind a layer, or None when it is not there whole."""
        try:
            with safe_open(self._path(batch, layer), framework="pt") as opened:
                state = opened.get_tensor("state")
                checksum = (opened.metadata() or {}).get("crc32")
        except (OSError, SafetensorError):
            return None
        return state if checksum == _checksum(state) else None

    def put(self, batch: int, layer: int, state: Tensor) -> None:
        """Keep the state behind a layer, if there is room."""
        state = state.detach().cpu().contiguous()
        if state.nbytes > self._room:
            self._stop("it has reached its limit")
            return
        content = save({"state": state}, metadata={"crc32": _checksum(state)})
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor, scratch = tempfile.mkstemp(dir=self._directory, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(content)
                Path(scratch).replace(self._path(batch, layer))
            finally:
                Path(scratch).unlink(missing_ok=True)
        except OSError as error:
            # A full or read-only disk, or another run has removed this shelf to make room.
            self._stop(error.strerror or str(error))
            return
        self._room -= len(content)

    def _stop(self, reason: str) -> None:
        if self._room:
            self._say(
                f"activations are no longer cached in {self._directory.parent}: {reason}; the run "
                "goes on without, more slowly next time"
            )
        self._room = 0

    def _path(self, batch: int, layer: int) -> Path:
        return self._directory / f"{batch}-{layer}.safetensors"


class ActivationCache:
    """All shelves under one directory, bounded in size."""

    def __init__(self, root: Path, limit_bytes: int, say: Callable[[str], None]) -> None:
        """Use `root`; it is made on the first write.

        Args:
            root: `<home>/cache/activations`.
            limit_bytes: Shelves that have not been used for longest go when there are more.
            say: Told when caching stops.
        """
        self.root = root
        self.limit_bytes = limit_bytes
        self._say = say

    def shelf(self, key: Mapping[str, object]) -> Shelf:
        """Return the shelf for a key: what its activations' bits depend on.

        The least recently used other shelves are removed until all fit.
        """
        directory = self.root / digest_of(key).removeprefix("sha256:")
        used = self._sizes()
        with contextlib.suppress(OSError):  # Not there yet, or of a file system that is read-only.
            os.utime(directory)
        for other in sorted(used.keys() - {directory}, key=_last_used):
            if sum(used.values()) <= self.limit_bytes:
                break
            shutil.rmtree(other, ignore_errors=True)
            del used[other]
        return Shelf(directory, max(0, self.limit_bytes - sum(used.values())), self._say)

    def _sizes(self) -> dict[Path, int]:
        sizes = {}
        for directory in self.root.glob("*/"):
            with contextlib.suppress(FileNotFoundError):  # Another run is making room.
                sizes[directory] = sum(file.stat().st_size for file in directory.iterdir())
        return sizes


def _last_used(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _checksum(state: Tensor) -> str:
    return str(zlib.crc32(state.contiguous().view(torch.uint8).numpy().data))
