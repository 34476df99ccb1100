"""One schema on both databases: migrations up, down and up again, and nothing undeclared."""

from datetime import UTC, datetime, timedelta, timezone

import anyio
import pytest
from alembic import command
from sqlalchemy import select

from gateway.cli.tables import in_transaction
from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.tiers import terms_of
from gateway.db import Database, alembic_config
from gateway.errors import ConfigurationError, NotReadyError
from gateway.identity.secret import load_secret
from gateway.policy.capabilities import Capability
from gateway.settings import Settings
from gateway.tables import AuditEntry, Tier, TierChange


def test_up_down_up_and_nothing_undeclared(settings):
    async def main() -> None:
        database = Database(settings)
        await database.migrate()
        await database.migrate("base")
        assert (await database.revisions())[0] is None
        await database.migrate()
        current, newest = await database.revisions()
        assert current == newest
        await database.close()

    anyio.run(main)
    command.check(alembic_config(Database(settings).url))


def test_the_shipped_tiers(settings):
    async def work(session):
        changes = await session.scalars(select(TierChange))
        first = {change.tier: change.terms for change in changes}
        found = {tier.name: tier for tier in await session.scalars(select(Tier))}
        assert {name: terms_of(tier) for name, tier in found.items()} == first
        return found

    tiers = in_transaction(settings, work)
    assert not tiers["public"].grantable
    assert tiers["public"].capabilities == ["raw_completions"]
    assert set(tiers["researcher"].capabilities) == set(Capability)
    assert tiers["researcher"].priority > tiers["public"].priority
    assert tiers["researcher"].grantable
    assert not tiers["operator"].grantable
    assert tiers["operator"].log_level == "all"
    assert {tier.version for tier in tiers.values()} == {1}


def test_capabilities_replace_the_flag_where_people_live_already(settings):
    """A table that other rows refer to cannot be rebuilt on SQLite."""
    import sqlalchemy as sa

    person = "INSERT INTO people (id, name, organisation, tier, state, created_at) VALUES "
    found = {}

    async def main() -> None:
        database = Database(settings)
        await database.migrate()
        await database.migrate("0002")
        async with database.transaction() as session:
            for tier in ("public", "researcher"):
                row = f"('{tier}', 'n', 'o', '{tier}', 'active', '2026-05-01')"
                await session.execute(sa.text(person + row))
        await database.migrate()
        async with database.transaction() as session:
            found.update({tier.name: tier for tier in await session.scalars(select(Tier))})
        await database.migrate("0002")
        async with database.transaction() as session:
            rows = await session.execute(sa.text("SELECT name, elevated FROM tiers"))
            assert {name: bool(flag) for name, flag in rows} == {
                "public": False,
                "researcher": True,
            }
        await database.close()

    anyio.run(main)
    assert found["public"].capabilities == ["raw_completions"]
    assert set(found["researcher"].capabilities) == set(Capability)


def test_moments_come_back_in_utc(settings):
    given = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=5)))

    async def write(session):
        await record_change(session, Tag.TIER_CHANGED, "x", actor="a", now=given)

    async def read(session):
        return (await session.scalars(select(AuditEntry))).one().at

    in_transaction(settings, write)
    found = in_transaction(settings, read)
    assert found == given
    assert found.tzinfo == UTC


def test_a_failing_transaction_leaves_nothing(settings):
    async def fail(session):
        await record_change(session, Tag.TIER_CHANGED, "x", actor="a", now=datetime.now(UTC))
        await session.flush()
        raise KeyError("half-way")

    with pytest.raises(KeyError):
        in_transaction(settings, fail)

    async def read(session):
        return list(await session.scalars(select(AuditEntry)))

    assert in_transaction(settings, read) == []


def test_a_database_that_is_down_is_not_ready_not_unauthorised(tmp_path):
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    database = Database(Settings(home=tmp_path, database_url=url))

    async def main() -> None:
        with pytest.raises(NotReadyError):
            await database.revisions()
        with pytest.raises(NotReadyError):
            async with database.transaction() as session:
                await session.execute(select(Tier))
        await database.close()

    anyio.run(main)


def test_secrets_have_no_default(tmp_path):
    embedded = Settings(home=tmp_path)
    first = load_secret(embedded).derive("x")
    path = tmp_path / "keys" / "gateway.secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_secret(embedded).derive("x") == first
    assert load_secret(embedded).derive("y") != first
    shared = Settings(home=tmp_path / "other", database_url="postgresql+psycopg://h/d")
    with pytest.raises(ConfigurationError, match="AIRLOCK_SECRET_FILE"):
        load_secret(shared)
    short = tmp_path / "short"
    short.write_bytes(b"x")
    with pytest.raises(ConfigurationError, match="fewer"):
        load_secret(Settings(home=tmp_path, secret_file=short))
