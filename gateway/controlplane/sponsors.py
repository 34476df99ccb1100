"""Sponsors: who answers for a grant beside its holder, and is told of its first use and its end.

A sponsor gets no right by it. Without one, the contact of the holder's organisation is told.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_event
from gateway.controlplane.contact_schemas import SponsorIn
from gateway.controlplane.organisations import get_organisation
from gateway.controlplane.people import get_person
from gateway.errors import ConflictError, NotFoundError
from gateway.tables import Grant, Sponsor


async def get_sponsor(session: AsyncSession, grant_id: str) -> Sponsor:
    """Return who answers for a grant.

    Raises:
        NotFoundError: There is no such grant, or nobody was named.
    """
    if await session.get(Grant, grant_id) is None:
        raise NotFoundError(f"There is no grant '{grant_id}'.")
    sponsor = await session.get(Sponsor, grant_id)
    if sponsor is None:
        raise NotFoundError("Nobody was named; the organisation's contact is told.")
    return sponsor


async def set_sponsor(
    session: AsyncSession, grant_id: str, given: SponsorIn, *, actor: str, now: datetime
) -> Sponsor:
    """Say who answers for a grant.

    Raises:
        NotFoundError: There is no such grant, person or organisation.
        ConflictError: The person holds the grant, or is suspended; the organisation is suspended.
    """
    grant = await locked(session, Grant, grant_id)
    if grant is None:
        raise NotFoundError(f"There is no grant '{grant_id}'.")
    if given.person_id is not None:
        person = await get_person(session, given.person_id)
        if person.id == grant.person_id or person.state != "active":
            raise ConflictError("A sponsor is active, and not the holder.", "person_id")
    if given.organisation_id is not None:
        organisation = await get_organisation(session, given.organisation_id)
        if organisation.state == "suspended":
            raise ConflictError("The organisation is suspended.", "organisation_id")
    sponsor = await session.get(Sponsor, grant_id)
    if sponsor is None:
        sponsor = Sponsor(grant_id=grant_id)
        session.add(sponsor)
    sponsor.person_id, sponsor.organisation_id = given.person_id, given.organisation_id
    sponsor.set_by, sponsor.set_at = actor, now
    named = {"person": given.person_id, "organisation": given.organisation_id}
    await record_event(session, Tag.SPONSOR_SET, grant_id, actor=actor, now=now, **named)
    return sponsor


async def remove_sponsor(
    session: AsyncSession, grant_id: str, *, actor: str, now: datetime
) -> None:
    """Take a sponsor away.

    Raises:
        NotFoundError: There is none.
    """
    # The grant, as who names one has it: of two at once the last word stands, and each is logged.
    await locked(session, Grant, grant_id)
    await session.delete(await get_sponsor(session, grant_id))
    await record_event(session, Tag.SPONSOR_REMOVED, grant_id, actor=actor, now=now)
