"""Changes of a person: tier, state, name, and the organisation that they belong to.

Who may judge whom, and what was verified, rests on the organisation. So what was said for the old
one goes when a person moves: their applications that wait for somebody come back to them, to be
edited, and evidence that the gateway itself has bound to the old one is retracted.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.applications import give_back, hold_waiting
from gateway.controlplane.changes import Tag, record_change, record_event
from gateway.controlplane.evidence import hold_mails_of_others, retract
from gateway.controlplane.organisations import named_organisation
from gateway.controlplane.people import get_person
from gateway.controlplane.schemas import PersonChange
from gateway.controlplane.sessions import end_sessions
from gateway.controlplane.tiers import get_tier
from gateway.tables import Organisation, Person


async def change_person(
    session: AsyncSession, person_id: str, change: PersonChange, *, actor: str, now: datetime
) -> Person:
    """Move a person to another tier or organisation, rename, suspend or reinstate them.

    A suspension ends their sessions, and so does its end.

    Raises:
        NotFoundError: There is no such person or tier.
    """
    # What was set meanwhile is read, or setting it back would change nothing and be logged.
    person = await get_person(session, person_id, to_change=True)
    if change.tier is not None:
        await get_tier(session, change.tier)
    given = change.model_dump(exclude_none=True, exclude={"organisation"})
    fields = dict(given)
    if "name" in fields:
        fields["name"] = "changed"  # Not the name itself: nobody takes it out of the log again.
    if change.organisation is not None:
        organisation = await named_organisation(session, change.organisation, now)
        if organisation.name != person.organisation:
            await _move(session, person, organisation, actor=actor, now=now)
            fields["organisation"] = organisation.id
    if change.state not in (None, person.state):
        # With the reinstatement too: what began in the moment of the suspension is not revived.
        await end_sessions(session, person_id, actor=actor, now=now)
    for field, value in given.items():
        setattr(person, field, value)
    await record_change(session, Tag.PERSON_CHANGED, person_id, actor=actor, now=now, **fields)
    return person


async def _move(
    session: AsyncSession, person: Person, organisation: Organisation, *, actor: str, now: datetime
) -> None:
    left = await session.scalar(
        select(Organisation.id).where(Organisation.name == person.organisation)
    )
    person.organisation = organisation.name
    # Every row before the first entry, since who holds the log's head waits for nobody.
    waiting = await hold_waiting(session, person.id, now)
    mails = await hold_mails_of_others(session, person.id, organisation.id)
    await record_event(
        session,
        Tag.PERSON_MOVED,
        person.id,
        actor=actor,
        now=now,
        left=left,
        organisation=organisation.id,
    )
    for loaded in waiting:
        await give_back(session, loaded, actor=actor, now=now)
    for item in mails:
        await retract(session, item, actor=actor, now=now)
