"""`airlock breakglass`: doors closed by one person, opened by two."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.cli.workflow_key import add_key_file, key_holder
from gateway.controlplane import breakglass
from gateway.controlplane.breakglass_schemas import (
    ClosureIn,
    ClosureOut,
    EmergencyIn,
    LiftIn,
    OpeningOut,
)
from gateway.controlplane.counting import CountingGrant, counting_grants
from gateway.controlplane.steps import Step
from gateway.identity.principal import Member
from gateway.settings import Settings
from gateway.tables import Closure, Opening

EXAMPLES = """\
Closing acts at once; --dry-run says first whose grants would stop counting. Opening takes two
people, the second within an hour.

examples:
  airlock breakglass close --domain bio --reason "odd use" --dry-run
  airlock breakglass close --domain bio --reason "odd use"
  airlock breakglass closures
  airlock breakglass lift CLOSURE --reason "a test of ours" --key-file dan.key
  airlock breakglass open PERSON --domain bio --minutes 30 --reason "..." --key-file dan.key
  airlock breakglass confirm OPENING --key-file app.key
"""

STEPS = {
    "close": Step("POST", "/closures"),
    "lift": Step("POST", "/closures/{closure_id}/lift"),
    "open": Step("POST", "/openings"),
    "confirm": Step("POST", "/openings/{opening_id}/confirm"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    closures = actions.add_parser("closures", help="closed doors, the newest first")
    openings = actions.add_parser("openings", help="what was asked to be opened")
    for action in (closures, openings):
        add_page(action)
    close = actions.add_parser("close", help="close a domain, or every one, for everybody's grants")
    close.add_argument("--domain", help="default: every domain")
    close.add_argument("--dry-run", action="store_true", help="only say whose grants it closes")
    add_key_file(close, required=False)
    lift = actions.add_parser("lift", help="ask for the end of a closure")
    lift.add_argument("closure", help="id")
    opening = actions.add_parser("open", help="ask for a grant for somebody else")
    opening.add_argument("person", help="id")
    opening.add_argument("--domain", required=True)
    opening.add_argument("--minutes", type=int, required=True, help="60 at most")
    confirm = actions.add_parser("confirm", help="open, as the second person")
    confirm.add_argument("opening", help="id")
    for action in (close, lift, opening):
        action.add_argument("--reason", required=True)
    for action in (lift, opening, confirm):
        add_key_file(action)
    for action in (closures, openings, close, lift, opening, confirm):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    page = (args.limit, args.offset) if args.action in ("closures", "openings") else (0, 0)
    if args.action == "closures":
        closed = in_transaction(settings, lambda s: breakglass.list_closures(s, *page))
        show([ClosureOut.model_validate(row) for row in closed], as_json=args.json)
    elif args.action == "openings":
        opened = in_transaction(settings, lambda s: breakglass.list_openings(s, *page))
        show([OpeningOut.model_validate(row) for row in opened], as_json=args.json)
    elif args.action == "close":
        _close(settings, args, now)
    else:
        row = in_transaction(settings, _two_people(settings, args, now))
        show_one(OpeningOut.model_validate(row), as_json=args.json)
    return 0


def _close(settings: Settings, args: argparse.Namespace, now: datetime) -> None:
    given = ClosureIn(domain=args.domain, reason=args.reason)
    step = STEPS[args.action]
    holder = key_holder(settings, args.key_file, step, now) if args.key_file else None

    async def affected(session: AsyncSession) -> list[CountingGrant]:
        found = await counting_grants(session, now)
        return [one for one in found if given.domain in (None, one.domain)]

    async def work(session: AsyncSession) -> Closure:
        caller = await holder(session) if holder else ACTOR
        return await breakglass.close_door(session, given, caller=caller, now=now)

    if args.dry_run:
        show(in_transaction(settings, affected), as_json=args.json)
        return
    show_one(ClosureOut.model_validate(in_transaction(settings, work)), as_json=args.json)


def _two_people(
    settings: Settings, args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession], Awaitable[Opening]]:
    holder = key_holder(settings, args.key_file, STEPS[args.action], now)
    step = _step(args, now)

    async def work(session: AsyncSession) -> Opening:
        return await step(session, await holder(session))

    return work


def _step(
    args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession, Member], Awaitable[Opening]]:
    if args.action == "lift":
        reason = LiftIn(reason=args.reason).reason
        return lambda s, who: breakglass.ask_to_lift(s, args.closure, reason, member=who, now=now)
    if args.action == "open":
        given = EmergencyIn(
            person_id=args.person, domain=args.domain, minutes=args.minutes, reason=args.reason
        )
        return lambda s, who: breakglass.ask_for_access(s, given, member=who, now=now)
    return lambda s, who: breakglass.confirm(s, args.opening, member=who, now=now)
