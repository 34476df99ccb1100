"""`airlock applications`: apply for access, review and approve, each with a key of their own."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import add_json, add_page, in_transaction, show, show_one
from gateway.cli.workflow_key import add_key_file, key_holder
from gateway.controlplane import application_rows, applications
from gateway.controlplane.application_rows import Loaded
from gateway.controlplane.steps import Step
from gateway.controlplane.verification_schemas import (
    AcceptanceIn,
    ApplicationEdit,
    ApplicationIn,
    JudgementIn,
    StepIn,
)
from gateway.identity.principal import Member
from gateway.policy.applications import Action, State
from gateway.settings import Settings

EXAMPLES = """\
A step is taken by the person whose workflow key is in the file, also on the gateway's own machine.
It names the digest of the version that the person has looked at.

examples:
  airlock applications list --state submitted --state appealed
  airlock applications create --domain bio --purpose "..." --project P --oversight IRB-7 \\
    --key-file ada.key
  airlock applications submit APPLICATION --digest sha256:... --key-file ada.key
  airlock applications judge APPLICATION --digest sha256:... --decision approve \\
    --rationale "..." --no-conflict --key-file dan.key
  airlock applications grant APPLICATION --digest sha256:... --terms sha256:... --key-file ada.key
"""
STEPS = {
    "submit": (Action.SUBMIT, "hand an application in"),
    "withdraw": (Action.WITHDRAW, "give an application up"),
    "appeal": (Action.APPEAL, "ask, once, for other reviewers after a rejection"),
    "take-up": (Action.TAKE_UP, "begin the identity review"),
}

ROUTES = {
    "create": Step("POST", "/applications"),
    "edit": Step("PUT", "/applications/{application_id}"),
    "judge": Step("POST", "/applications/{application_id}/judgements"),
    "grant": Step("POST", "/applications/{application_id}/grants"),
    **{name: Step("POST", f"/applications/{{application_id}}/{name}") for name in STEPS},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="applications, the newest first; drafts if asked for")
    listing.add_argument("--person")
    listing.add_argument(
        "--state",
        action="append",
        default=[],
        choices=[str(state) for state in State],
        help="may be repeated; who has waited longest comes first then",
    )
    add_page(listing)
    shown = actions.add_parser("show", help="one application with what was said of it")
    create = actions.add_parser("create", help="a new application, as a draft")
    edit = actions.add_parser("edit", help="another version; reviews of the one before are void")
    for action in (create, edit):
        action.add_argument("--domain", action="append", required=True, help="may be repeated")
        action.add_argument("--purpose", required=True)
        action.add_argument("--project", required=True)
        action.add_argument("--oversight", required=True, help="the committee's reference")
        action.add_argument("--days", type=int, default=90, help="default: %(default)s")
    judge = actions.add_parser("judge", help="review, approve, return or reject")
    judge.add_argument("--decision", choices=("pass", "approve", "return", "reject"), required=True)
    judge.add_argument("--rationale", required=True)
    judge.add_argument(
        "--no-conflict", action="store_true", help="that you have no other interest", required=True
    )
    grant = actions.add_parser("grant", help="accept the terms of use and get the grants")
    grant.add_argument("--terms", required=True, help="digest of the terms in force")
    steps = [actions.add_parser(name, help=about) for name, (_, about) in STEPS.items()]
    for action in (shown, edit, judge, grant, *steps):
        action.add_argument("application", help="id")
    for action in (edit, judge, grant, *steps):
        action.add_argument("--digest", required=True, help="of the version you looked at")
    for action in (create, edit, judge, grant, *steps):
        add_key_file(action)
    for action in (listing, shown, create, edit, judge, grant, *steps):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        states = [State(state) for state in args.state]
        found = in_transaction(
            settings,
            lambda s: application_rows.list_applications(
                s, args.person, args.limit, args.offset, states=states, reader=None, now=now
            ),
        )
        show([application_rows.shown(loaded, now) for loaded in found], as_json=args.json)
        return 0
    if args.action == "show":
        loaded = in_transaction(settings, lambda s: application_rows.load(s, args.application))
    else:
        loaded = _take(settings, args, now)
    show_one(application_rows.shown(loaded, now), as_json=args.json)
    return 0


def _take(settings: Settings, args: argparse.Namespace, now: datetime) -> Loaded:
    """Take a step as the person whose key is in the file."""
    holder = key_holder(settings, args.key_file, ROUTES[args.action], now)
    step = _step(args, now)

    async def work(session: AsyncSession) -> Loaded:
        return await step(session, await holder(session))

    return in_transaction(settings, work)


def _step(
    args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession, Member], Awaitable[Loaded]]:
    """Return the step that the words name; they are checked before the database is asked."""
    if args.action in ("create", "edit"):
        content = {
            "domains": args.domain,
            "purpose": args.purpose,
            "project": args.project,
            "oversight_ref": args.oversight,
            "days": args.days,
        }
    if args.action == "create":
        given = ApplicationIn(**content)
        return lambda s, who: applications.create_application(
            s, given, person_id=who.person_id, actor=who.actor, now=now
        )
    if args.action == "edit":
        edit = ApplicationEdit(digest=args.digest, **content)
        return lambda s, who: applications.edit_application(
            s, args.application, edit, member=who, now=now
        )
    if args.action == "grant":
        acceptance = AcceptanceIn(digest=args.digest, terms=args.terms)
        return lambda s, who: applications.accept_and_grant(
            s, args.application, acceptance, member=who, now=now
        )
    if args.action == "judge":
        word = JudgementIn(
            digest=args.digest, decision=args.decision, rationale=args.rationale, no_conflict=True
        )
        action, digest, rationale = Action(word.decision), word.digest, word.rationale
    else:
        action, digest, rationale = STEPS[args.action][0], StepIn(digest=args.digest).digest, ""
    return lambda s, who: applications.take_step(
        s, args.application, action, digest, rationale, member=who, now=now
    )
