"""Marks: by which a look at the registry tells that its files are as they were at the last.

Only what `models.release` and `models.revocation` read, found as they find it, and the trust store;
nothing is read here. Where one cannot be seen there are no marks, and a look is made.
"""

from pathlib import Path

from models.store import CheckpointStore

READ = ("releases/*/*/*.json", "revocations/*.json")
Mark = tuple[str, int, int, int, int, int]
"""A file's path, device, number, size, and when its content and it itself were last changed."""


def marks_of(store: CheckpointStore, trust_file: Path) -> frozenset[Mark] | None:
    """Return the mark of every file that decides what is served; None when one cannot be seen."""
    try:
        files = [path for pattern in READ for path in store.root.glob(pattern)]
        return frozenset([_mark(path) for path in (trust_file, *files)])
    except OSError:
        return None


def _mark(path: Path) -> Mark:
    stat = path.stat()
    return (str(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
