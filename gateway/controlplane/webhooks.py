"""Webhooks: the programs that are told of events, and the secrets that sign what they get."""

import uuid
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_event
from gateway.controlplane.notice_schemas import WebhookIn, WebhookRemovalOut
from gateway.errors import ConflictError, NotFoundError
from gateway.notices.destinations import check_destination
from gateway.notices.keys import NoticeKeys
from gateway.notices.webhooks import new_secret
from gateway.settings import Settings
from gateway.tables import Notice, Webhook


class NewSecret(NamedTuple):
    """A webhook with the secret that is shown this once."""

    row: Webhook
    text: str


async def list_webhooks(session: AsyncSession, limit: int, offset: int) -> list[Webhook]:
    """Return webhooks, the newest first, also those that were taken away."""
    query = select(Webhook).order_by(Webhook.created_at.desc(), Webhook.id)
    return list(await session.scalars(query.limit(limit).offset(offset)))


async def add_webhook(
    session: AsyncSession,
    given: WebhookIn,
    *,
    settings: Settings,
    keys: NoticeKeys,
    actor: str,
    now: datetime,
) -> NewSecret:
    """Add a program that is told of events.

    Raises:
        InvalidRequestError: Webhooks may not lead there.
    """
    check_destination(given.url, settings)
    text = new_secret()
    row = Webhook(
        id=str(uuid.uuid4()),
        url=given.url,
        events=[str(event) for event in given.events],
        secret=keys.cipher.encrypt(text.encode()).decode(),
        created_by=actor,
        created_at=now,
    )
    session.add(row)
    await record_event(
        session, Tag.WEBHOOK_ADDED, row.id, actor=actor, now=now, url=row.url, events=row.events
    )
    return NewSecret(row, text)


async def rotate_webhook(
    session: AsyncSession,
    webhook_id: str,
    overlap: timedelta,
    *,
    keys: NoticeKeys,
    actor: str,
    now: datetime,
) -> NewSecret:
    """Replace a webhook's secret; both sign until the overlap is over.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was taken away.
    """
    row, text = await _get(session, webhook_id), new_secret()
    row.old_secret, row.old_until = row.secret, now + overlap
    row.secret = keys.cipher.encrypt(text.encode()).decode()
    await record_event(session, Tag.WEBHOOK_ROTATED, row.id, actor=actor, now=now)
    return NewSecret(row, text)


async def remove_webhook(
    session: AsyncSession, webhook_id: str, *, actor: str, now: datetime
) -> Webhook:
    """Take a webhook away; what waits for it is dropped.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was taken away before.
    """
    row = await _get(session, webhook_id)
    row.ended_at = now
    await record_event(session, Tag.WEBHOOK_REMOVED, row.id, actor=actor, now=now)
    return row


async def record_gone(session: AsyncSession, webhook_id: str, now: datetime) -> None:
    """Record that a webhook was taken away because its receiver answered that it is gone."""
    await record_event(session, Tag.WEBHOOK_GONE, webhook_id, actor="gateway", now=now)


async def removal(session: AsyncSession, webhook_id: str) -> WebhookRemovalOut:
    """Say what taking a webhook away would drop.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was taken away before.
    """
    row = await _get(session, webhook_id)
    waiting = await session.scalar(
        select(func.count())
        .select_from(Notice)
        .where(Notice.webhook_id == webhook_id, Notice.state == "waiting")
    )
    return WebhookRemovalOut(id=row.id, url=row.url, would_drop=waiting or 0)


async def _get(session: AsyncSession, webhook_id: str) -> Webhook:
    row = await locked(session, Webhook, webhook_id)
    if row is None:
        raise NotFoundError(f"There is no webhook '{webhook_id[:40]}'.")
    if row.ended_at is not None:
        raise ConflictError("The webhook was taken away before.")
    return row
