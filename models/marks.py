"""Marks: by which a look at the registry tells that its files are as they were at the last.

Only what `models.release` and `models.revocation` read, and the trust store; it is not read here.
Marks that are the same save a look, so where they cannot be had there are none.
"""

import os
from pathlib import Path

from models.store import CheckpointStore

FOLDERS = ("releases", "revocations")
Mark = tuple[str, int, int, int, int, int]
"""A file's path, device, number, size, and when its content and it itself were last changed."""


def marks_of(store: CheckpointStore, trust_file: Path) -> frozenset[Mark] | None:
    """Return the mark of every file that decides what is served; None when one cannot be seen."""
    unseen: list[OSError] = []
    files = [str(trust_file)]
    for name in FOLDERS:
        if not (store.root / name).exists():
            continue
        for folder, _, names in os.walk(store.root / name, onerror=unseen.append, followlinks=True):
            files += [os.path.join(folder, each) for each in names]
    try:
        found = frozenset([_mark(path) for path in files])
    except OSError:
        return None
    return None if unseen else found


def _mark(path: str) -> Mark:
    stat = os.stat(path)
    return (path, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
