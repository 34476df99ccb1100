"""The journal: what became of each line of a batch, in the order in which they ended.

It is what a batch goes on from when its gateway was killed. Each claim of a batch has a journal of
its own, which begins with all that the one before held; so a gateway that has lost a batch to
another, and does not know it yet, writes what nobody reads.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from gateway.dataplane.batches.shelf import PART, Seal, as_storage, read_frame
from gateway.errors import StorageUnavailableError


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """What became of one line."""

    number: int
    is_answered: bool
    """Whether its result goes into the output file, not among the errors."""
    domains: tuple[str, ...]
    """The hazard domains that the checkpoint knows which has answered."""
    prompt_tokens: int
    completion_tokens: int
    result: bytes
    """Its line in the results."""


DECODER = msgspec.msgpack.Decoder(Ended)


class Journal:
    """The journal of one claim; everything here blocks."""

    def __init__(self, path: Path, about: str, seal: Seal, file: BinaryIO) -> None:
        """Append to a file; see `take_over`."""
        self._path = path
        self._about = about
        self._seal = seal
        self._file = file

    def append(self, ended: Ended) -> None:
        """Add what became of a line.

        Raises:
            StorageUnavailableError: The disk does not take it.
        """
        with as_storage():
            # What a process that is killed has written by half is an end that `read` does not take.
            self._file.write(self._seal.close(self._about, msgspec.msgpack.encode(ended)))
            self._file.flush()

    def read(self) -> Iterator[Ended]:
        """Yield what became of lines so far, each line once.

        Raises:
            StorageUnavailableError: The journal is gone.
        """
        yield from _read(self._path, self._about, self._seal)

    def close(self) -> None:
        """Stop writing."""
        with as_storage():
            self._file.close()

    def remove(self) -> None:
        """Remove it: the results have been written."""
        self.close()
        with as_storage():
            self._path.unlink(missing_ok=True)


def take_over(folder: Path, batch_id: str, claim: int, seal: Seal) -> Journal:
    """Begin the journal of a claim with what the claims before it have written.

    Raises:
        StorageUnavailableError: The folder cannot be read or written.
    """
    with as_storage():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = _journals(folder, batch_id)
        path = folder / f"{batch_id}.{claim}"
        scratch = path.with_name(path.name + PART)
        about = path.name
        with scratch.open("wb") as file:
            if before:
                for ended in _read(before[-1], before[-1].name, seal):
                    file.write(seal.close(about, msgspec.msgpack.encode(ended)))
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
        for older in before:
            older.unlink(missing_ok=True)
        return Journal(path, about, seal, path.open("ab"))


def _journals(folder: Path, batch_id: str) -> list[Path]:
    """Return the journals of a batch, the newest last; one that is being begun is none yet."""
    found = {
        int(match[1]): path
        for path in folder.glob(f"{batch_id}.*")
        if (match := re.fullmatch(rf"{batch_id}\.(\d+)", path.name))
    }
    return [found[claim] for claim in sorted(found)]


def _read(path: Path, about: str, seal: Seal) -> Iterator[Ended]:
    seen: set[int] = set()
    with as_storage(), path.open("rb") as source:
        while (sealed := read_frame(source)) is not None:
            try:
                ended = DECODER.decode(seal.open(about, sealed))
            except StorageUnavailableError:
                return  # The end that a machine left when it went down.
            if ended.number not in seen:
                seen.add(ended.number)
                yield ended
