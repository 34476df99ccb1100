"""`airlock notices`: the outbox, the programs that are told, and what a person does not want."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import ACTOR, add_json, add_page, in_transaction, show, show_one
from gateway.cli.workflow_key import add_key_file, key_holder
from gateway.controlplane import notices, webhooks
from gateway.controlplane.notice_schemas import (
    NewWebhookOut,
    NoticeOut,
    UnwantedIn,
    UnwantedOut,
    WebhookIn,
    WebhookOut,
    WebhookRotation,
)
from gateway.controlplane.steps import Step
from gateway.identity.secret import load_secret
from gateway.notices.keys import notice_keys
from gateway.policy.notices import SECURITY, Event
from gateway.settings import Settings

EXAMPLES = """\
A gateway that serves sends what waits here. `dead` is what was given up after about a day; resend
sends it again under the same id. A webhook's host must be in AIRLOCK_WEBHOOK_HOSTS.

examples:
  airlock notices list --state dead
  airlock notices resend NOTICE
  airlock notices webhooks
  airlock notices add-webhook https://ops.example.org/airlock --event emergency.opened
  airlock notices rotate-webhook WEBHOOK --overlap-hours 24
  airlock notices remove-webhook WEBHOOK --dry-run
  airlock notices unwant application.passed --key-file ada.key
"""
UNWANT = Step("PUT", "/me/unwanted-notices")
Work = Callable[[AsyncSession], Awaitable[BaseModel]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    events = [str(event) for event in Event]
    listing = actions.add_parser("list", help="notices, the newest first")
    listing.add_argument("--state", choices=("waiting", "sent", "dropped", "dead"))
    listing.add_argument("--event", choices=events, metavar="EVENT")
    hooks = actions.add_parser("webhooks", help="the programs that are told")
    for action in (listing, hooks):
        add_page(action)
    resend = actions.add_parser("resend", help="send a notice again that was given up")
    resend.add_argument("notice", help="id")
    add = actions.add_parser("add-webhook", help="tell a program; prints its secret once")
    add.add_argument("url")
    add.add_argument("--event", action="append", default=[], choices=events, metavar="EVENT")
    rotate = actions.add_parser("rotate-webhook", help="replace a secret; both sign for a while")
    rotate.add_argument("--overlap-hours", type=float, default=24.0)
    remove = actions.add_parser("remove-webhook", help="tell a program no more")
    remove.add_argument("--dry-run", action="store_true", help="say what would be dropped")
    for action in (rotate, remove):
        action.add_argument("webhook", help="id")
    unwant = actions.add_parser("unwant", help="replace what you do not want to be told of")
    unwant.add_argument("event", nargs="*", metavar="EVENT", help="none takes all back")
    add_key_file(unwant)
    for action in (listing, hooks, resend, add, rotate, remove, unwant):
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        found = in_transaction(
            settings,
            lambda s: notices.list_notices(s, args.state, args.event, args.limit, args.offset),
        )
        show([NoticeOut.model_validate(row) for row in found], as_json=args.json)
        return 0
    if args.action == "webhooks":
        rows = in_transaction(
            settings, lambda s: webhooks.list_webhooks(s, args.limit, args.offset)
        )
        show([WebhookOut.model_validate(row) for row in rows], as_json=args.json)
        return 0
    show_one(in_transaction(settings, _work(settings, args, now)), as_json=args.json)
    return 0


def _work(settings: Settings, args: argparse.Namespace, now: datetime) -> Work:
    if args.action == "resend":
        return _resend(args, now)
    if args.action == "unwant":
        return _unwant(settings, args, now)
    return _webhook(settings, args, now)


def _resend(args: argparse.Namespace, now: datetime) -> Work:
    async def work(session: AsyncSession) -> BaseModel:
        row = await notices.resend(session, args.notice, actor=ACTOR, now=now)
        return NoticeOut.model_validate(row)

    return work


def _unwant(settings: Settings, args: argparse.Namespace, now: datetime) -> Work:
    given = UnwantedIn(unwanted=args.event)
    holder = key_holder(settings, args.key_file, UNWANT, now)

    async def work(session: AsyncSession) -> BaseModel:
        member = await holder(session)
        await notices.set_unwanted(session, member.person_id, given.unwanted)
        choose = sorted(str(event) for event in Event if event not in SECURITY)
        return UnwantedOut(
            unwanted=[str(event) for event in given.unwanted], may_be_unwanted=choose
        )

    return work


def _webhook(settings: Settings, args: argparse.Namespace, now: datetime) -> Work:
    keys = notice_keys(load_secret(settings))

    async def work(session: AsyncSession) -> BaseModel:
        if args.action == "remove-webhook":
            if args.dry_run:
                return await webhooks.removal(session, args.webhook)
            row = await webhooks.remove_webhook(session, args.webhook, actor=ACTOR, now=now)
            return WebhookOut.model_validate(row)
        if args.action == "add-webhook":
            given = WebhookIn(url=args.url, events=args.event)
            new = await webhooks.add_webhook(
                session, given, settings=settings, keys=keys, actor=ACTOR, now=now
            )
        else:
            hours = WebhookRotation(overlap_hours=args.overlap_hours).overlap_hours
            new = await webhooks.rotate_webhook(
                session, args.webhook, timedelta(hours=hours), keys=keys, actor=ACTOR, now=now
            )
        return NewWebhookOut(**WebhookOut.model_validate(new.row).model_dump(), secret=new.text)

    return work
