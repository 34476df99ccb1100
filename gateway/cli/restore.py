"""`airlock restore`: verify a backup, or put it back with every door closed."""

import argparse
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import anyio
from alembic.script import ScriptDirectory
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.checkpoint import Note, SignerKey, parse_note
from gateway.audit.log import read_head
from gateway.audit.log_key import log_signer
from gateway.audit.verify import EXIT_CODES, Finding
from gateway.cli.backup import add_tools
from gateway.cli.tables import ACTOR
from gateway.controlplane.backup import (
    Manifest,
    put_back_parts,
    read_backup,
    record_backup,
    verify_log,
)
from gateway.controlplane.changes import Tag
from gateway.controlplane.dump import Dumper
from gateway.controlplane.lost import Lost, end_again, lost_entries
from gateway.controlplane.restored import FILE, ahead, close_everything, read_epoch
from gateway.db import MIGRATIONS, Database, database_url
from gateway.errors import AirlockError, ConfigurationError
from gateway.identity.secret import load_secret
from gateway.settings import Settings
from gateway.tables import AuthorizationVersion

EXAMPLES = """\
A database of an earlier time does not know what was revoked since. So every grant is closed until
two approvers lift the closure (airlock breakglass lift, confirm), and what an export that was taken
later says was revoked is revoked again. docs/backup.md has the whole way.

exit status: 0; 10 to 15 as of `airlock audit verify` when the audit log in it is not whole.

examples:
  airlock restore backups/2026-05-01 --verify
  airlock restore backups/2026-05-01 --dry-run
  airlock restore backups/2026-05-01 --lost audit.jsonl --kept witness.state
  airlock restore --close        # the database was brought back by other means
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("backup", type=Path, nargs="?", help="the backup's directory")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--verify", action="store_true", help="load a copy elsewhere and check it")
    how.add_argument("--dry-run", action="store_true", help="only say what would be replaced")
    how.add_argument("--close", action="store_true", help="close every door, and load nothing")
    parser.add_argument(
        "--lost", type=Path, metavar="FILE", help="an export taken after the backup"
    )
    parser.add_argument(
        "--kept", type=Path, action="append", default=[], help="a checkpoint kept elsewhere"
    )
    add_tools(parser)


class _Job(NamedTuple):
    """What every step needs."""

    settings: Settings
    signer: SignerKey
    dumper: Dumper
    kept: list[Note]
    newer: list[bytes] | None
    now: datetime


def run(args: argparse.Namespace) -> int:
    """Run the verb.

    Raises:
        ConfigurationError: It cannot be done.
    """
    if (args.backup is None) != args.close:
        raise ConfigurationError("name a backup, or --close")
    settings = Settings(home=args.home)
    job = _Job(
        settings,
        log_signer(settings, load_secret(settings)),
        Dumper(database_url(settings), args.postgres_bin, os.environ),
        [parse_note(path.read_text()) for path in args.kept],
        args.lost.read_bytes().splitlines() if args.lost else None,
        datetime.now(UTC),
    )
    if args.close:
        return anyio.run(_finish, job, 0)
    manifest = read_backup(args.backup, job.signer)
    if manifest.database != job.dumper.file_name:
        raise ConfigurationError(f"the backup holds {manifest.database}, which is of another kind")
    newest = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if newest is None or manifest.schema_revision > newest:
        raise ConfigurationError(
            f"the backup's schema is {manifest.schema_revision}, this code's {newest}: restore it "
            f"with Airlock {manifest.airlock}"
        )
    job.kept.append(parse_note(manifest.audit_note))
    print(f"made {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC by {manifest.airlock}")
    print(f"schema {manifest.schema_revision}, version {manifest.version}")
    if args.verify:
        return anyio.run(_verify, job, args.backup / manifest.database, manifest.made_at)
    before = anyio.run(_version, settings) if _is_there(job) else None
    print(f"here is {'no database that answers' if before is None else f'version {before}'} now")
    if args.dry_run:
        print(f"would replace the database and put back what is missing of {len(manifest.files)}")
        return 0
    return _put_back(job, args.backup, manifest, before or 0)


def _put_back(job: _Job, source: Path, manifest: Manifest, before: int) -> int:
    settings = job.settings
    files = settings.files_folder or settings.home / "files"
    # So that a gateway closes every door that starts after this was killed half way.
    with ahead(files, max(before, manifest.version) + 1):
        where = job.dumper.load(source / manifest.database, job.now)
    print(f"what was there before is {where}")
    trust = settings.trust_file or settings.home / "trust" / "keys.json"
    count = put_back_parts(source, manifest, settings.home, files, trust)
    print(f"{count} files beside it were missing and are back")
    return anyio.run(_finish, job, max(before, manifest.version))


async def _finish(job: _Job, seen: int) -> int:
    """Close the doors, revoke again, and say what is lost."""
    files = job.settings.files_folder or job.settings.home / "files"
    above = max(seen, read_epoch(files / FILE))
    async with Database(job.settings) as database:
        current, newest = await database.revisions()
        if current != newest:
            await database.migrate()
        async with database.transaction() as session:
            head = await read_head(session, job.signer.name)
            version = await session.scalar(select(AuthorizationVersion.version)) or 0
            reason = f"{head.size} audit entries and version {version}, by the command line"
            await close_everything(session, reason, above=max(above, version), now=job.now)
        async with database.transaction() as session:
            found = await verify_log(session, job.signer, head, job.kept, job.newer)
            print(f"audit log: {found.finding}: {found.reason}")
            # Of an export that contradicts this database nothing is believed.
            if job.newer is not None and found.finding in (Finding.INTACT, Finding.TRUNCATED):
                await _say_what_is_lost(session, job, lost_entries(job.newer, head.size))
    print("every grant is closed: airlock breakglass closures, lift, confirm")
    return EXIT_CODES[found.finding]


async def _say_what_is_lost(session: AsyncSession, job: _Job, lost: Lost) -> None:
    for line in await end_again(session, lost.changes, job.now):
        print(f"done again: {line}")
    for leaf in lost.changes:
        entry = leaf.entry
        # What a person's tier or an organisation's domains were set to stands nowhere else here.
        print(
            f"lost: {leaf.seq} {entry.at:%Y-%m-%d %H:%M:%S} {entry.actor}: "
            f"{entry.tag} {entry.subject} {json.dumps(entry.detail, sort_keys=True)}"
        )
    for tag, count in sorted(lost.requests.items()):
        print(f"lost: {count} of {tag}")


async def _verify(job: _Job, source: Path, made_at: datetime) -> int:
    with tempfile.TemporaryDirectory() as folder, job.dumper.scratch(source, Path(folder)) as url:
        address = url.render_as_string(hide_password=False)
        other = job.settings.model_copy(
            update={"database_url": address, "database_password_file": None}
        )
        async with Database(other) as database:
            current, newest = await database.revisions()
            async with database.transaction() as session:
                head = await read_head(session, job.signer.name)
                found = await verify_log(session, job.signer, head, job.kept, job.newer)
    print(f"schema {current}, of the code {newest}")
    print(f"audit log: {found.finding}: {found.reason}")
    # Where a copy is verified on another host, there is no log to enter it in.
    if found.finding is Finding.INTACT and _is_there(job):
        await _record_verified(job, made_at)
    return EXIT_CODES[found.finding]


async def _record_verified(job: _Job, made_at: datetime) -> None:
    async with Database(job.settings) as database:
        try:
            current, newest = await database.revisions()
            if current != newest:
                print("not entered in the audit log: the database's schema is not the code's")
                return
            async with database.transaction() as session:
                await record_backup(session, Tag.BACKUP_VERIFIED, made_at, actor=ACTOR, now=job.now)
        except AirlockError as error:
            print(f"not entered in the audit log: {error}")


def _is_there(job: _Job) -> bool:
    """Whether there may be a database: asking SQLite for a file that is not there would make it."""
    return not job.dumper.is_sqlite or Path(job.dumper.url.database or "").exists()


async def _version(settings: Settings) -> int | None:
    async with Database(settings) as database:
        try:
            async with database.transaction() as session:
                return await session.scalar(select(AuthorizationVersion.version))
        except AirlockError:
            return None
