"""Locks: what one process at a time may do, by a file that it holds.

The kernel gives a lock back however its holder ends. A process id would not tell whether somebody
is there: containers have ids of their own, and share volumes.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.documents import translate


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a file's lock; the file is made, and stays.

    Args:
        path: The file, which holds nothing else.
        wait: False to fail when another holds it.

    Raises:
        BlockingIOError: `wait` is false and another holds it.
        StoreReadOnlyError: The file may not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise translate(error, path) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def is_locked(path: Path) -> bool:
    """Whether somebody holds a file's lock; one that may not be tried is taken to be held."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return False
