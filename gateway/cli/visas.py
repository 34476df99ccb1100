"""`airlock visas`: GA4GH visas of others as evidence, and visas of grants of ours."""

import argparse
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from gateway.cli.tables import ACTOR, add_json, show, show_one, with_database
from gateway.controlplane.access import moment
from gateway.controlplane.transfer_schemas import PassportOut, VisaOut, VisasIn
from gateway.controlplane.visas import issue_visas, take_visas
from gateway.db import Database
from gateway.errors import ConfigurationError
from gateway.identity.issuers import Issuers
from gateway.identity.secret import load_secret
from gateway.identity.visa_key import visa_key
from gateway.metrics import Metrics
from gateway.settings import Settings

EXAMPLES = """\
A visa is taken from the issuers in AIRLOCK_VISA_ISSUERS alone; it becomes evidence that a reviewer
accepts or not, and never a grant. Without --submit, import only says what it would do.

examples:
  airlock visas import PERSON passport.txt       # a visa a line
  airlock visas import PERSON passport.txt --submit
  airlock visas issue PERSON --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    bring = actions.add_parser("import", help="take visas about a person as evidence")
    issue = actions.add_parser("issue", help="sign a person's grants as visas, for an hour")
    for action in (bring, issue):
        action.add_argument("person", help="id")
        add_json(action)
    bring.add_argument("file", type=Path, help="a visa a line")
    bring.add_argument("--submit", action="store_true", help="do it; otherwise only say what")


def run(args: argparse.Namespace) -> int:
    """Run the verb; an import with refused visas ends with 1."""
    settings, now = Settings(home=args.home), moment()
    if args.action == "issue":
        issued = with_database(settings, lambda database: _issue(database, settings, args, now))
        show_one(issued, as_json=args.json)
        return 0
    found = with_database(settings, lambda database: _import(database, settings, args, now))
    show(found, as_json=args.json)
    if not args.submit and not args.json:
        print("nothing was done: this was a dry run; --submit does it")
    return 1 if any(each.outcome == "refused" for each in found) else 0


async def _issue(
    database: Database, settings: Settings, args: argparse.Namespace, now: datetime
) -> PassportOut:
    key = visa_key(load_secret(settings))
    async with database.transaction() as session:
        issued = await issue_visas(
            session, args.person, key=key, public_url=settings.public_url, actor=ACTOR, now=now
        )
    return PassportOut(visas=issued.texts, expires_at=issued.expires_at)


async def _import(
    database: Database, settings: Settings, args: argparse.Namespace, now: datetime
) -> list[VisaOut]:
    try:
        given = VisasIn(visas=args.file.read_text().split())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file cannot be read: {error}") from error
    key = load_secret(settings).derive("token-hashes/1")
    issuers = Issuers(settings, key, Metrics(version("airlock")))
    try:
        read = await issuers.visas.read(given.visas, now)
    finally:
        await issuers.close()
    async with database.transaction() as session:
        return await take_visas(
            session,
            args.person,
            read,
            issuers.visas.by_issuer,
            actor=ACTOR,
            now=now,
            dry_run=not args.submit,
        )
