"""`airlock evidence`: what is known of people, added and accepted with keys of their own."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import add_json, add_page, in_transaction, show, show_one
from gateway.cli.workflow_key import add_key_file, key_holder
from gateway.controlplane import evidence, institution_mail
from gateway.controlplane.contact_schemas import (
    InstitutionCodeIn,
    InstitutionMailIn,
    InstitutionMailOut,
)
from gateway.controlplane.institution_mail import NOT_GOOD
from gateway.controlplane.steps import Step
from gateway.controlplane.verification_schemas import EvidenceAcceptance, EvidenceIn, EvidenceOut
from gateway.errors import NotFoundError
from gateway.identity.principal import Member
from gateway.identity.secret import load_secret
from gateway.notices.keys import notice_keys
from gateway.policy.evidence import AssertedBy, EvidenceKind
from gateway.settings import Settings
from gateway.tables import EvidenceItem, InstitutionMail

EXAMPLES = """\
A person adds evidence about themselves; it counts once an identity reviewer has accepted it.

examples:
  airlock evidence list --person PERSON
  airlock evidence add --kind training --domain bio --source "Course 12" --key-file ada.key
  airlock evidence accept EVIDENCE --asserted-by so --asserted-at 2026-06-01T00:00:00Z \\
    --expires-at 2027-06-01T00:00:00Z --no-conflict --key-file ivy.key
  airlock evidence mail ada@society.example --key-file ada.key
  airlock evidence confirm-mail CODE --key-file ada.key
  airlock evidence retract EVIDENCE --key-file ivy.key
"""

STEPS = {
    "add": Step("POST", "/evidence"),
    "accept": Step("POST", "/evidence/{item_id}/accept"),
    "mail": Step("POST", "/me/institution-mail"),
    "confirm-mail": Step("POST", "/me/institution-mail/confirm"),
    "retract": Step("POST", "/evidence/{item_id}/retract"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="evidence, the newest first")
    listing.add_argument("--person")
    add_page(listing)
    add = actions.add_parser("add", help="evidence about yourself")
    add.add_argument("--kind", required=True, choices=[str(kind) for kind in EvidenceKind])
    add.add_argument("--domain", help="of training and approval letters")
    add.add_argument("--source", required=True, help="where it comes from")
    add.add_argument("--document-digest", help="sha256:… of a document that you keep")
    accept = actions.add_parser("accept", help="say who asserted it, and until when it holds")
    accept.add_argument("--asserted-by", required=True, choices=[str(by) for by in AssertedBy])
    for name in ("--asserted-at", "--expires-at"):
        accept.add_argument(name, required=True, help="a moment with its zone")
    accept.add_argument(
        "--no-conflict", action="store_true", required=True, help="that you have no other interest"
    )
    retract = actions.add_parser("retract", help="take it away for ever, at once")
    mail = actions.add_parser("mail", help="have a code mailed to your institution's address")
    mail.add_argument("email")
    confirm = actions.add_parser("confirm-mail", help="show that code; it becomes evidence")
    confirm.add_argument("code")
    for action in (accept, retract):
        action.add_argument("evidence", help="id")
    for action in (add, accept, mail, confirm, retract):
        add_key_file(action)
    for action in (listing, add, accept, mail, confirm, retract):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        rows = in_transaction(
            settings, lambda s: evidence.list_evidence(s, args.person, args.limit, args.offset)
        )
        show([EvidenceOut.model_validate(row) for row in rows], as_json=args.json)
        return 0
    holder = key_holder(settings, args.key_file, STEPS[args.action], now)
    step = _step(settings, args, now)

    async def work(session: AsyncSession) -> EvidenceItem | InstitutionMail | None:
        return await step(session, await holder(session))

    row = in_transaction(settings, work)
    if row is None:
        raise NotFoundError(NOT_GOOD)
    shown = InstitutionMailOut if isinstance(row, InstitutionMail) else EvidenceOut
    show_one(shown.model_validate(row), as_json=args.json)
    return 0


def _step(
    settings: Settings, args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession, Member], Awaitable[EvidenceItem | InstitutionMail | None]]:
    if args.action in ("mail", "confirm-mail"):
        return _mail_step(settings, args, now)
    if args.action == "add":
        given = EvidenceIn(
            kind=args.kind,
            domain=args.domain,
            source=args.source,
            document_digest=args.document_digest,
        )
        return lambda s, who: evidence.add_evidence(s, given, member=who, now=now)
    if args.action == "accept":
        found = EvidenceAcceptance(
            asserted_by=args.asserted_by,
            asserted_at=args.asserted_at,
            expires_at=args.expires_at,
            no_conflict=True,
        )
        return lambda s, who: evidence.accept_evidence(s, args.evidence, found, member=who, now=now)
    return lambda s, who: evidence.retract_evidence(s, args.evidence, caller=who, now=now)


def _mail_step(
    settings: Settings, args: argparse.Namespace, now: datetime
) -> Callable[[AsyncSession, Member], Awaitable[EvidenceItem | InstitutionMail | None]]:
    keys = notice_keys(load_secret(settings))
    if args.action == "mail":
        email = InstitutionMailIn(email=args.email).email
        return lambda s, who: institution_mail.ask(
            s, email, member=who, settings=settings, keys=keys, now=now
        )
    code = InstitutionCodeIn(code=args.code).code
    return lambda s, who: institution_mail.confirm(s, code, member=who, keys=keys, now=now)
