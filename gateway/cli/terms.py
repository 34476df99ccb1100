"""`airlock terms`: terms of use, published in versions and accepted by digest."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.cli.workflow_key import add_key_file, key_holder
from gateway.controlplane import terms
from gateway.controlplane.counting import CountingGrant, counting_grants
from gateway.controlplane.steps import Step
from gateway.controlplane.verification_schemas import TermsAcceptanceOut, TermsIn, TermsOut
from gateway.errors import ConfigurationError
from gateway.settings import Settings
from gateway.tables import TermsAcceptance

EXAMPLES = """\
When a version becomes mandatory, the workflow's grants of those who have not accepted it are
suspended. Without --submit, publish only lists the grants that will then need an acceptance.

examples:
  airlock terms list
  airlock terms publish terms.txt --mandatory-from 2027-01-01T00:00:00Z
  airlock terms publish terms.txt --mandatory-from 2027-01-01T00:00:00Z --submit
  airlock terms accept sha256:... --key-file ada.key
"""

ACCEPT = Step("POST", "/terms/{digest}/accept")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="versions, the newest first")
    add_page(listing)
    publish = actions.add_parser("publish", help="a new version; a dry run by default")
    publish.add_argument("file", type=Path, help="the text")
    publish.add_argument("--mandatory-from", required=True, help="a moment with its zone")
    publish.add_argument("--submit", action="store_true", help="publish it, not only say so")
    accept = actions.add_parser("accept", help="accept a version, for the grants that you have")
    accept.add_argument("digest")
    add_key_file(accept)
    for action in (listing, publish, accept):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        rows = in_transaction(settings, terms.list_terms)[args.offset : args.offset + args.limit]
        show([TermsOut.model_validate(row) for row in rows], as_json=args.json)
    elif args.action == "accept":
        _accept(settings, args, now)
    else:
        _publish(settings, args, now)
    return 0


def _accept(settings: Settings, args: argparse.Namespace, now: datetime) -> None:
    holder = key_holder(settings, args.key_file, ACCEPT, now)

    async def work(session: AsyncSession) -> TermsAcceptance:
        who = await holder(session)
        return await terms.accept_terms(
            session, args.digest, person_id=who.person_id, actor=who.actor, now=now
        )

    row = in_transaction(settings, work)
    show_one(TermsAcceptanceOut.model_validate(row), as_json=args.json)


def _publish(settings: Settings, args: argparse.Namespace, now: datetime) -> None:
    try:
        text = args.file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the text cannot be read: {error}") from error
    given = TermsIn(text=text, mandatory_from=args.mandatory_from)
    if args.submit:
        row = in_transaction(
            settings, lambda s: terms.publish_terms(s, given, actor=ACTOR, now=now)
        )
        show_one(TermsOut.model_validate(row), as_json=args.json)
        return

    async def affected(session: AsyncSession) -> list[CountingGrant]:
        return [one for one in await counting_grants(session, now) if one.is_of_workflow]

    show(in_transaction(settings, affected), as_json=args.json)
    if not args.json:
        print("nothing was published: this was a dry run; --submit publishes it")
