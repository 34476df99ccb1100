"""Scratch directories: where something is written until it is whole, swept when its writer is gone.

A lock beside the content says whether the writer lives:

    <parent>/<prefix>…/lock        held by the writer
    <parent>/<prefix>…/content/    what it writes
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.locks import is_locked, locked

LOCK = "lock"
UNLOCKED = ".unlocked-"
"""How a directory is called until its lock is held: sweepers leave it alone."""


@contextmanager
def scratch(parent: Path, prefix: str = "") -> Iterator[Path]:
    """Yield an empty directory that only its owner can enter; it is gone afterwards.

    Args:
        parent: Where it is made; what dead processes left there is removed first.
        prefix: How the names of scratch directories begin there.

    Raises:
        OSError: It may not be written there, or no room is left.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent, prefix)
    made = Path(tempfile.mkdtemp(prefix=UNLOCKED, dir=parent))
    own = parent / f"{prefix}{made.name.removeprefix(UNLOCKED)}"
    try:
        with locked(made / LOCK):
            made.rename(own)
            content = own / "content"
            content.mkdir(mode=0o700)
            yield content
    finally:
        for path in (made, own):
            shutil.rmtree(path, ignore_errors=True)


def sweep(parent: Path, prefix: str = "") -> None:
    """Remove the scratch directories whose writers are gone."""
    for leftover in parent.glob(f"{prefix}*"):
        if not leftover.name.startswith(UNLOCKED) and not is_locked(leftover / LOCK):
            shutil.rmtree(leftover, ignore_errors=True)
