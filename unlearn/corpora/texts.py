"""Texts that are kept on disk: whole papers by tens of thousands are gigabytes.

They are in a file without a name, so that none is left behind, whatever ends the process, and only
what is looked at is in memory.
"""

import errno
import mmap
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from unlearn.errors import DiskFullError


class Texts(Sequence[str]):
    """Texts in an order, read from disk one by one."""

    def __init__(self, texts: Iterable[str], directory: Path) -> None:
        """Keep texts; they are gone through once.

        Args:
            texts: Of any number.
            directory: On whose disk they go; it is made when it is not there.

        Raises:
            DiskFullError: No room for them.
            UnicodeEncodeError: A text has half of a surrogate pair.
        """
        self._starts = array("q", [0])
        self._stored: mmap.mmap | bytes = b""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory) as file:
                for text in texts:
                    self._starts.append(self._starts[-1] + file.write(text.encode()))
                file.flush()
                if self._starts[-1]:  # Of no bytes there is no map.
                    self._stored = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError(directory) from error
            raise

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[str]:
        """Yield them in order."""
        return map(self._read, range(len(self)))

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        """Return one, or some of them."""
        places = range(len(self))[place]
        return self._read(places) if isinstance(places, int) else tuple(map(self._read, places))

    def _read(self, place: int) -> str:
        return self._stored[self._starts[place] : self._starts[place + 1]].decode()
