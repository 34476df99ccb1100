"""Reminders: what ends soon, has ended or is overdue, found by looking; each is left once."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.identity.grant_terms import load_grants
from gateway.notices.occasions import grant_data, watchers
from gateway.notices.outbox import To, put
from gateway.policy.notices import Event, Reminder, reminders
from gateway.tables import Grant, Notice

TO_REVIEWERS = frozenset({Event.USAGE_REVIEW_DUE, Event.USAGE_REVIEW_OVERDUE})


async def remind(session: AsyncSession, now: datetime) -> None:
    """Leave the reminders that are due, by the terms that decide requests.

    Raises:
        NotReadyError: The database is down.
    """
    due = [
        (grant.id, reminder)
        for held in (await load_grants(session)).values()
        for grant in held
        for reminder in reminders(grant, now)
    ]
    for grant_id, reminder in await _untold(session, due):
        grant = await session.get_one(Grant, grant_id)
        to = To(frozenset({grant.person_id}))
        if reminder.event in TO_REVIEWERS:
            to = To(to.people | await watchers(session, grant.domain))
        data = grant_data(grant) | {"ends_at": reminder.ends_at.isoformat(timespec="seconds")}
        once = _once(grant_id, reminder)
        await put(session, reminder.event, grant_id, to, data, now=now, once=once)


async def _untold(
    session: AsyncSession, due: Iterable[tuple[str, Reminder]]
) -> list[tuple[str, Reminder]]:
    """Return what is not in the outbox yet; each look would otherwise ask for every recipient."""
    events = sorted({str(reminder.event) for _, reminder in due})
    if not events:
        return []
    rows = await session.scalars(
        select(Notice.once).where(Notice.event.in_(events), Notice.once.is_not(None))
    )
    told = {str(once).rpartition(":")[0] for once in rows}
    return [(grant, each) for grant, each in due if _once(grant, each) not in told]


def _once(grant_id: str, reminder: Reminder) -> str:
    return f"{grant_id}:{reminder.once}"
