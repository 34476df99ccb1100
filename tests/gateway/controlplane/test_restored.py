"""A database that was brought back to an earlier time opens no door by itself."""

from datetime import UTC, datetime

import anyio
import pytest
from sqlalchemy import select, text

from gateway.cli.tables import in_transaction
from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.restored import FILE, Epoch, read_epoch, write_epoch
from gateway.dataplane.batches.shelf import older_than
from gateway.db import Database
from gateway.errors import ConfigurationError, NotReadyError
from gateway.tables import AuthorizationVersion, Closure
from tests.gateway.controlplane.workflow import Workflow
from tests.servers import wait_for


def version_of(settings) -> int:
    async def work(session):
        return await session.scalar(select(AuthorizationVersion.version))

    return in_transaction(settings, work)


def put_back(settings, version: int, *statements: str) -> None:
    """Do to the database what restoring an earlier one does, as one transaction."""

    async def work(session):
        for statement in (*statements, f"UPDATE authorization_version SET version = {version}"):
            await session.execute(text(statement))

    in_transaction(settings, work)


def closures(settings) -> list[Closure]:
    async def work(session):
        return list(await session.scalars(select(Closure)))

    return in_transaction(settings, work)


def base(running) -> int:
    """The status at the base door; a busy machine's gateway does not know for a moment."""

    def status() -> int:
        answer = running.chat("researcher", "smollm2:base")
        return 0 if '"not_ready"' in answer.text else answer.status_code

    running.wait_until_seen()
    return wait_for(status)


def test_a_grant_that_a_restore_brings_back_opens_nothing_until_two_people_say_so(fresh):
    workflow = Workflow(fresh)
    assert base(fresh) == 200
    before = version_of(fresh.settings)
    fresh.admin("POST", f"/grants/{fresh.grants['researcher']}/revoke")
    assert base(fresh) == 403
    file = fresh.settings.home / "files" / FILE
    wait_for(lambda: file.exists() and read_epoch(file) > before)
    served = len(fresh.engines["base"].bodies)

    put_back(fresh.settings, before, "UPDATE grants SET revoked_at = NULL, revoked_by = NULL")
    found = wait_for(lambda: closures(fresh.settings))
    assert [(one.domain, one.closed_by) for one in found] == [(None, "restore")]
    assert "was seen" in found[0].reason
    assert version_of(fresh.settings) > before + 1
    for _ in range(10):
        assert fresh.chat("researcher", "smollm2:base").status_code in (403, 503)
    assert fresh.chat("researcher", "smollm2:unlearned").status_code == 200
    assert len(fresh.engines["base"].bodies) == served, "not one answer"

    lift = workflow.must("app", "POST", f"/closures/{found[0].id}/lift", reason="looked at")["id"]
    assert base(fresh) == 403, "one person is not enough"
    workflow.must("rex", "POST", f"/openings/{lift}/confirm")
    assert base(fresh) == 200
    assert len(closures(fresh.settings)) == 1


def test_a_gateway_that_starts_on_it_knows_from_the_file(settings, tmp_path):
    files = tmp_path / "kept"

    async def main() -> None:
        database = Database(settings)
        await database.migrate()
        first = Epoch(files, database)
        async with database.transaction() as session:
            assert await first.check(session, 41) == 41
        with anyio.move_on_after(0.4):
            await first.keep()
        second, third = Epoch(files, database), Epoch(files, database)
        async with database.transaction() as session:
            assert await second.check(session, 7) == 42
        # Another one, that looked before: it undoes what it was about to do.
        with pytest.raises(NotReadyError):
            async with database.transaction() as session:
                await third.check(session, 7)
        async with database.transaction() as session:
            assert await third.check(session, 42) == 42
            assert len(list(await session.scalars(select(Closure)))) == 1
        await database.close()

    anyio.run(main)
    assert read_epoch(files / FILE) == 41


def test_the_file_never_goes_back_and_must_be_understood(tmp_path):
    file = tmp_path / "files" / FILE
    assert read_epoch(file) == 0
    write_epoch(file, 5)
    write_epoch(file, 3)
    assert read_epoch(file) == 5
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("five")
    with pytest.raises(ConfigurationError, match="remove it"):
        Epoch(tmp_path / "files", Database.__new__(Database))


def test_the_sweep_of_uploaded_files_does_not_take_the_file_for_one(tmp_path):
    write_epoch(tmp_path / "files" / FILE, 5)
    (tmp_path / "files" / "orphan").write_text("x")
    assert older_than(tmp_path / "files", -60) == ["orphan"]
    assert (tmp_path / "files").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("is_forked", [False, True])
def test_the_witness_knows_of_more_than_the_log_holds(settings, tmp_path, is_forked):
    async def main() -> None:
        database = Database(settings)
        await database.migrate()
        epoch = Epoch(tmp_path / "kept", database)
        async with database.transaction() as session:
            await record_change(session, Tag.TIER_CHANGED, "x", actor="a", now=datetime.now(UTC))
        await epoch.witnessed(1, False)
        async with database.transaction() as session:
            assert not list(await session.scalars(select(Closure)))
        for _ in range(2):
            await epoch.witnessed(1 if is_forked else 9, is_forked)
        async with database.transaction() as session:
            (closure,) = await session.scalars(select(Closure))
            assert "witnessed" in closure.reason
        await database.close()

    anyio.run(main)
