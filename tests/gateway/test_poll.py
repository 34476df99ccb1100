"""A poll sees what is committed at once, and gives no answer that was another question's."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import anyio
import pytest
from sqlalchemy import String, bindparam, func, select, text, update

from gateway.cli.tables import with_database
from gateway.db import Database
from gateway.errors import NotReadyError
from gateway.identity.changed import VERSION
from gateway.tables import AuthorizationVersion
from tests.gateway.conftest import make_settings


@pytest.fixture
def run(settings):
    """Runs a test with a database that is closed at its end."""
    return partial(with_database, settings)


OTHERS = "datname = current_database() AND pid <> pg_backend_pid()"
RAISE = update(AuthorizationVersion).values(version=AuthorizationVersion.version + 1)


async def end_connections(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(
            text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}")
        )


def test_what_is_committed_is_seen_and_what_is_not_is_not(run):
    async def test(database: Database) -> None:
        poll = database.poll(VERSION)
        before = await poll.ask()
        async with database.transaction() as session:
            await session.execute(RAISE)
            assert await poll.ask() == before
        after = await poll.ask()
        assert before is not None
        assert after is not None
        assert after.version == before.version + 1

    run(test)


def test_no_number_of_transactions_keeps_it_from_asking(run):
    async def test(database: Database) -> None:
        poll = database.poll(VERSION)
        async with AsyncExitStack() as stack:
            pool = database._engine.sync_engine.pool
            for _ in range(pool.size() + pool._max_overflow):
                session = await stack.enter_async_context(database.transaction())
                await session.execute(select(1))
            assert await asyncio.wait_for(poll.ask(), 2) is not None

    run(test)


def test_a_connection_that_ends_is_said_and_replaced(request, tmp_path):
    settings = make_settings(request, tmp_path, "postgresql")

    async def main(database: Database) -> None:
        poll = database.poll(VERSION)
        before = await poll.ask()
        await end_connections(database)
        with pytest.raises(NotReadyError):
            await poll.ask()
        assert await poll.ask() == before

    with_database(settings, main)


def test_an_answer_that_nobody_waits_for_is_not_the_next_ones(request, tmp_path):
    settings = make_settings(request, tmp_path, "postgresql")

    async def main(database: Database) -> None:
        slow = select(bindparam("said", type_=String), func.pg_sleep(0.5))
        poll = database.poll(slow)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(poll.ask({"said": "first"}), 0.1)
        answer = await poll.ask({"said": "second"})
        assert answer is not None
        assert answer[0] == "second"

    with_database(settings, main)


def test_it_ends_with_the_database(request, tmp_path):
    settings = make_settings(request, tmp_path, "postgresql")

    async def main() -> int:
        database = Database(settings)
        assert await database.poll(VERSION).ask() is not None
        await database.close()
        async with (other := Database(settings)).transaction() as session:
            found = await session.scalar(
                text(f"SELECT count(*) FROM pg_stat_activity WHERE {OTHERS}")
            )
        await other.close()
        return found

    assert anyio.run(main) == 0
