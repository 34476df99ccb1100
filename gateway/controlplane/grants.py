"""Grants: one hazard domain opened to one person, for a time that always ends."""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change
from gateway.controlplane.people import get_person
from gateway.controlplane.renewals import renewals_of
from gateway.controlplane.schemas import GrantIn
from gateway.controlplane.tiers import get_tier
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError, NotPermittedError
from gateway.settings import Settings
from gateway.tables import Grant


async def list_grants(
    session: AsyncSession, person_id: str | None, limit: int, offset: int
) -> list[Grant]:
    """Return grants, of one person or of all, the newest first."""
    query = select(Grant).order_by(Grant.created_at.desc(), Grant.id).limit(limit).offset(offset)
    if person_id is not None:
        query = query.where(Grant.person_id == person_id)
    return list(await session.scalars(query))


def check_direct(settings: Settings) -> None:
    """Let grants be given here without an application.

    Raises:
        NotPermittedError: Two people decide on each.
    """
    if not settings.direct_grants:
        raise NotPermittedError(
            "Not permitted: a grant comes from an application that two people approve. "
            "AIRLOCK_DIRECT_GRANTS=true lets one administrator give them, for trying things out."
        )


async def create_grant(
    session: AsyncSession, given: GrantIn, *, actor: str, now: datetime
) -> Grant:
    """Grant a domain.

    The domain need not be known yet: people may be verified before the first promotion, and a
    grant for a domain that no family declares opens nothing.

    Raises:
        NotFoundError: There is no such person.
        InvalidRequestError: The tier's members hold no grants, or none so long.
    """
    person = await get_person(session, given.person_id)
    tier = await get_tier(session, person.tier)
    if not tier.grantable:
        raise InvalidRequestError(
            f"Members of the tier '{tier.name}' hold no grants; move the person first.", "person_id"
        )
    if given.days > tier.max_grant_days:
        raise InvalidRequestError(
            f"A grant in the tier '{tier.name}' lasts {tier.max_grant_days} days at most.", "days"
        )
    grant = Grant(person_id=person.id, domain=given.domain, reason=given.reason, approved_by=actor)
    return await add_grant(session, grant, timedelta(days=given.days), actor=actor, now=now)


async def add_grant(
    session: AsyncSession,
    grant: Grant,
    lasts: timedelta,
    *,
    actor: str,
    now: datetime,
    **detail: object,
) -> Grant:
    """Let a grant begin; receipts look for the entry that this makes, under the grant's id.

    Args:
        session: The transaction.
        grant: Whose, for what, why, by whose approval, and what else it rests on; also from when,
            if not from now.
        lasts: How long, at most.
        actor: Who makes it.
        now: The moment.
        detail: What the entry says besides.
    """
    grant.id = str(uuid.uuid4())
    grant.created_at, grant.not_before = now, grant.not_before or now
    grant.expires_at = grant.not_before + lasts
    session.add(grant)
    await session.flush()  # The row must exist before an opening that refers to it.
    await record_change(
        session,
        Tag.GRANT_CREATED,
        grant.id,
        actor=actor,
        now=now,
        person=grant.person_id,
        domain=grant.domain,
        not_before=grant.not_before.isoformat(),
        expires_at=grant.expires_at.isoformat(),
        **detail,
    )
    return grant


async def revoke_grant(session: AsyncSession, grant_id: str, *, actor: str, now: datetime) -> Grant:
    """End a grant for ever, and its renewal; streams that rest on it are cut within a second.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was revoked before.
    """
    grant = await locked(session, Grant, grant_id)
    if grant is None:
        raise NotFoundError(f"There is no grant '{grant_id}'.")
    if grant.revoked_at is not None:
        raise ConflictError("The grant was revoked before.")
    for each in (grant, *await renewals_of(session, grant, now)):
        each.revoked_at, each.revoked_by = now, actor
        await record_change(session, Tag.GRANT_REVOKED, each.id, actor=actor, now=now)
    return grant
