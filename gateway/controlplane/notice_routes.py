"""Notices over HTTP: webhooks, the outbox, and what people do not want to be told."""

from datetime import timedelta

from fastapi import APIRouter

from gateway.controlplane import notices, webhooks
from gateway.controlplane.access import (
    Acting,
    Admin,
    Limit,
    Now,
    Offset,
    Parts,
    Session,
)
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.notice_schemas import (
    NewWebhookOut,
    NoticeOut,
    State,
    UnwantedIn,
    UnwantedOut,
    WebhookIn,
    WebhookOut,
    WebhookRotation,
)
from gateway.controlplane.routes import ERRORS
from gateway.policy.notices import SECURITY, Event

router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["notices"])
TO_CHOOSE = sorted(str(event) for event in Event if event not in SECURITY)


def _with_secret(new: webhooks.NewSecret) -> NewWebhookOut:
    return NewWebhookOut(**WebhookOut.model_validate(new.row).model_dump(), secret=new.text)


@router.get("/webhooks")
async def get_webhooks(
    session: Session, _: Admin, limit: Limit = 100, offset: Offset = 0
) -> list[WebhookOut]:
    """List the programs that are told of events."""
    rows = await webhooks.list_webhooks(session, limit, offset)
    return [WebhookOut.model_validate(row) for row in rows]


@router.post("/webhooks", status_code=201)
async def post_webhook(
    given: WebhookIn, session: Session, admin: Admin, parts: Parts, now: Now
) -> NewWebhookOut:
    """Add a program that is told of events; the secret is in this answer and nowhere else."""
    new = await webhooks.add_webhook(
        session, given, settings=parts.settings, keys=parts.notices, actor=admin.actor, now=now
    )
    return _with_secret(new)


@router.post("/webhooks/{webhook_id}/rotate", status_code=201)
async def post_webhook_rotation(
    webhook_id: str, given: WebhookRotation, session: Session, admin: Admin, parts: Parts, now: Now
) -> NewWebhookOut:
    """Replace a webhook's secret; both sign until the overlap is over."""
    overlap = timedelta(hours=given.overlap_hours)
    new = await webhooks.rotate_webhook(
        session, webhook_id, overlap, keys=parts.notices, actor=admin.actor, now=now
    )
    return _with_secret(new)


@router.delete("/webhooks/{webhook_id}", status_code=204)
async def delete_webhook(webhook_id: str, session: Session, admin: Admin, now: Now) -> None:
    """Take a webhook away; what waits for it is dropped."""
    await webhooks.remove_webhook(session, webhook_id, actor=admin.actor, now=now)


@router.get("/notices")
async def get_notices(
    session: Session,
    _: Admin,
    state: State | None = None,
    event: Event | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[NoticeOut]:
    """List notices, the newest first; `dead` are those that were given up."""
    rows = await notices.list_notices(session, state, event, limit, offset)
    return [NoticeOut.model_validate(row) for row in rows]


@router.post("/notices/{notice_id}/resend")
async def post_resend(notice_id: str, session: Session, admin: Admin, now: Now) -> NoticeOut:
    """Send again what was given up or is waiting, at once and under the same id."""
    row = await notices.resend(session, notice_id, actor=admin.actor, now=now)
    return NoticeOut.model_validate(row)


@router.get("/me/unwanted-notices")
async def get_unwanted(session: Session, member: Acting) -> UnwantedOut:
    """List what one does not want to be told of."""
    found = await notices.unwanted_by(session, member.person_id)
    return UnwantedOut(unwanted=found, may_be_unwanted=TO_CHOOSE)


@router.put("/me/unwanted-notices")
async def put_unwanted(given: UnwantedIn, session: Session, member: Acting) -> UnwantedOut:
    """Replace what one does not want to be told of; security notices stay."""
    await notices.set_unwanted(session, member.person_id, given.unwanted)
    found = [str(event) for event in given.unwanted]
    return UnwantedOut(unwanted=found, may_be_unwanted=TO_CHOOSE)
