"""`airlock contacts`: addresses that notices go to, and who answers for grants."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import ACTOR, add_json, in_transaction, show_one
from gateway.controlplane import addresses, sponsors
from gateway.controlplane.addresses import Owner
from gateway.controlplane.contact_schemas import AddressIn, SponsorIn, SponsorOut
from gateway.settings import Settings

EXAMPLES = """\
An address counts once somebody has opened the link that was mailed to it. Erasing one also stops
what waits to be sent to it; --dry-run only says what is there.

examples:
  airlock contacts show --person PERSON
  airlock contacts name office@society.example --organisation ORGANISATION
  airlock contacts erase --person PERSON --dry-run
  airlock contacts sponsor GRANT --person PERSON
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    shown = actions.add_parser("show", help="an address")
    name = actions.add_parser("name", help="mail a link to an address, for its reader to confirm")
    name.add_argument("email")
    erase = actions.add_parser("erase", help="forget an address")
    erase.add_argument("--dry-run", action="store_true", help="only say what is there")
    sponsor = actions.add_parser("sponsor", help="say who answers for a grant")
    sponsor.add_argument("grant", help="id")
    for action in (shown, name, erase, sponsor):
        whose = action.add_mutually_exclusive_group(required=True)
        whose.add_argument("--person", help="id")
        whose.add_argument("--organisation", help="id; its contact")
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings = Settings(home=args.home)
    show_one(in_transaction(settings, _work(settings, args, datetime.now(UTC))), as_json=args.json)
    return 0


def _work(
    settings: Settings, args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession], Awaitable[BaseModel]]:
    owner = Owner(args.person, args.organisation)

    async def work(session: AsyncSession) -> BaseModel:
        if args.action == "sponsor":
            given = SponsorIn(person_id=args.person, organisation_id=args.organisation)
            row = await sponsors.set_sponsor(session, args.grant, given, actor=ACTOR, now=now)
            return SponsorOut.model_validate(row)
        if args.action == "name":
            email = AddressIn(email=args.email).email
            await addresses.ask_to_confirm(
                session, owner, email, settings=settings, actor=ACTOR, now=now
            )
        if args.action == "erase" and not args.dry_run:
            await addresses.erase(session, owner, actor=ACTOR, now=now)
        return addresses.shown(await addresses.get_address(session, owner))

    return work
