"""People keep their organisation across the migration that makes rows of organisations."""

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from gateway.cli.tables import in_transaction
from gateway.db import Database
from gateway.errors import NotReadyError

BEFORE = "0004"
PEOPLE = {"ada": "Lab of  Ada", "bob": "lab of ada", "eve": "Elsewhere"}


def migrate(settings, revision: str) -> None:
    async def main() -> None:
        database = Database(settings)
        await database.migrate(revision)
        await database.close()

    anyio.run(main)


async def fill(session) -> None:
    for person, organisation in PEOPLE.items():
        await session.execute(
            text("INSERT INTO people VALUES (:id, :id, :organisation, 'public', 'active', :at)"),
            {"id": person, "organisation": organisation, "at": "2026-01-01 00:00:00+00:00"},
        )
    await session.execute(
        text(
            "INSERT INTO grants (id, person_id, domain, reason, approved_by, created_at,"
            " not_before, expires_at) VALUES ('g', 'ada', 'bio', 'r', 'a', :at, :at, :end)"
        ),
        {"at": "2026-01-01 00:00:00+00:00", "end": "2036-01-01 00:00:00+00:00"},
    )


async def organisations(session) -> dict[str, str]:
    return dict((await session.execute(text("SELECT id, organisation FROM people"))).all())


def test_spellings_of_one_organisation_become_one(settings):
    if settings.database_url is not None:
        migrate(settings, "base")
    migrate_up_to(settings, BEFORE)
    database = Database(settings)

    async def main() -> None:
        async with database.transaction() as session:
            await fill(session)
        await database.migrate()
        await database.close()

    anyio.run(main)
    found = in_transaction(settings, organisations)
    assert found["ada"] == found["bob"] != found["eve"] == "Elsewhere"

    async def break_a_rule(session) -> None:
        await session.execute(text("UPDATE grants SET expires_at = not_before"))

    with pytest.raises((NotReadyError, IntegrityError)):
        in_transaction(settings, break_a_rule)

    async def name_nobody(session) -> None:
        await session.execute(text("UPDATE people SET organisation = 'nowhere'"))

    with pytest.raises((NotReadyError, IntegrityError)):
        in_transaction(settings, name_nobody)
    migrate(settings, BEFORE)

    async def count(session) -> int:
        return (await session.execute(text("SELECT count(*) FROM grants"))).scalar_one()

    async def still_there() -> None:
        database = Database(settings)
        async with database.transaction() as session:
            assert len(await organisations(session)) == 3
            assert await count(session) == 1
        await database.close()

    anyio.run(still_there)


def migrate_up_to(settings, revision: str) -> None:
    from alembic import command

    from gateway.db import alembic_config

    command.upgrade(alembic_config(Database(settings).url), revision)
