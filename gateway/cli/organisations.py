"""`airlock organisations`: verify and suspend organisations."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.controlplane import organisations
from gateway.controlplane.counting import CountingGrant, counting_grants
from gateway.controlplane.verification_schemas import OrganisationChange, OrganisationOut
from gateway.settings import Settings

EXAMPLES = """\
An organisation appears with its first person. Reviewers count once theirs is verified, and an
applicant's must be; a suspended one suspends every grant of its people.

examples:
  airlock organisations list
  airlock organisations set ORGANISATION --state verified --ror 05dxps055
  airlock organisations set ORGANISATION --mail-domains society.example cs.society.example
  airlock organisations set ORGANISATION --state suspended --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="organisations by name")
    add_page(listing)
    change = actions.add_parser("set", help="verify or suspend an organisation")
    change.add_argument("organisation", help="id")
    change.add_argument("--state", choices=("verified", "suspended"))
    change.add_argument("--ror", help="id in the Research Organization Registry")
    change.add_argument(
        "--mail-domains",
        nargs="*",
        metavar="DOMAIN",
        help="of its people's addresses, sub-domains by name too; none takes all away",
    )
    change.add_argument(
        "--dry-run", action="store_true", help="only list the grants that a suspension stops"
    )
    for action in (listing, change):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        rows = in_transaction(
            settings, lambda s: organisations.list_organisations(s, args.limit, args.offset)
        )
        show([OrganisationOut.model_validate(row) for row in rows], as_json=args.json)
        return 0
    if args.dry_run:
        show(in_transaction(settings, _stopped(args.organisation, now)), as_json=args.json)
        return 0
    change = OrganisationChange(state=args.state, ror_id=args.ror, mail_domains=args.mail_domains)
    row = in_transaction(
        settings,
        lambda s: organisations.change_organisation(
            s, args.organisation, change, actor=ACTOR, now=now
        ),
    )
    show_one(OrganisationOut.model_validate(row), as_json=args.json)
    return 0


def _stopped(
    organisation_id: str, now: datetime
) -> Callable[[AsyncSession], Awaitable[list[CountingGrant]]]:
    async def work(session: AsyncSession) -> list[CountingGrant]:
        name = (await organisations.get_organisation(session, organisation_id)).name
        return [one for one in await counting_grants(session, now) if one.organisation == name]

    return work
