"""`airlock grants`: grant and revoke access to hazard domains."""

import argparse
from datetime import UTC, datetime

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.controlplane import grants
from gateway.controlplane.schemas import GrantIn, GrantOut
from gateway.settings import Settings

EXAMPLES = """\
examples:
  airlock grants create PERSON --domain cyber --days 90 --reason "IRB 2026-114"
  airlock grants list --person PERSON
  airlock grants revoke GRANT
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="grants, the newest first")
    listing.add_argument("--person")
    add_page(listing)
    create = actions.add_parser("create", help="open one domain to one person for a time")
    create.add_argument("person", help="id")
    create.add_argument("--domain", required=True)
    create.add_argument("--days", type=int, default=90, help="default: %(default)s")
    create.add_argument("--reason", required=True)
    revoke = actions.add_parser("revoke", help="end a grant for ever; running streams are cut")
    revoke.add_argument("grant", help="id")
    for action in (listing, create, revoke):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        rows = in_transaction(
            settings, lambda s: grants.list_grants(s, args.person, args.limit, args.offset)
        )
        show([GrantOut.model_validate(row) for row in rows], as_json=args.json)
        return 0
    if args.action == "create":
        given = GrantIn(
            person_id=args.person, domain=args.domain, days=args.days, reason=args.reason
        )
        grant = in_transaction(
            settings, lambda s: grants.create_grant(s, given, actor=ACTOR, now=now)
        )
    else:
        grant = in_transaction(
            settings, lambda s: grants.revoke_grant(s, args.grant, actor=ACTOR, now=now)
        )
    show_one(GrantOut.model_validate(grant), as_json=args.json)
    return 0
