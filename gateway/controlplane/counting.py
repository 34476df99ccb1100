"""Which grants count now: what a closure, a suspension or new terms would take from whom."""

from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.identity.directory import load_standings
from gateway.identity.grant_terms import load_grants
from gateway.policy.grants import live_domains
from gateway.tables import Grant


class CountingGrant(BaseModel):
    """One grant that counts now."""

    id: str
    person_id: str
    organisation: str
    domain: str
    ends_at: datetime
    is_of_workflow: bool


async def counting_grants(session: AsyncSession, now: datetime) -> list[CountingGrant]:
    """Return every grant that opens its domain now, by the rules that decide requests."""
    holders = set(await session.scalars(select(Grant.person_id).where(Grant.revoked_at.is_(None))))
    if not holders:
        return []
    standings = await load_standings(session, holders)
    grants = await load_grants(session, holders)
    return [
        CountingGrant(
            id=grant.id,
            person_id=person,
            organisation=standings[person].organisation,
            domain=grant.domain,
            ends_at=grant.ends_at,
            is_of_workflow=grant.basis is not None,
        )
        for person, held in sorted(grants.items())
        for grant in held
        if grant.is_live(now) and grant.domain in live_domains(standings[person], held, now)
    ]
