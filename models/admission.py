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


def admissible(directory: Path) -> list[Path]:
    """Return the files of a checkpoint, each of which may enter; none is hashed.

    Raises:
        CheckpointRefusedError: One may not enter, or there are no weights.
    """
    files = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            raise CheckpointRefusedError(name, "it is a symbolic link")
        if path.is_dir():
            continue
        if path.suffix not in ALLOWED_SUFFIXES or name == MANIFEST or not path.is_file():
            raise CheckpointRefusedError(
                name,
                f"only {', '.join(sorted(ALLOWED_SUFFIXES))} files are kept, no pickles or code",
            )
        if path.suffix == ".json":
            _check_json(path, name)
        files.append(path)
    if not any(path.suffix == ".safetensors" for path in files):
        raise CheckpointRefusedError(directory.resolve().name, "it holds no safetensors weights")
    return files


def list_files(staged: Path) -> tuple[FileEntry, ...]:
    """Return the hashed files of a staged checkpoint.

    Raises:
        CheckpointRefusedError: One may not enter, or there are no weights.
    """
    entries = [
        FileEntry(
            path=path.relative_to(staged).as_posix(),
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
        )
        for path in admissible(staged)
    ]
    return tuple(sorted(entries, key=lambda entry: entry.path))


def names_code(content: object) -> bool:
    """Whether a JSON file's content has an `auto_map`, which names code in the checkpoint."""
    return isinstance(content, dict) and "auto_map" in content


def _check_json(path: Path, name: str) -> None:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointRefusedError(name, f"it is no JSON ({error})") from error
    if path.name == "config.json" and not isinstance(content, dict):
        raise CheckpointRefusedError(name, "it is no JSON object")
    if names_code(content):
        raise CheckpointRefusedError(name, "its auto_map would run code of the checkpoint")


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
