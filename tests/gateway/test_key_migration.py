"""Keys of before scopes keep working for what weighs little; none is whole again by going back."""

from datetime import UTC, datetime, timedelta

import anyio
from sqlalchemy import text

from gateway.db import Database
from gateway.identity.key_records import load_keys
from gateway.policy.scopes import OF_ADMINISTRATORS, OF_WORKFLOW, Scope
from tests.gateway.test_organisation_migration import migrate_up_to

BEFORE = "0009"
NEWER = {Scope.CONTENTS}
"""Scopes that came after them, which no older key has."""
KEYS = {"caller": ("key", "ada"), "review": ("workflow", "ada"), "root": ("admin", None)}
AT = "2026-01-01 00:00:00+00:00"
ROW = (
    "INSERT INTO api_keys (id, kind, person_id, label, secret_hmac, pepper_version, created_at)"
    " VALUES (:id, :kind, :person, 'l', :hmac, 1, :at)"
)


async def fill(session) -> None:
    await session.execute(
        text(
            "INSERT INTO organisations (id, name, name_key, state, created_at)"
            " VALUES ('o', 'o', 'o', 'verified', :at)"
        ),
        {"at": AT},
    )
    await session.execute(
        text(
            "INSERT INTO people (id, name, organisation, tier, state, created_at)"
            " VALUES ('ada', 'Ada', 'o', 'public', 'active', :at)"
        ),
        {"at": AT},
    )
    for key, (kind, person) in KEYS.items():
        given = {"id": key, "kind": kind, "person": person, "hmac": bytes(32), "at": AT}
        await session.execute(text(ROW), given)
    await session.execute(text("UPDATE api_keys SET replaced_by = 'caller' WHERE id = 'review'"))


async def ended(session) -> set[str]:
    query = text("SELECT id FROM api_keys WHERE revoked_at IS NOT NULL")
    return {row.id for row in await session.execute(query)}


def test_keys_go_up_and_down(settings):
    async def main() -> None:
        database = Database(settings)
        if settings.database_url is not None:
            await database.migrate(BEFORE)
        else:
            await anyio.to_thread.run_sync(migrate_up_to, settings, BEFORE)
        async with database.transaction() as session:
            await fill(session)
        await database.migrate()
        async with database.transaction() as session:
            found = await load_keys(session)
            assert found["caller"].rights is None
            for key, scopes in (("review", OF_WORKFLOW - NEWER), ("root", OF_ADMINISTRATORS)):
                rights = found[key].rights
                assert rights is not None
                assert rights.scopes == scopes
                assert rights.proof is None, "it takes no step that matters"
            await session.execute(
                text(ROW), {"id": "narrow", "kind": "key", "person": "ada", "hmac": b"", "at": AT}
            )
            await session.execute(text("UPDATE api_keys SET domains = '[]' WHERE id = 'narrow'"))
        await database.migrate(BEFORE)
        async with database.transaction() as session:
            assert await ended(session) == {"narrow", "review", "root"}
            row = await session.execute(text("SELECT max(revoked_at) FROM api_keys"))
            at = datetime.fromisoformat(str(row.scalar_one()))
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            assert abs(datetime.now(UTC) - at) < timedelta(minutes=5)
        await database.migrate()
        async with database.transaction() as session:
            again = await load_keys(session)
            assert again["narrow"].revoked_at is not None
        await database.close()

    anyio.run(main)
