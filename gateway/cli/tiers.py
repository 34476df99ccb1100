"""`airlock tiers`: list access tiers, and change them as two people."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import get_args

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.cli.workflow_key import add_key_file, key_holder
from gateway.controlplane import tier_changes, tiers
from gateway.controlplane.steps import Step
from gateway.controlplane.tier_effects import effects
from gateway.controlplane.tier_schemas import (
    LogLevel,
    TierApproval,
    TierChangeOut,
    TierEffectsOut,
    TierOut,
    TierProposal,
    TierProposedOut,
    TierTermsIn,
)
from gateway.policy.capabilities import Capability
from gateway.settings import Settings
from gateway.tables import TierChange
from models.cli.terminal import printable

EXAMPLES = """\
What gives anybody more is proposed by one person and approved by another, each with their workflow
key; what only restricts takes one. Without --submit, propose only says who would gain or lose what.

examples:
  airlock tiers list
  airlock tiers propose public --requests-per-minute 60 --reason "quieter"
  airlock tiers propose public --requests-per-minute 60 --reason "quieter" --submit
  airlock tiers propose lab --description "Partner laboratories" --grantable \\
    --verify identity=dac --verify oversight=so --reason "..." --submit --key-file ann.key
  airlock tiers diff CHANGE
  airlock tiers approve CHANGE --digest sha256:... --key-file app.key
  airlock tiers history public
"""
PROPOSE = Step("POST", "/tier-changes")
STEPS = {
    "approve": Step("POST", "/tier-changes/{change_id}/approve"),
    "withdraw": Step("POST", "/tier-changes/{change_id}/withdraw"),
}
NUMBERS = (
    "--max-grant-days",
    "--requests-per-minute",
    "--tokens-per-minute",
    "--tokens-per-day",
    "--max-concurrent",
    "--organisation-multiple",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="all tiers, as they are in force")
    propose = actions.add_parser("propose", help="a change, or a new tier; a dry run by default")
    propose.add_argument("name")
    _add_terms(propose)
    propose.add_argument("--reason", required=True)
    propose.add_argument("--submit", action="store_true", help="propose it, not only say so")
    approve = actions.add_parser("approve", help="put a change in force, as the second person")
    approve.add_argument("--digest", required=True, help="of the change you looked at")
    withdraw = actions.add_parser("withdraw", help="give a proposal up")
    diff = actions.add_parser("diff", help="who would gain or lose what by a change")
    changes = actions.add_parser("changes", help="changes, the newest first")
    changes.add_argument("--tier")
    changes.add_argument("--state", choices=get_args(tier_changes.Which))
    history = actions.add_parser("history", help="what a tier has been, the newest version first")
    history.add_argument("name")
    for action in (approve, withdraw, diff):
        action.add_argument("change", help="id")
    add_key_file(approve)
    for action in (propose, withdraw):
        add_key_file(action, required=False)
    for action in (listing, propose, diff, changes, history):
        add_page(action)
    for action in (listing, propose, approve, withdraw, diff, changes, history):
        add_json(action)


def _add_terms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--description")
    parser.add_argument(
        "--grantable", action=argparse.BooleanOptionalAction, help="members' grants count"
    )
    parser.add_argument(
        "--capabilities",
        nargs="*",
        choices=[str(capability) for capability in Capability],
        metavar="NAME",
        help="what members may ask for beyond a plain answer, all of it; none without a name: "
        + ", ".join(Capability),
    )
    parser.add_argument("--priority", type=int, help="-100 to 100; engines take the higher first")
    for flag in NUMBERS:
        parser.add_argument(flag, type=int)
    parser.add_argument(
        "--verify",
        action="append",
        metavar="WHAT=WHO,...",
        help="what a grant needs verified and whose word counts, all of it: identity=dac,system",
    )
    parser.add_argument("--log-level", choices=get_args(LogLevel))
    parser.add_argument(
        "--step-up", metavar="SECONDS[,ACR...]", help="how recent and strong a login must be, or no"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        rows = in_transaction(settings, lambda s: tiers.list_tiers(s, args.limit, args.offset))
        show([TierOut.model_validate(row) for row in rows], as_json=args.json)
    elif args.action in ("changes", "history"):
        found = in_transaction(settings, _listing(args))
        show([TierChangeOut.model_validate(row) for row in found], as_json=args.json)
    elif args.action == "diff":
        _show_effects(in_transaction(settings, _diff(args, now)), as_json=args.json)
    elif args.action == "propose":
        _show_proposed(in_transaction(settings, _proposal(settings, args, now)), args)
    else:
        change = in_transaction(settings, _end(settings, args, now))
        show_one(TierChangeOut.model_validate(change), as_json=args.json)
    return 0


def _listing(
    args: argparse.Namespace,
) -> Callable[[AsyncSession], Awaitable[list[TierChange]]]:
    if args.action == "history":
        return lambda s: tier_changes.list_versions(s, args.name, args.limit, args.offset)
    return lambda s: tier_changes.list_changes(s, args.tier, args.state, args.limit, args.offset)


def _diff(
    args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession], Awaitable[TierEffectsOut]]:
    async def work(session: AsyncSession) -> TierEffectsOut:
        change = await tier_changes.get_change(session, args.change)
        return await effects(session, change.tier, change.terms, args.limit, args.offset, now)

    return work


def _proposal(
    settings: Settings, args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession], Awaitable[TierProposedOut]]:
    change = TierTermsIn.model_validate(_terms(args))
    given = TierProposal(tier=args.name, change=change, reason=args.reason)
    holder = key_holder(settings, args.key_file, PROPOSE, now) if args.key_file else None

    async def work(session: AsyncSession) -> TierProposedOut:
        terms = await tier_changes.proposed_terms(session, given)
        found = await effects(session, given.tier, terms, args.limit, args.offset, now)
        if not args.submit:
            return TierProposedOut(effects=found, change=None)
        caller = await holder(session) if holder else ACTOR
        made = await tier_changes.propose(session, given, caller=caller, now=now)
        return TierProposedOut(effects=found, change=TierChangeOut.model_validate(made))

    return work


def _end(
    settings: Settings, args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession], Awaitable[TierChange]]:
    step = STEPS[args.action]
    holder = key_holder(settings, args.key_file, step, now) if args.key_file else None
    digest = TierApproval(digest=args.digest).digest if args.action == "approve" else ""

    async def work(session: AsyncSession) -> TierChange:
        if args.action == "withdraw":
            caller = await holder(session) if holder else ACTOR
            return await tier_changes.withdraw(session, args.change, caller=caller, now=now)
        assert holder is not None  # noqa: S101 - approve requires the file
        member = await holder(session)
        return await tier_changes.approve(session, args.change, digest, member=member, now=now)

    return work


def _terms(args: argparse.Namespace) -> dict[str, object]:
    """Return what the words say of a tier's terms; what they do not name is not there."""
    simple = [name for name in TierTermsIn.model_fields if name not in ("verifications", "step_up")]
    found = {name: value for name in simple if (value := getattr(args, name)) is not None}
    if args.verify is not None:
        pairs = (word.partition("=") for word in args.verify)
        found["verifications"] = {what: who.split(",") for what, _, who in pairs}
    if args.step_up is not None:
        seconds, *acr = args.step_up.split(",")
        found["step_up"] = None if seconds == "no" else {"max_age": seconds, "acr": acr}
    return found


def _show_proposed(proposed: TierProposedOut, args: argparse.Namespace) -> None:
    if args.json:
        print(proposed.model_dump_json(indent=2))
        return
    _show_effects(proposed.effects, as_json=False)
    if proposed.change is None:
        print("nothing was proposed: this was a dry run; --submit proposes it")
    else:
        show_one(proposed.change, as_json=False)


def _show_effects(found: TierEffectsOut, *, as_json: bool) -> None:
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    print(f"{found.tier}: {found.members} members; takes {'two' if found.takes_two else 'one'}")
    for each in found.differences:
        print(f"  {each.field}: {each.before} -> {each.after} ({each.direction})")
    for person in found.people:
        print(f"  {person.person_id} {printable(person.name)} ({printable(person.organisation)})")
        for word, domains in (("gains", person.gains), ("loses", person.loses)):
            if domains:
                print(f"    {word} {', '.join(domains)}")
        for grant in person.grants:
            print(
                f"    grant {grant.id} ({grant.domain}): {grant.state_before} until "
                f"{grant.ends_before} -> {grant.state_after} until {grant.ends_after}"
            )
