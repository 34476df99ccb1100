"""A database that was brought back to an earlier time opens no door by itself."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from sqlalchemy import select, text, update

from gateway.cli.tables import in_transaction, with_database
from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.people import add_person
from gateway.controlplane.restored import (
    FILE,
    HISTORY,
    Epoch,
    Seen,
    close_everything,
    read_epoch,
    read_history,
    write_epoch,
    write_history,
)
from gateway.controlplane.schemas import PersonIn
from gateway.controlplane.sessions import find_session
from gateway.dataplane.batches.shelf import older_than
from gateway.db import Database
from gateway.errors import ConfigurationError, NotReadyError
from gateway.identity.cookie import new_secret, secret_hmac
from gateway.identity_errors import InvalidSessionError
from gateway.tables import (
    Address,
    AuditEntry,
    AuthorizationVersion,
    Closure,
    ContentOpening,
    FirstAdministratorCode,
    InstitutionMail,
    LoginSession,
    Organisation,
)
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


async def kept(epoch, is_kept) -> None:
    """Have an epoch keep its files until they say what they should."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(epoch.keep)
        with anyio.fail_after(30):
            while not is_kept():  # noqa: ASYNC110 - a file
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


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

    async def main(database: Database) -> None:
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

    with_database(settings, main)
    assert read_epoch(files / FILE) == 41


@pytest.mark.parametrize("knows_from", ["memory", "file"])
def test_changes_that_took_it_past_what_was_seen_do_not_hide_it(settings, tmp_path, knows_from):
    files = tmp_path / "kept"

    async def change(session, times: int) -> None:
        for _ in range(times):
            await record_change(session, Tag.TIER_CHANGED, "x", actor="a", now=datetime.now(UTC))

    async def checked(database, epoch) -> list[Closure]:
        async with database.transaction() as session:
            version = await session.scalar(select(AuthorizationVersion.version))
            await epoch.check(session, version)
        async with database.transaction() as session:
            return list(await session.scalars(select(Closure)))

    async def main(database: Database) -> None:
        first = Epoch(files, database)
        async with database.transaction() as session:
            await change(session, 3)
            before = await session.scalar(select(AuthorizationVersion.version))
        assert await checked(database, first) == []
        await kept(first, lambda: read_history(files / HISTORY) is not None)
        async with database.transaction() as session:
            # As in a backup that was made a change before, and has seen others since.
            await session.execute(
                text(f"DELETE FROM authorization_changes WHERE version >= {before}")
            )
            back = update(AuthorizationVersion).values(version=before - 1)
            await session.execute(back)
            await change(session, 4)
        late = Epoch(files, database) if knows_from == "file" else first
        (closure,) = await checked(database, late)
        assert f"another version {before} than was seen" in closure.reason
        # Nobody else who knew of it, nor a later start, closes once more.
        for epoch in (late, Epoch(files, database)):
            assert len(await checked(database, epoch)) == 1

    with_database(settings, main)


def test_somebody_who_begins_anew_is_not_held_to_the_history_of_before(settings, tmp_path):
    files = tmp_path / "kept"
    write_epoch(files / FILE, 7)
    write_history(files / HISTORY, Seen(7, "of before"))

    async def main(database: Database) -> None:
        (files / FILE).unlink()
        epoch = Epoch(files, database)
        async with database.transaction() as session:
            for _ in range(9):
                await record_change(
                    session, Tag.TIER_CHANGED, "x", actor="a", now=datetime.now(UTC)
                )
            version = await session.scalar(select(AuthorizationVersion.version))
            assert await epoch.check(session, version) == version
        await kept(epoch, lambda: read_history(files / HISTORY) != Seen(7, "of before"))
        async with database.transaction() as session:
            assert await Epoch(files, database).check(session, version) == version

    with_database(settings, main)


def test_what_is_good_once_is_not_good_in_a_restored_database(settings):
    """Sessions that were ended since, codes and links that were used, contents handed out."""
    now, pepper = datetime.now(UTC), b"p" * 32
    later, secret = now + timedelta(hours=1), new_secret()

    async def main(database: Database) -> None:
        async with database.transaction() as session:
            given = PersonIn(name="Ada", organisation="o", tier="public")
            ada = await add_person(session, given, actor="a", now=now)
            organisation = await session.scalar(select(Organisation.id))
            session.add_all(
                [
                    LoginSession(
                        id="s", secret_hmac=secret_hmac(pepper, secret), person_id=ada.id,
                        issuer="i", subject="s", created_at=now, seen_at=now, expires_at=later,
                    ),
                    Address(
                        id="a", person_id=ada.id, pending_email="ada@lab.example", nonce="n",
                        pending_until=later, asked_at=now,
                    ),
                    InstitutionMail(
                        id="m", person_id=ada.id, organisation_id=organisation, mailbox=b"m",
                        email="ada@lab.example", nonce="n", asked_at=now, expires_at=later,
                        attempts=0,
                    ),
                    ContentOpening(
                        id="o", request_id="r", about=ada.id, reason="r", asked_by=ada.id,
                        asked_at=now, approved_by=await other(session), approved_at=now,
                    ),
                    FirstAdministratorCode(id=1, code_hmac=b"c" * 32, expires_at=later),
                ]
            )  # fmt: skip
        async with database.transaction() as session:
            live = {"pepper": pepper, "settings": settings, "now": now}
            assert (await find_session(session, secret, **live)).id == "s"
            await close_everything(session, "r", above=9, now=now)
        async with database.transaction() as session:
            with pytest.raises(InvalidSessionError):
                await find_session(session, secret, **live)
            assert (await session.get_one(Address, "a")).nonce is None
            mail = await session.get_one(InstitutionMail, "m")
            assert (mail.nonce, mail.email, mail.evidence_id) == (None, None, None)
            opening = await session.get_one(ContentOpening, "o")
            assert (opening.approved_at, opening.asked_at) == (None, now)
            assert await session.get(FirstAdministratorCode, 1) is None
            leaf = (await session.scalars(select(AuditEntry.leaf).order_by(AuditEntry.seq))).all()
            assert b'"ended":{"codes":1,"links":1,"openings":1,"sessions":1}' in leaf[-1]

    async def other(session) -> str:
        given = PersonIn(name="App", organisation="o", tier="public")
        return (await add_person(session, given, actor="a", now=now)).id

    with_database(settings, main)


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
    async def main(database: Database) -> None:
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

    with_database(settings, main)
