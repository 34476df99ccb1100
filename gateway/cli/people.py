"""`airlock people`: add, list and change people."""

import argparse
from datetime import UTC, datetime

from gateway.cli import transfers
from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.controlplane import organisations, people, person_changes
from gateway.controlplane.schemas import PersonChange, PersonIn, PersonOut
from gateway.controlplane.verification_schemas import RolesIn, RolesOut
from gateway.settings import Settings

EXAMPLES = """\
examples:
  airlock people add "Ada Lovelace" --organisation "Analytical Society" --tier researcher
  airlock people set PERSON --state suspended
  airlock people set PERSON --organisation "Royal Institution"
  airlock people roles PERSON identity_reviewer domain_reviewer:bio
  airlock people export > people.jsonl
  airlock people import people.jsonl             # only says what it would do
  airlock people import people.jsonl --submit
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="people, in the order in which they were added")
    add_page(listing)
    add = actions.add_parser("add", help="a new person")
    add.add_argument("name")
    add.add_argument("--organisation", required=True)
    add.add_argument("--tier", default="public")
    change = actions.add_parser("set", help="move, rename, suspend or reinstate a person")
    change.add_argument("person", help="id")
    change.add_argument("--name")
    change.add_argument(
        "--organisation", help="another one; what waits for a review comes back to the person"
    )
    change.add_argument("--tier")
    change.add_argument("--state", choices=("active", "suspended"))
    roles = actions.add_parser("roles", help="replace what a person is trusted to do")
    roles.add_argument("person", help="id")
    roles.add_argument(
        "role",
        nargs="*",
        help="identity_reviewer, domain_reviewer:DOMAIN, approver, operator, administrator, or "
        "auditor alone; none takes all away",
    )
    for action in (listing, add, change, roles):
        add_json(action)
    transfers.add_arguments(actions)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action in ("export", "import"):
        return transfers.run(settings, args, now)
    if args.action == "list":
        rows = in_transaction(settings, lambda s: people.list_people(s, args.limit, args.offset))
        show([PersonOut.model_validate(row) for row in rows], as_json=args.json)
        return 0
    if args.action == "roles":
        wanted = RolesIn(roles=args.role).roles
        given_roles = in_transaction(
            settings,
            lambda s: organisations.set_roles(s, args.person, wanted, actor=ACTOR, now=now),
        )
        show_one(RolesOut(person_id=args.person, roles=given_roles), as_json=args.json)
        return 0
    if args.action == "add":
        given = PersonIn(name=args.name, organisation=args.organisation, tier=args.tier)
        person = in_transaction(
            settings, lambda s: people.add_person(s, given, actor=ACTOR, now=now)
        )
    else:
        change = PersonChange(
            name=args.name, organisation=args.organisation, tier=args.tier, state=args.state
        )
        person = in_transaction(
            settings,
            lambda s: person_changes.change_person(s, args.person, change, actor=ACTOR, now=now),
        )
    show_one(PersonOut.model_validate(person), as_json=args.json)
    return 0
