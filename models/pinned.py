"""A pinned checkpoint: files that are open, hashed, and handed to an engine as they are open.

Between hashing a path and opening it again somebody can put another file there. So every file is
opened once, hashed through its descriptor, and offered in a private directory as a link to that
descriptor (`/proc/<pid>/fd/<n>`): whoever opens the link gets the file that was hashed, whatever
has become of its path. What is left is writing into the very file: its mode forbids that, a change
of its status (which cannot be undone without changing the clock) makes it hashed again, and so does
the end of the engine's start.
"""

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Self

from models.admission import names_code
from models.errors import CheckpointCorruptError
from models.manifest import FileEntry, Manifest
from models.store import CheckpointStore


class PinnedCheckpoint:
    """A checkpoint whose files are held open; a context manager."""

    def __init__(self, store: CheckpointStore, manifest: Manifest, directory: Path) -> None:
        """Prepare; nothing is opened yet.

        Args:
            store: Where the checkpoint is.
            manifest: What it must hold.
            directory: Where the links go; it is emptied first.
        """
        self._manifest = manifest
        self._source = store.path(manifest.digest)
        self.directory = directory
        """What the engine loads."""
        self._open: dict[str, int] = {}
        self._status: dict[str, tuple[int, ...]] = {}

    def __enter__(self) -> Self:
        """Open, check and hash every file of the manifest; nothing else is offered.

        Raises:
            CheckpointCorruptError: A file is missing, a link, writable or changed, or it would
                make the engine run code.
        """
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700, parents=True)
        try:
            if self._source.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise self._corrupt(".", "can be written by others")
            for entry in self._manifest.files:
                self._pin(entry)
                self._hash(entry)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every file."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def verify(self) -> None:
        """Hash every byte again, through the descriptors that the engine was given.

        Raises:
            CheckpointCorruptError: A file has other bytes than the manifest lists.
        """
        for entry in self._manifest.files:
            self._hash(entry)

    def check(self) -> None:
        """Hash again what was touched since it was hashed last; cheap when nothing was.

        Raises:
            CheckpointCorruptError: A file has other bytes than the manifest lists, or can be
                written now.
        """
        for entry in self._manifest.files:
            # A new hard link, as a backup makes them, changes the status too, and no byte.
            if _status(self._open[entry.path]) != self._status[entry.path]:
                self._hash(entry)

    def _hash(self, entry: FileEntry) -> None:
        descriptor = self._open[entry.path]
        # Taken before the bytes are read: a write during the reading shows at the next look.
        self._status[entry.path] = _status(descriptor)
        if os.fstat(descriptor).st_mode & 0o222:
            raise self._corrupt(entry.path, "can be written")
        if _sha256(descriptor) != entry.sha256:
            raise self._corrupt(entry.path, "has other bytes than were stored")

    def _pin(self, entry: FileEntry) -> None:
        try:
            descriptor = os.open(
                self._source / entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            )
        except OSError as error:
            raise self._corrupt(entry.path, f"cannot be opened: {error.strerror}") from error
        self._open[entry.path] = descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise self._corrupt(entry.path, "is no plain file")
        if entry.path.endswith(".json") and _names_code(descriptor):
            raise self._corrupt(entry.path, "would make the engine run code (auto_map)")
        link = self.directory / entry.path
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        link.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")

    def _corrupt(self, file: str, problem: str) -> CheckpointCorruptError:
        return CheckpointCorruptError(self._manifest.digest, file, problem)


def _status(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _sha256(descriptor: int) -> str:
    with open(os.dup(descriptor), "rb") as stream:
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _names_code(descriptor: int) -> bool:
    """Whether a JSON file of a checkpoint names code in it."""
    with open(os.dup(descriptor), "rb") as stream:
        stream.seek(0)
        try:
            return names_code(json.loads(stream.read()))
        except ValueError:
            return False
