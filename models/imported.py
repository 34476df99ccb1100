"""Imported checkpoints: a directory's files, copied into the store as a family's base."""

import shutil
from datetime import datetime
from pathlib import Path

from models.admission import admissible, list_files
from models.errors import CheckpointRefusedError
from models.manifest import Manifest, Source, files_digest
from models.store import CheckpointStore


def import_base(
    store: CheckpointStore,
    directory: Path,
    *,
    family: str,
    hazards: tuple[str, ...],
    package: str,
    version: str,
    licence: str,
    now: datetime,
) -> Manifest:
    """Store the checkpoint in a directory, which stays as it is, and return its manifest.

    Args:
        store: Where it goes.
        directory: What it holds is copied, so that nothing outside the store can change it.
        family: Whose base it is.
        hazards: The family's hazard domains.
        package: Where it came from, such as a hub's repository.
        version: Which one, such as that repository's commit.
        licence: Under which it may be used.
        now: When it is stored.

    Raises:
        CheckpointRefusedError: A file may not enter, or the store has these bytes as something
            else.
        StoreFullError: No room left.
        StoreReadOnlyError: The store may not be written.
    """
    names = [path.relative_to(directory) for path in admissible(directory)]
    with store.staging() as staged:
        for name in names:
            _copy(directory / name, staged / name)
        source = Source(
            name=directory.resolve().name,
            package=package,
            version=version,
            sha256=files_digest(list_files(staged)).removeprefix("sha256:"),
            license=licence,
        )
        manifest = store.put(staged, family=family, hazards=hazards, source=source, created_at=now)
    if not manifest.is_base:
        raise CheckpointRefusedError(
            str(directory), f"it is there already, as a candidate of {manifest.family}"
        )
    return manifest


def _copy(source: Path, target: Path) -> None:
    try:
        reading = source.open("rb")
    except OSError as error:
        # Within `staging` an error of the system would be taken for one of the store's disk.
        raise CheckpointRefusedError(
            str(source), f"it cannot be read ({error.strerror})"
        ) from error
    with reading:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as writing:
            shutil.copyfileobj(reading, writing, 2**20)
