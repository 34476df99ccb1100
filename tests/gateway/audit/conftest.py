"""A database of each kind, reached from several replicas at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from gateway.audit.entry import Entry
from gateway.db import Database
from gateway.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def entry(number: int = 0, tag: str = "test:thing:done", **detail) -> Entry:
    return Entry(NOW, "test", tag, f"thing-{number}", {"number": number, **detail})


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """Open the database, at its newest schema, as a replica of its own would."""
    async with Database(settings) as database:
        current, newest = await database.revisions()
        if current != newest:
            await database.migrate()
        yield database
