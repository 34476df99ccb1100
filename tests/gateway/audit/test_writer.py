"""The writer: durable before it answers, in groups, and refusing when the log is out of reach."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest
from sqlalchemy import func, select

from gateway.audit import writer as module
from gateway.audit.entry import Entry, read_leaf
from gateway.audit.recorder import Caller, Recorder
from gateway.audit.writer import Writer
from gateway.db import Database
from gateway.errors import AuditUnavailableError, GrantRevokedError, NotReadyError
from gateway.metrics import Metrics
from gateway.tables import AuditEntry
from tests.gateway.audit.conftest import entry, opened


async def as_they_are(_, drafts):
    return list(drafts)


class Flaky(Database):
    """A database that is down, or silent, as often as told."""

    down = 0
    silent = False
    groups = 0

    @asynccontextmanager
    async def transaction(self):
        self.groups += 1
        if self.silent:
            await asyncio.sleep(60)
        if self.down:
            self.down -= 1
            raise NotReadyError
        async with super().transaction() as session:
            yield session


@asynccontextmanager
async def writing(settings, complete=as_they_are, timeout_seconds=2.0):
    async with opened(settings):
        pass
    database = Flaky(settings)
    writer = Writer(database, complete, Metrics("0"), timeout_seconds)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        yield writer, database
        writer.stop()
    await database.close()


async def leaves(database: Database) -> list[Entry]:
    async with database.transaction() as session:
        rows = await session.scalars(select(AuditEntry.leaf).order_by(AuditEntry.seq))
        return [read_leaf(row).entry for row in rows]


def test_concurrent_entries_share_transactions_and_are_durable_when_it_answers(settings):
    async def main() -> None:
        async with writing(settings) as (writer, database), asyncio.TaskGroup() as tasks:
            written = [tasks.create_task(writer.write(entry(i))) for i in range(250)]
            seq = await written[7]
            async with opened(settings) as other, other.transaction() as session:
                row = await session.get(AuditEntry, seq)
                assert row is not None
                assert row.subject == "thing-7"
            assert [await task for task in written] == list(range(250))
            # Two full groups and a rest; the first one may have started with a single entry.
            assert database.groups <= 4

    anyio.run(main)


@pytest.mark.parametrize("fault", ["down", "silent"])
def test_a_log_out_of_reach_refuses_and_goes_on_afterwards(settings, fault):
    async def main() -> None:
        async with writing(settings, timeout_seconds=1.0) as (writer, database):
            setattr(database, fault, 1)
            with pytest.raises(AuditUnavailableError):
                await writer.write(entry(1))
            database.silent = False
            await asyncio.sleep(0.2)
            assert await writer.write(entry(2)) == 0
            assert writer._metrics.audit_failures._value.get() == 1

    anyio.run(main)


def test_who_gave_up_waiting_is_not_written(settings):
    async def main() -> None:
        async with writing(settings, timeout_seconds=1.0) as (writer, database):
            database.silent = True
            first = asyncio.create_task(writer.write(entry(1)))
            await asyncio.sleep(0.15)
            given_up = asyncio.create_task(writer.write(entry(2)))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait({first, given_up})
            database.silent = False
            assert await writer.write(entry(3)) == 0
            assert [each.subject for each in await leaves(database)] == ["thing-3"]

    anyio.run(main)


def test_what_has_happened_is_written_once_the_log_is_back(settings, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)

    async def main() -> None:
        async with writing(settings) as (writer, database):
            database.down = 2
            writer.write_soon(entry(0))
            await asyncio.sleep(0.5)
            assert len(await leaves(database)) == 1

    anyio.run(main)


def test_stopping_writes_what_is_waiting(settings):
    async def main() -> None:
        async with writing(settings) as (writer, _):
            for number in range(150):
                writer.write_soon(entry(number))
        async with opened(settings) as other, other.transaction() as session:
            assert await session.scalar(select(func.count()).select_from(AuditEntry)) == 150

    anyio.run(main)


def test_one_refused_draft_does_not_stop_its_group(settings):
    async def complete(_, drafts):
        return [GrantRevokedError() if draft.detail["number"] == 1 else draft for draft in drafts]

    async def main() -> None:
        async with writing(settings, complete) as (writer, _), asyncio.TaskGroup() as tasks:
            good = [tasks.create_task(writer.write(entry(i))) for i in (0, 2)]
            with pytest.raises(GrantRevokedError):
                await writer.write(entry(1))
            assert sorted([await task for task in good]) == [0, 1]

    anyio.run(main)


def test_no_count_of_an_engines_keeps_the_log_from_going_on(settings):
    async def main() -> list[Entry]:
        async with writing(settings) as (writer, database):
            counts = (2**60, -(2**60))
            Recorder(writer, b"k").end("r", Caller("p", "k"), "ok", *counts)
            await writer.write(entry(1))
            return await leaves(database)

    ended, then = anyio.run(main)
    assert (ended.detail["prompt_tokens"], ended.detail["completion_tokens"]) == (2**53 - 1, 0)
    assert then.subject == "thing-1"


def test_too_much_waiting_refuses_but_never_an_outcome(settings, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 2)

    async def main() -> None:
        async with writing(settings) as (writer, database):
            writer.write_soon(entry(0))
            writer.write_soon(entry(1))
            with pytest.raises(AuditUnavailableError):
                writer.write_soon(entry(2))
            with pytest.raises(AuditUnavailableError):
                await writer.write(entry(3))
            writer.write_soon(entry(4), even_if_full=True)
            await asyncio.sleep(0.3)
            subjects = [each.subject for each in await leaves(database)]
            assert subjects == ["thing-0", "thing-1", "thing-4"]

    anyio.run(main)
