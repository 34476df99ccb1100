"""PostgreSQL tells each gateway what another one announces, and its end is an error."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from gateway import announcements as module
from gateway.announcements import CHANGES, SUSPECTS, Announcement, Announcer, announcements
from gateway.cli.tables import with_database
from gateway.controlplane.changes import Tag, record_change
from gateway.db import Database
from gateway.errors import NotReadyError
from tests.gateway.conftest import make_settings
from tests.servers import wait_for

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

    async def main(database: Database) -> None:
        heard = announcements(database.url, [CHANGES, SUSPECTS])
        # It listens.
        assert [await anext(heard) for _ in range(2)] == [(CHANGES, ""), (SUSPECTS, "")]
        with pytest.raises(KeyError):
            await change(database, fails=True)
        following = asyncio.ensure_future(anext(heard))
        await asyncio.sleep(SILENCE_SECONDS)
        assert not following.done(), "what was undone is not announced"
        await change(database)
        assert await asyncio.wait_for(following, 10) == Announcement(CHANGES, "")
        following = asyncio.ensure_future(anext(heard))
        await kill_listeners(database)
        with pytest.raises(NotReadyError):
            await asyncio.wait_for(following, 10)

    with_database(settings, main)


@contextlib.asynccontextmanager
async def announcing(database: Database, hear: Callable[[str], None]):
    """Run an announcer, once it listens."""
    announcer, listens = Announcer(database), asyncio.Event()
    tasks = [
        asyncio.create_task(announcer.speak()),
        asyncio.create_task(
            announcer.listen({SUSPECTS: lambda said: hear(said) if said else listens.set()})
        ),
    ]
    await asyncio.wait_for(listens.wait(), 10)
    try:
        yield announcer, listens
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def test_what_is_told_reaches_each_gateway_once(request, tmp_path):
    settings = make_settings(request, tmp_path, "postgresql")

    async def main(database: Database) -> None:
        heard = asyncio.Queue()
        async with (
            announcing(database, lambda said: heard.put_nowait((1, said))) as (one, _),
            announcing(database, lambda said: heard.put_nowait((2, said))),
        ):
            for number in (*range(300), *range(300)):
                one.tell(SUSPECTS, f"{number:064x}")
            said = [await asyncio.wait_for(heard.get(), 10) for _ in range(600)]
            await asyncio.sleep(SILENCE_SECONDS)
            assert heard.empty()
        assert sorted(said) == [(who, f"{n:064x}") for who in (1, 2) for n in range(300)]

    with_database(settings, main)


def test_what_cannot_be_told_is_lost_and_the_next_is_told(request, tmp_path, monkeypatch, caplog):
    settings = make_settings(request, tmp_path, "postgresql")
    monkeypatch.setattr(module, "LISTEN_AGAIN_SECONDS", 0.01)

    async def main(database: Database) -> None:
        heard = asyncio.Queue()
        async with announcing(database, heard.put_nowait) as (announcer, listens):
            announcer.tell(SUSPECTS, "x" * 8000)  # More than an announcement can hold.
            await asyncio.to_thread(wait_for, lambda: "are not told" in caplog.text)
            listens.clear()
            await kill_listeners(database)
            await asyncio.wait_for(listens.wait(), 10)
            announcer.tell(SUSPECTS, "next")
            assert await asyncio.wait_for(heard.get(), 10) == "next"

    with_database(settings, main)


def test_a_database_that_does_not_answer_is_given_up_and_asked_once_for_each_news(
    request, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "SPEAK_SECONDS", 0.1)

    async def main() -> None:
        database = Database(make_settings(request, tmp_path, "postgresql"))
        asked: asyncio.Queue = asyncio.Queue()

        async def silent(statement) -> None:
            asked.put_nowait(statement)
            await asyncio.sleep(60)

        monkeypatch.setattr(database, "execute_apart", silent)
        announcer = Announcer(database)
        speaking = asyncio.create_task(announcer.speak())
        for text_ in ("first", "second"):
            announcer.tell(SUSPECTS, text_)
            await asyncio.wait_for(asked.get(), 10)
        await asyncio.sleep(SILENCE_SECONDS)
        assert asked.empty()
        speaking.cancel()

    asyncio.run(main())


def test_who_cannot_take_in_an_announcement_hears_the_next(request, tmp_path, caplog):
    settings = make_settings(request, tmp_path, "postgresql")

    async def main(database: Database) -> None:
        heard = asyncio.Queue()

        def hear(said: str) -> None:
            if said == "odd":
                raise KeyError(said)
            heard.put_nowait(said)

        async with announcing(database, hear) as (announcer, _):
            announcer.tell(SUSPECTS, "odd")
            announcer.tell(SUSPECTS, "next")
            assert await asyncio.wait_for(heard.get(), 10) == "next"

    with_database(settings, main)
    assert "could not be taken in" in caplog.text


def test_requests_that_have_every_connection_do_not_keep_it_from_speaking(request, tmp_path):
    settings = make_settings(request, tmp_path, "postgresql")

    async def main(database: Database) -> None:
        heard = asyncio.Queue()
        async with (
            announcing(database, heard.put_nowait) as (announcer, _),
            contextlib.AsyncExitStack() as stack,
        ):
            for _ in range(15):  # As many as the pool has.
                session = await stack.enter_async_context(database.transaction())
                await session.execute(text("SELECT 1"))
            announcer.tell(SUSPECTS, "x")
            assert await asyncio.wait_for(heard.get(), 4) == "x"

    with_database(settings, main)


def test_no_more_is_kept_for_a_database_that_is_down_than_is_bounded(request, tmp_path):
    announcer = Announcer(Database(make_settings(request, tmp_path, "postgresql")))
    for number in range(2 * module.MOST_UNSAID):
        announcer.tell(SUSPECTS, str(number))
    assert len(announcer._unsaid) == module.MOST_UNSAID


def test_the_embedded_database_announces_nothing(request, tmp_path):
    settings = make_settings(request, tmp_path, "sqlite")

    async def main(database: Database) -> None:
        assert [one async for one in announcements(database.url, [CHANGES])] == []
        announcer = Announcer(database)
        announcer.tell(SUSPECTS, "x")
        assert not announcer._unsaid

    with_database(settings, main)
