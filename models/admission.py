"""Admission: which files may enter the checkpoint store, and how they are kept there."""

import json
import os
import stat
from pathlib import Path

from models.documents import file_sha256
from models.errors import CheckpointRefusedError
from models.manifest import FileEntry

MANIFEST = "manifest.json"
ALLOWED_SUFFIXES = {".safetensors", ".json", ".jinja", ".txt", ".model"}
READ_ONLY = 0o444


def list_files(staged: Path) -> tuple[FileEntry, ...]:
    """Return the hashed files of a staged checkpoint.

    Raises:
        CheckpointRefusedError: One may not enter, or there are no weights.
    """
    entries = []
    for path in sorted(staged.rglob("*")):
        name = path.relative_to(staged).as_posix()
        if path.is_symlink():
            raise CheckpointRefusedError(name, "it is a symbolic link")
        if path.is_dir():
            continue
        if path.suffix not in ALLOWED_SUFFIXES or name == MANIFEST:
            raise CheckpointRefusedError(
                name,
                f"only {', '.join(sorted(ALLOWED_SUFFIXES))} files are kept, no pickles or code",
            )
        if path.name == "config.json" and "auto_map" in json.loads(path.read_bytes()):
            raise CheckpointRefusedError(name, "its auto_map would run code of the checkpoint")
        entries.append(FileEntry(path=name, sha256=file_sha256(path), bytes=path.stat().st_size))
    if not any(entry.path.endswith(".safetensors") for entry in entries):
        raise CheckpointRefusedError(staged.name, "it holds no safetensors weights")
    return tuple(sorted(entries, key=lambda entry: entry.path))


def make_durable(path: Path) -> None:
    """Flush a file to the disk and take away the permission to write it.

    A file that is linked from its base has none already, and may have another owner.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if stat.S_IMODE(path.stat().st_mode) != READ_ONLY:
        path.chmod(READ_ONLY)
