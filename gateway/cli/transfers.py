"""`airlock people export` and `import`: everybody as lines of JSON."""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from gateway.cli.tables import ACTOR, add_json, with_database
from gateway.controlplane.people_export import export_lines
from gateway.controlplane.people_import import import_lines
from gateway.controlplane.transfer_schemas import ImportOut
from gateway.db import Database
from gateway.errors import ConfigurationError
from gateway.settings import Settings
from models.cli.terminal import printable


def add_arguments(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the two actions' words."""
    export = actions.add_parser("export", help="everybody, a line each")
    export.add_argument("--addresses", action="store_true", help="with e-mail addresses")
    bring = actions.add_parser("import", help="people as they were exported; opens nothing")
    bring.add_argument("file", type=Path, help="lines of JSON (docs/transfers.md)")
    bring.add_argument("--submit", action="store_true", help="do it; otherwise only say what")
    add_json(bring)


def run(settings: Settings, args: argparse.Namespace, now: datetime) -> int:
    """Run one of the actions; an import with refused lines ends with 1."""
    if args.action == "export":

        async def export(database: Database) -> None:
            async for line in export_lines(database, now, with_addresses=args.addresses):
                sys.stdout.write(line.decode())

        with_database(settings, export)
        return 0
    found = with_database(settings, lambda database: _import(database, settings, args, now))
    _show(found, as_json=args.json)
    return 1 if found.refused else 0


async def _import(
    database: Database, settings: Settings, args: argparse.Namespace, now: datetime
) -> ImportOut:
    try:
        lines = args.file.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigurationError(f"the file cannot be read: {error}") from error
    issuers = {issuer.issuer for issuer in settings.issuers}
    return await import_lines(
        database, lines, issuers=issuers, actor=ACTOR, now=now, dry_run=not args.submit
    )


def _show(found: ImportOut, *, as_json: bool) -> None:
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    for line in found.lines:
        print(f"line {line.line}: {line.outcome} {line.person_id or ''}".rstrip())
        for word, said in (("", line.did), ("left out: ", line.left)):
            for each in said:
                print(f"  {word}{printable(each)}")
    print(f"{found.made} made, {found.changed} changed, {found.unchanged} as they were, ", end="")
    print(f"{found.refused} refused")
    if found.dry_run:
        print("nothing was done: this was a dry run; --submit does it")
