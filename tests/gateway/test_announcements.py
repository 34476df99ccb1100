"""PostgreSQL announces changes of access once they are committed, and its end is an error."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from gateway.controlplane.changes import Tag, record_change
from gateway.db import Database
from gateway.errors import NotReadyError
from tests.gateway.conftest import make_settings

SILENCE_SECONDS = 0.2


async def change(database: Database, *, fails: bool = False) -> None:
    async with database.transaction() as session:
        now = datetime.now(UTC)
        await record_change(session, Tag.PERSON_CHANGED, "x", actor="test", now=now)
        if fails:
            raise KeyError


async def kill_listeners(database: Database) -> None:
    listening = "query LIKE 'LISTEN%' AND datname = current_database()"
    async with database.transaction() as session:
        await session.execute(
            text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {listening}")
        )


def test_a_change_is_announced_when_it_is_committed(request, tmp_path):
    settings = make_settings(request, tmp_path, "postgresql")

    async def main() -> None:
        database = Database(settings)
        heard = database.announcements()
        await anext(heard)  # It listens.
        with pytest.raises(KeyError):
            await change(database, fails=True)
        following = asyncio.ensure_future(anext(heard))
        await asyncio.sleep(SILENCE_SECONDS)
        assert not following.done(), "what was undone is not announced"
        await change(database)
        await asyncio.wait_for(following, 10)
        following = asyncio.ensure_future(anext(heard))
        await kill_listeners(database)
        with pytest.raises(NotReadyError):
            await asyncio.wait_for(following, 10)
        await database.close()

    asyncio.run(main())


def test_the_embedded_database_announces_nothing(request, tmp_path):
    settings = make_settings(request, tmp_path, "sqlite")

    async def main() -> None:
        database = Database(settings)
        assert [None async for _ in database.announcements()] == []
        await database.close()

    asyncio.run(main())
