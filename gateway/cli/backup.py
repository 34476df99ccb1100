"""`airlock backup`: copy everything that cannot be made again, while gateways work."""

import argparse
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import anyio

from gateway.audit.log_key import log_signer
from gateway.cli.tables import ACTOR
from gateway.controlplane.backup import (
    copy_parts,
    moment_of,
    parts,
    record_backup,
    version_of,
    write_manifest,
)
from gateway.controlplane.changes import Tag
from gateway.controlplane.dump import Dumper
from gateway.db import Database
from gateway.errors import ConfigurationError
from gateway.identity.secret import load_secret
from gateway.settings import Settings

EXAMPLES = """\
The gateway's secret and the weights are not in it: docs/backup.md says what else to keep.

examples:
  airlock backup --to backups/2026-05-01
  airlock backup --to backups/2026-05-01 --with-files --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="a new directory")
    parser.add_argument("--with-files", action="store_true", help="also what callers uploaded")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be copied")
    add_tools(parser)


def add_tools(parser: argparse.ArgumentParser) -> None:
    """Declare where PostgreSQL's programs are."""
    parser.add_argument(
        "--postgres-bin", type=Path, metavar="DIR", help="where pg_dump and pg_restore are (PATH)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings = Settings(home=args.home)
    files = settings.files_folder or settings.home / "files"
    trust = settings.trust_file or settings.home / "trust" / "keys.json"
    found = list(parts(settings.home, files if args.with_files else None, trust))
    if args.dry_run:
        for path, name in found:
            print(f"{name}  {path.stat().st_size} bytes")
        print(f"the database, and {len(found)} files beside it")
        return 0
    if args.to.exists():
        raise ConfigurationError(f"{args.to} exists: a backup gets a directory of its own")
    anyio.run(_back_up, settings, args, found)
    return 0


async def _back_up(
    settings: Settings, args: argparse.Namespace, found: list[tuple[Path, str]]
) -> None:
    now, signer = datetime.now(UTC), log_signer(settings, load_secret(settings))
    async with Database(settings) as database:
        dumper = Dumper(database.url, args.postgres_bin, os.environ)
        current, newest = await database.revisions()
        if current is None or current != newest:
            schema = current or "(none)"
            raise ConfigurationError(f"the database has schema {schema}, the code {newest}")
        async with database.transaction() as session:
            moment = await moment_of(session, signer, now)
        args.to.mkdir(mode=0o700, parents=True)
        try:
            # The database first: what its rows name beside it is there already.
            await anyio.to_thread.run_sync(dumper.dump, args.to / dumper.file_name)
            async with database.transaction() as session:
                # Changes went on meanwhile, and the copy may hold them.
                moment = moment._replace(version=await version_of(session))
            copy_parts(iter(found), args.to)
            manifest = write_manifest(args.to, now, current, dumper.file_name, moment, signer)
        except BaseException:
            shutil.rmtree(args.to)
            raise
        size = sum(path.stat().st_size for path in args.to.rglob("*") if path.is_file())
        print(f"{len(manifest.files)} files, {size} bytes in {args.to}")
        entries = moment.note.checkpoint.size
        print(f"schema {current}, version {moment.version}, {entries} audit entries at least")
        print(f"airlock restore {args.to} --verify    shows that it can be read again")
        # Whoever copies everything is seen in the log, and how old the newest copy is by metrics.
        # A copy that the log does not take is whole, and has been told; the verb fails still.
        async with database.transaction() as session:
            await record_backup(session, Tag.BACKUP_MADE, now, actor=ACTOR, now=now)
