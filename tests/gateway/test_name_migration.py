"""Organisations are found by their names as they look, also those of before."""

import anyio
import pytest
from sqlalchemy import text

from gateway.controlplane.organisations import named_organisation
from gateway.db import Database
from models.names import name_key
from tests.gateway.audit.conftest import NOW
from tests.gateway.test_organisation_migration import migrate_up_to

AT = "2026-01-01 00:00:00+00:00"
BEFORE = {
    "a": ("Institut E\u0301lan", "institut e\u0301lan"),
    "b": ("MIT", "mit"),
    "c": ("\uff2d\uff29\uff34", "\uff4d\uff49\uff54"),
}


@pytest.mark.parametrize(
    "like",
    ["the\u00a0Lab", "\uff34he Lab", "The\u200b Lab", "The Lab\ufe0f", "The L\u00adab",
     "The Lab\U000e0100", "The L\U000e01efab", "The Lab\u2800", "The Lab\U000e0fff"],
)  # fmt: skip
def test_a_name_that_looks_like_another_is_that_one(like):
    assert like != "The Lab"
    assert name_key(like) == name_key("The Lab") == "the lab"
    assert name_key("The Labs") != "the lab"


def test_names_go_up_and_down(settings):
    async def keys(session) -> dict[str, str]:
        return dict((await session.execute(text("SELECT id, name_key FROM organisations"))).all())

    async def main() -> None:
        database = Database(settings)
        if settings.database_url is not None:
            await database.migrate("0012")
        else:
            await anyio.to_thread.run_sync(migrate_up_to, settings, "0012")
        add = text("INSERT INTO organisations VALUES (:id, :name, :key, NULL, 'verified', :at)")
        async with database.transaction() as session:
            for row, (name, key) in BEFORE.items():
                await session.execute(add, {"id": row, "name": name, "key": key, "at": AT})
        await database.migrate()
        async with database.transaction() as session:
            assert await keys(session) == {
                "a": "institut \u00e9lan",
                "b": "mit",
                "c": BEFORE["c"][1],  # Two that are one by now stay two, and the other is found.
            }
            for name, found in (("INSTITUT \u00c9LAN", "a"), (BEFORE["c"][0], "b")):
                assert (await named_organisation(session, name, NOW)).id == found
        await database.migrate("0012")
        async with database.transaction() as session:
            assert await keys(session) == {row: key for row, (_, key) in BEFORE.items()}
        await database.close()

    anyio.run(main)
