"""First uses: the sponsor of a grant is told once that it has begun to be used."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.notices.occasions import grant_data, sponsor_of
from gateway.notices.outbox import put
from gateway.policy.notices import Event
from gateway.tables import Grant


async def tell_first_uses(session: AsyncSession, grant_ids: Iterable[str], now: datetime) -> None:
    """Note that requests rest on grants for the first time, and leave notices to their sponsors.

    Args:
        session: The transaction of the requests' own entries in the audit log.
        grant_ids: Grants that have not been used as far as this transaction saw.
        now: The moment.
    """
    # In one order everywhere, so that two gateways do not wait for each other's rows.
    for grant_id in sorted(grant_ids):
        grant = await session.scalar(
            update(Grant)
            .where(Grant.id == grant_id, Grant.first_used_at.is_(None))
            .values(first_used_at=now)
            .returning(Grant)
        )
        if grant is not None:
            to = await sponsor_of(session, grant)
            data = grant_data(grant)
            await put(session, Event.GRANT_FIRST_USED, grant_id, to, data, now=now)
