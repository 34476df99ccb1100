"""What ends something, while somebody else is changing it: the end stays, and is one."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import operator
from gateway.controlplane import grants, keys, people, serving
from gateway.controlplane.key_schemas import KeyIn
from gateway.controlplane.schemas import GrantIn, PersonIn
from gateway.db import Database
from gateway.errors import ConflictError
from gateway.tables import ApiKey, Grant
from models.release import CurrentReleases
from models.store import CheckpointStore
from tests.models.checkpoints import put_base
from tests.models.trusting import point, trust_in

NOW = datetime.now(UTC)
LATER = NOW + timedelta(seconds=1)
MADE = {"pepper": b"p" * 32, "maker": operator(NOW)}
Step = Callable[[AsyncSession], Awaitable[object]]


@pytest.fixture
async def database(settings):
    database = Database(settings)
    await database.prepare(settings)
    yield database
    await database.close()


async def meanwhile(database: Database, first: Step, second: Step) -> None:
    """Take a step while another one is taken and not committed yet; it must be refused."""

    async def other() -> None:
        with pytest.raises(ConflictError):
            async with database.transaction() as session:
                await second(session)

    async with anyio.create_task_group() as tasks, database.transaction() as session:
        await first(session)
        tasks.start_soon(other)
        await anyio.sleep(0.3)  # By now it has read the row, or waits for it.


async def test_a_rotation_brings_no_key_back_that_is_being_revoked(database):
    async with database.transaction() as session:
        key = (await keys.create_key(session, KeyIn(admin=True), now=NOW, **MADE)).row.id
    await meanwhile(
        database,
        lambda session: keys.revoke_key(session, key, actor="first", now=NOW),
        lambda session: keys.rotate_key(session, key, timedelta(days=7), now=NOW, **MADE),
    )
    async with database.transaction() as session:
        row = await session.get_one(ApiKey, key)
    assert (row.revoked_at, row.replaced_by) == (NOW, None)


@pytest.mark.parametrize("first", ["revocation", "promotion"])
async def test_a_release_that_is_taken_over_during_its_revocation_is_closed(
    database, tmp_path, first
):
    store = CheckpointStore(tmp_path / "store")
    trust_in(tmp_path)
    release = point(store, put_base(store, b"base").digest, "base", now=NOW)
    context = {"actor": "test", "now": NOW}

    async def promote(session) -> None:
        await serving.take_over(session, CurrentReleases((release,), ()), {}, **context)

    async def revoke(session) -> None:
        await serving.revoke_checkpoint(session, release.checkpoint, "it leaks", **context)

    async def second() -> None:
        async with database.transaction() as session:
            await (promote if first == "revocation" else revoke)(session)

    async with anyio.create_task_group() as tasks, database.transaction() as session:
        await (revoke if first == "revocation" else promote)(session)
        tasks.start_soon(second)
        await anyio.sleep(0.3)  # By now it has read what there is, or waits.
    async with database.transaction() as session:
        (row,) = await serving.current_promotions(session)
    assert row.withdrawn_reason == "its checkpoint was revoked: it leaks"


async def test_a_grant_is_revoked_once_and_by_who_came_first(database):
    context = {"actor": "test", "now": NOW}
    async with database.transaction() as session:
        ada = PersonIn(name="Ada", organisation="o", tier="researcher")
        person = await people.add_person(session, ada, **context)
        given = GrantIn(person_id=person.id, domain="capitals", reason="r")
        grant = (await grants.create_grant(session, given, **context)).id
    await meanwhile(
        database,
        lambda session: grants.revoke_grant(session, grant, actor="first", now=NOW),
        lambda session: grants.revoke_grant(session, grant, actor="second", now=LATER),
    )
    async with database.transaction() as session:
        row = await session.get_one(Grant, grant)
    assert (row.revoked_at, row.revoked_by) == (NOW, "first")
