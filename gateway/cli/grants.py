"""`airlock grants`: grant, suspend, review and revoke access to hazard domains."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.cli.workflow_key import add_key_file, key_holder
from gateway.controlplane import grants, workflow_grants
from gateway.controlplane.schemas import GrantIn, GrantOut
from gateway.controlplane.steps import Step
from gateway.controlplane.verification_schemas import SuspensionIn, UsageReviewIn
from gateway.settings import Settings
from gateway.tables import Grant

EXAMPLES = """\
Who has suspended a grant does not resume it; resuming and reviewing take a workflow key.

examples:
  airlock grants create PERSON --domain cyber --days 90 --reason "IRB 2026-114"
  airlock grants list --person PERSON
  airlock grants suspend GRANT --reason "odd use"
  airlock grants resume GRANT --key-file dan.key
  airlock grants review GRANT --outcome continue --rationale "as applied for" --key-file dan.key
  airlock grants revoke GRANT
"""
STEPS = {
    "suspend": Step("POST", "/grants/{grant_id}/suspend"),
    "resume": Step("POST", "/grants/{grant_id}/resume"),
    "review": Step("POST", "/grants/{grant_id}/usage-reviews"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="grants, the newest first")
    listing.add_argument("--person")
    add_page(listing)
    create = actions.add_parser(
        "create", help="open one domain to one person for a time, where grants may be direct"
    )
    create.add_argument("person", help="id")
    create.add_argument("--domain", required=True)
    create.add_argument("--days", type=int, default=90, help="default: %(default)s")
    create.add_argument("--reason", required=True)
    suspend = actions.add_parser("suspend", help="stop a grant until somebody else resumes it")
    suspend.add_argument("--reason", required=True)
    add_key_file(suspend, required=False)
    resume = actions.add_parser("resume", help="end a suspension that somebody else has made")
    review = actions.add_parser("review", help="say whether a grant's use is as applied for")
    review.add_argument("--outcome", choices=("continue", "suspend", "revoke"), required=True)
    review.add_argument("--rationale", required=True)
    for action in (resume, review):
        add_key_file(action)
    revoke = actions.add_parser("revoke", help="end a grant for ever; running streams are cut")
    for action in (suspend, resume, review, revoke):
        action.add_argument("grant", help="id")
    for action in (listing, create, suspend, resume, review, revoke):
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
        grants.check_direct(settings)
        given = GrantIn(
            person_id=args.person, domain=args.domain, days=args.days, reason=args.reason
        )
        grant = in_transaction(
            settings, lambda s: grants.create_grant(s, given, actor=ACTOR, now=now)
        )
    elif args.action in STEPS:
        grant = in_transaction(settings, _step(settings, args, now))
    else:
        grant = in_transaction(
            settings, lambda s: grants.revoke_grant(s, args.grant, actor=ACTOR, now=now)
        )
    show_one(GrantOut.model_validate(grant), as_json=args.json)
    return 0


def _step(
    settings: Settings, args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession], Awaitable[Grant]]:
    step = STEPS[args.action]
    holder = key_holder(settings, args.key_file, step, now) if args.key_file else None
    if args.action == "suspend":
        reason = SuspensionIn(reason=args.reason).reason
    if args.action == "review":
        given = UsageReviewIn(outcome=args.outcome, rationale=args.rationale)

    async def work(session: AsyncSession) -> Grant:
        if args.action == "suspend":
            caller = await holder(session) if holder else ACTOR
            return await workflow_grants.suspend_grant(
                session, args.grant, reason, caller=caller, now=now
            )
        assert holder is not None  # noqa: S101 - the others require the file
        member = await holder(session)
        if args.action == "resume":
            return await workflow_grants.resume_grant(session, args.grant, member=member, now=now)
        return await workflow_grants.review_usage(
            session, args.grant, given, member=member, now=now
        )

    return work
