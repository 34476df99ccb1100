"""People: who holds keys, in which tier, and whether they may call at all."""

import uuid
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change
from gateway.controlplane.organisations import named_organisation
from gateway.controlplane.schemas import PersonIn
from gateway.controlplane.sessions import end_sessions
from gateway.controlplane.tiers import get_tier
from gateway.errors import NotFoundError
from gateway.tables import Person


async def list_people(session: AsyncSession, limit: int, offset: int) -> list[Person]:
    """Return people in the order in which they were added."""
    query = select(Person).order_by(Person.created_at, Person.id).limit(limit).offset(offset)
    return list(await session.scalars(query))


async def get_person(session: AsyncSession, person_id: str, *, to_change: bool = False) -> Person:
    """Return a person; `to_change` locks the row.

    Raises:
        NotFoundError: There is none of that id.
    """
    person = await (
        locked(session, Person, person_id) if to_change else session.get(Person, person_id)
    )
    if person is None:
        raise NotFoundError(f"There is no person '{person_id}'.")
    return person


async def add_person(
    session: AsyncSession, given: PersonIn, *, actor: str, now: datetime
) -> Person:
    """Add a person.

    Raises:
        NotFoundError: There is no such tier.
    """
    await get_tier(session, given.tier)
    organisation = await named_organisation(session, given.organisation, now)
    person = Person(
        id=str(uuid.uuid4()),
        name=given.name,
        organisation=organisation.name,
        tier=given.tier,
        state="active",
        created_at=now,
    )
    session.add(person)
    await session.flush()  # The row must exist before keys and grants that name it.
    await record_change(
        session, Tag.PERSON_ADDED, person.id, actor=actor, now=now, tier=person.tier
    )
    return person


async def log_out(session: AsyncSession, person_id: str, *, actor: str, now: datetime) -> None:
    """End every session of a person.

    Raises:
        NotFoundError: There is no such person.
    """
    await get_person(session, person_id)
    await end_sessions(session, person_id, actor=actor, now=now)
