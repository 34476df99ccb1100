"""The shelf: the contents of files, encrypted, in one folder; which files there are, rows say.

A content is a row of frames, each sealed with AES-256-GCM together with the file's id, its own
place and whether it is the last: what was cut, mixed up or put under another name is not read.
Everything here blocks; who serves requests calls it from a thread.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import StorageUnavailableError

FRAME_BYTES = 262_144
NONCE_BYTES = 12
PART = ".part"
JOURNALS = "journals"
"""The folder beside the contents where batches that are under way are kept account of."""


class Seal:
    """Seals frames, and opens them."""

    def __init__(self, key: bytes) -> None:
        """Seal with a key of 32 bytes."""
        self._aead = AESGCM(key)

    def close(self, about: str, content: bytes) -> bytes:
        """Return a frame: its length and its sealed content, which goes with `about` alone."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, content, about.encode())
        return len(sealed).to_bytes(4, "big") + sealed

    def open(self, about: str, sealed: bytes) -> bytes:
        """Return a frame's content.

        Raises:
            StorageUnavailableError: It is not what was sealed.
        """
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError) as error:
            raise StorageUnavailableError from error


def read_frame(source: BinaryIO) -> bytes | None:
    """Return the next frame, sealed; None where no whole one follows."""
    length = int.from_bytes(source.read(4), "big")
    sealed = source.read(length)
    return sealed if length and len(sealed) == length else None


@contextmanager
def as_storage() -> Iterator[None]:
    """Turn what the folder's disk has against it into an error in the API's shape.

    Raises:
        StorageUnavailableError: It has something.
    """
    try:
        yield
    except OSError as error:
        raise StorageUnavailableError from error


class Writing:
    """A content on its way to the shelf; it is there once `finish` has returned."""

    def __init__(self, path: Path, seal: Seal) -> None:
        """Begin, beside the place that it will have.

        Raises:
            StorageUnavailableError: The folder cannot be written.
        """
        self._path = path
        self._scratch = path.with_name(path.name + PART)
        self._seal = seal
        self._buffer = bytearray()
        self._frames = 0
        self.size_bytes = 0
        with as_storage():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # An id is new: that its place is taken can only be a defect, or somebody's doing.
            self._file = self._scratch.open("xb")

    @property
    def is_full(self) -> bool:
        """Whether there is enough in memory for `flush`."""
        return len(self._buffer) > FRAME_BYTES

    def add(self, data: bytes) -> None:
        """Take in bytes; in memory, so that a parser's callbacks need not wait for a disk."""
        self._buffer += data
        self.size_bytes += len(data)

    def flush(self) -> None:
        """Write whole frames.

        Raises:
            StorageUnavailableError: The disk does not take them.
        """
        while self.is_full:
            self._write(bytes(self._buffer[:FRAME_BYTES]), is_last=False)
            del self._buffer[:FRAME_BYTES]

    def finish(self) -> None:
        """Write the rest, and put the content in its place.

        Raises:
            StorageUnavailableError: The disk does not take it.
        """
        self.flush()
        self._write(bytes(self._buffer), is_last=True)
        with as_storage(), self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._scratch.rename(self._path)

    def abandon(self) -> None:
        """Throw away what is written so far."""
        with as_storage():
            self._file.close()
            self._scratch.unlink(missing_ok=True)

    def _write(self, content: bytes, *, is_last: bool) -> None:
        with as_storage():
            about = _about(self._path.name, self._frames, is_last=is_last)
            self._file.write(self._seal.close(about, content))
            self._frames += 1


class Shelf:
    """All contents."""

    def __init__(self, folder: Path, key: bytes) -> None:
        """Keep contents in a folder, made when the first one comes."""
        self.folder = folder
        self.seal = Seal(key)

    def write(self, file_id: str) -> Writing:
        """Begin to write a content.

        Raises:
            StorageUnavailableError: The folder cannot be written.
        """
        return Writing(self.folder / file_id, self.seal)

    def read(self, file_id: str) -> Iterator[bytes]:
        """Yield a content in parts.

        Raises:
            StorageUnavailableError: It is not there, or is not what was written.
        """
        with as_storage(), (self.folder / file_id).open("rb") as source:
            number, sealed = 0, read_frame(source)
            while sealed is not None:
                following = read_frame(source)
                about = _about(file_id, number, is_last=following is None)
                yield self.seal.open(about, sealed)
                number, sealed = number + 1, following
            if number == 0:
                raise StorageUnavailableError

    def lines(self, file_id: str, limit_bytes: int) -> Iterator[bytes | None]:
        """Yield the lines of a content, without their ends; None for one that is too long.

        Raises:
            StorageUnavailableError: It is not there, or is not what was written.
        """
        rest = b""
        for part in self.read(file_id):
            first, *others = part.split(b"\n")
            rest += first[: limit_bytes + 2]
            for line in others:
                yield _line(rest, limit_bytes)
                rest = line
            # What is too long anyway is not kept in memory.
            rest = rest[: limit_bytes + 2]
        if rest:
            yield _line(rest, limit_bytes)

    def remove(self, file_id: str) -> None:
        """Remove a content, if it is there.

        Raises:
            StorageUnavailableError: The folder does not let it go.
        """
        remove(self.folder, file_id)


def remove(folder: Path, name: str) -> None:
    """Remove a file, if it is there.

    Raises:
        StorageUnavailableError: The folder does not let it go.
    """
    with as_storage():
        (folder / name).unlink(missing_ok=True)


def older_than(folder: Path, seconds: float) -> list[str]:
    """Return the names of files in a folder that have not been written to for so long.

    Raises:
        StorageUnavailableError: The folder cannot be read.
    """
    if not folder.is_dir():
        return []
    before = time.time() - seconds
    with as_storage():
        entries = [entry for entry in os.scandir(folder) if entry.is_file()]
        return [entry.name for entry in entries if entry.stat().st_mtime < before]


def _about(file_id: str, number: int, *, is_last: bool) -> str:
    return f"{file_id}/{number}/{'last' if is_last else 'more'}"


def _line(line: bytes, limit_bytes: int) -> bytes | None:
    line = line.removesuffix(b"\r")
    return line if len(line) <= limit_bytes else None
