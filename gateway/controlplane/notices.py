"""Notices as the admin API shows them: what waits, what was given up, what nobody wants."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_event
from gateway.controlplane.notice_schemas import State
from gateway.errors import ConflictError, NotFoundError
from gateway.policy.notices import Event
from gateway.tables import Notice, Person, UnwantedNotice


async def list_notices(
    session: AsyncSession,
    state: State | None,
    event: Event | None,
    limit: int,
    offset: int,
) -> list[Notice]:
    """Return notices, the newest first."""
    query = select(Notice).order_by(Notice.created_at.desc(), Notice.id)
    if state is not None:
        query = query.where(Notice.state == state)
    if event is not None:
        query = query.where(Notice.event == str(event))
    return list(await session.scalars(query.limit(limit).offset(offset)))


async def resend(session: AsyncSession, notice_id: str, *, actor: str, now: datetime) -> Notice:
    """Send again what was given up or is waiting, at once and under the same id.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was sent, or is for nobody any more.
    """
    row = await locked(session, Notice, notice_id)
    if row is None:
        raise NotFoundError(f"There is no notice '{notice_id[:40]}'.")
    if row.state in ("sent", "dropped"):
        raise ConflictError(f"The notice was {row.state}.")
    if row.state == "dead":
        row.state, row.ended_at, row.attempts = "waiting", None, 0
    row.next_at = now
    row.claim += 1  # Whoever is at it has lost it.
    await record_event(session, Tag.NOTICE_RESENT, row.id, actor=actor, now=now, event=row.event)
    return row


async def unwanted_by(session: AsyncSession, person_id: str) -> list[str]:
    """Return what a person does not want to be told of."""
    query = select(UnwantedNotice.event).where(UnwantedNotice.person_id == person_id)
    return sorted(await session.scalars(query))


async def set_unwanted(session: AsyncSession, person_id: str, events: list[Event]) -> None:
    """Replace what a person does not want to be told of."""
    # Or what the person chooses elsewhere at this moment would be added to it.
    await locked(session, Person, person_id)
    await session.execute(delete(UnwantedNotice).where(UnwantedNotice.person_id == person_id))
    session.add_all(UnwantedNotice(person_id=person_id, event=str(event)) for event in events)
