"""`airlock keys`: create, list, rotate and revoke API keys."""

import argparse
from datetime import UTC, datetime, timedelta

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.controlplane import keys
from gateway.controlplane.schemas import KeyIn, KeyOut, NewKeyOut
from gateway.identity.secret import load_secret
from gateway.settings import Settings

EXAMPLES = """\
A key's text is shown once, by `create` and `rotate`.

examples:
  airlock keys create --person PERSON --label laptop --days 90
  airlock keys create --person PERSON --workflow --label "reviews"
  airlock keys create --admin --label "first administrator"
  airlock keys rotate KEY --overlap-hours 1
  airlock keys revoke KEY
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="keys, the newest first, without their secrets")
    listing.add_argument("--person")
    add_page(listing)
    create = actions.add_parser("create", help="a new key")
    owner = create.add_mutually_exclusive_group(required=True)
    owner.add_argument("--person", help="id of the person who will hold it")
    owner.add_argument("--admin", action="store_true", help="a key for the admin API")
    create.add_argument(
        "--workflow", action="store_true", help="of a person: to apply, review and approve with"
    )
    create.add_argument("--label", default="key")
    create.add_argument("--days", type=int, help="until it expires; default: never")
    rotate = actions.add_parser("rotate", help="a successor of a key, which then ends")
    rotate.add_argument("key", help="id")
    rotate.add_argument(
        "--overlap-hours", type=float, default=0.0, help="how long the old one still works (0)"
    )
    revoke = actions.add_parser("revoke", help="end a key at once; its running streams are cut")
    revoke.add_argument("key", help="id")
    for action in (listing, create, rotate, revoke):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        rows = in_transaction(
            settings, lambda s: keys.list_keys(s, args.person, args.limit, args.offset)
        )
        show([KeyOut.model_validate(row) for row in rows], as_json=args.json)
        return 0
    if args.action == "revoke":
        row = in_transaction(settings, lambda s: keys.revoke_key(s, args.key, actor=ACTOR, now=now))
        show_one(KeyOut.model_validate(row), as_json=args.json)
        return 0
    pepper = load_secret(settings).derive(keys.PEPPER_PURPOSE)
    if args.action == "create":
        given = KeyIn(
            person_id=args.person,
            admin=args.admin,
            workflow=args.workflow,
            label=args.label,
            days=args.days,
        )
        new = in_transaction(
            settings, lambda s: keys.create_key(s, given, pepper=pepper, actor=ACTOR, now=now)
        )
    else:
        overlap = timedelta(hours=args.overlap_hours)
        new = in_transaction(
            settings,
            lambda s: keys.rotate_key(s, args.key, overlap, pepper=pepper, actor=ACTOR, now=now),
        )
    out = NewKeyOut(**KeyOut.model_validate(new.row).model_dump(), key=new.text)
    show_one(out, as_json=args.json)
    return 0
