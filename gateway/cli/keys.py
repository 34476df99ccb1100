"""`airlock keys`: create, list, rotate and revoke API keys."""

import argparse
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, operator, show, show_one
from gateway.controlplane import keys
from gateway.controlplane.key_schemas import (
    KeyIn,
    KeyLine,
    KeyNarrowing,
    KeyOut,
    KeyRotation,
    NewKeyOut,
)
from gateway.errors import InvalidRequestError
from gateway.identity.peppers import load_peppers
from gateway.identity.secret import load_secret
from gateway.policy.key_terms import PATHS
from gateway.policy.scopes import Scope
from gateway.settings import Settings
from gateway.tables.keys import LIMITS

Shape = TypeVar("Shape", bound=BaseModel)
EXAMPLES = """\
A key's text is shown once, by `create` and `rotate`. What narrows a key only takes from what its
owner may do; docs/keys.md explains each word.

examples:
  airlock keys create --person PERSON --label laptop --days 90
  airlock keys create --person PERSON --label nightly --endpoint /v1/chat/completions \\
      --no-domains --address 10.20.0.0/16 --tokens-per-day 200000
  airlock keys create --person PERSON --workflow --label "reviews"
  airlock keys create --admin --label "provisioning" --scope admin:read --scope admin:people
  airlock keys narrow KEY --no-domains --expires-at 2027-01-01T00:00:00Z
  airlock keys rotate KEY --overlap-hours 24
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
    create.add_argument(
        "--days",
        type=int,
        help="until it expires; default: with the first grant that it uses, or never; a workflow "
        "or administrator's key after one",
    )
    narrow = actions.add_parser("narrow", help="take from a key what it is to do without")
    narrow.add_argument("key", help="id")
    narrow.add_argument("--expires-at", help="a moment with its zone, sooner than it would end")
    for action in (create, narrow):
        _add_narrowing(action)
    rotate = actions.add_parser("rotate", help="a successor of a key, which then ends")
    rotate.add_argument("key", help="id")
    rotate.add_argument(
        "--overlap-hours",
        type=float,
        default=0.0,
        help="how long the old one still works, at most 168 (0)",
    )
    revoke = actions.add_parser("revoke", help="end a key at once; its running streams are cut")
    revoke.add_argument("key", help="id")
    for action in (listing, create, narrow, rotate, revoke):
        add_json(action)


def _add_narrowing(create: argparse.ArgumentParser) -> None:
    create.add_argument(
        "--endpoint", action="append", choices=PATHS, help="may ask only this; again for others"
    )
    domains = create.add_mutually_exclusive_group()
    domains.add_argument(
        "--domain", action="append", help="only grants for this count; again for others"
    )
    domains.add_argument(
        "--no-domains", action="store_true", help="no grants count: never a base checkpoint"
    )
    create.add_argument(
        "--address", action="append", metavar="CIDR", help="only from here; again for others"
    )
    create.add_argument(
        "--scope",
        action="append",
        choices=[str(scope) for scope in Scope],
        help="of a workflow or administrator's key: only for this; again for others",
    )
    for name in LIMITS:
        create.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        rows = in_transaction(
            settings, lambda s: keys.list_keys(s, args.person, args.limit, args.offset)
        )
        shape = KeyOut if args.json else KeyLine
        show([shape.model_validate(row) for row in rows], as_json=args.json)
        return 0
    if args.action == "revoke":
        row = in_transaction(settings, lambda s: keys.revoke_key(s, args.key, actor=ACTOR, now=now))
        show_one(KeyOut.model_validate(row), as_json=args.json)
        return 0
    if args.action == "narrow":
        show_one(in_transaction(settings, _narrowing(args, now)), as_json=args.json)
        return 0
    peppers = load_peppers(settings, load_secret(settings))
    maker = operator(now)
    if args.action == "create":
        given = _wanted(args)
        new = in_transaction(
            settings, lambda s: keys.create_key(s, given, peppers=peppers, maker=maker, now=now)
        )
    else:
        asked = _checked(KeyRotation, {"overlap_hours": args.overlap_hours})
        overlap = timedelta(hours=asked.overlap_hours)
        new = in_transaction(
            settings,
            lambda s: keys.rotate_key(s, args.key, overlap, peppers=peppers, maker=maker, now=now),
        )
    out = NewKeyOut(**KeyOut.model_validate(new.row).model_dump(), key=new.text)
    show_one(out, as_json=args.json)
    return 0


def _narrowing(
    args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession], Awaitable[KeyOut]]:
    given = _checked(KeyNarrowing, _terms(args) | {"expires_at": args.expires_at})

    async def work(session: AsyncSession) -> KeyOut:
        key = await keys.key_to_change(session, args.key)
        row = await keys.narrow_key(session, key, given, actor=ACTOR, now=now)
        return KeyOut.model_validate(row)

    return work


def _terms(args: argparse.Namespace) -> dict[str, object]:
    return {
        "endpoints": args.endpoint,
        "domains": [] if args.no_domains else args.domain,
        "addresses": args.address,
        "scopes": args.scope,
        **{name: getattr(args, name) for name in LIMITS},
    }


def _wanted(args: argparse.Namespace) -> KeyIn:
    own = {"person_id": args.person, "admin": args.admin, "workflow": args.workflow}
    return _checked(KeyIn, own | {"label": args.label, "days": args.days} | _terms(args))


def _checked(shape: type[Shape], said: Mapping[str, object]) -> Shape:
    """Return what the words ask for; what they do not name is left out.

    Raises:
        InvalidRequestError: A word has a wrong value.
    """
    try:
        named = {name: value for name, value in said.items() if value is not None}
        return shape.model_validate(named)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else None
        raise InvalidRequestError(f"{field}: {first['msg']}.", field) from error
