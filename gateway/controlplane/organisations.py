"""Organisations, and what people are trusted to do: facts about who takes part in the workflow."""

import uuid
from datetime import datetime
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change, record_event
from gateway.controlplane.verification_schemas import OrganisationChange, RoleText
from gateway.errors import ConflictError, NotFoundError, NotPermittedError
from gateway.identity.principal import Administrator, Member
from gateway.policy.approval import Duty, Party, Role
from gateway.tables import Organisation, Person, PersonRole
from models.names import name_key

STATES: dict[str, Literal["verified", "suspended"]] = {
    "verified": "verified",
    "suspended": "suspended",
}


async def named_organisation(session: AsyncSession, name: str, now: datetime) -> Organisation:
    """Return the organisation of a name, made unverified when there is none."""
    query = select(Organisation).where(Organisation.name_key == name_key(name))
    found = await session.scalar(query)
    if found is not None:
        return found
    made = Organisation(
        id=str(uuid.uuid4()),
        name=name,
        name_key=name_key(name),
        state="unverified",
        created_at=now,
    )
    try:
        async with session.begin_nested():
            session.add(made)  # The row must exist before people who name it.
    except IntegrityError:
        # Somebody else has named it first meanwhile; it is the same organisation.
        return (await session.scalars(query)).one()
    return made


async def list_organisations(session: AsyncSession, limit: int, offset: int) -> list[Organisation]:
    """Return organisations by name."""
    query = select(Organisation).order_by(Organisation.name).limit(limit).offset(offset)
    return list(await session.scalars(query))


async def get_organisation(
    session: AsyncSession, organisation_id: str, *, to_change: bool = False
) -> Organisation:
    """Return an organisation; `to_change` locks the row.

    Raises:
        NotFoundError: There is none of that id.
    """
    found = await (
        locked(session, Organisation, organisation_id)
        if to_change
        else session.get(Organisation, organisation_id)
    )
    if found is None:
        raise NotFoundError(f"There is no organisation '{organisation_id}'.")
    return found


async def change_organisation(
    session: AsyncSession,
    organisation_id: str,
    change: OrganisationChange,
    *,
    actor: str,
    now: datetime,
) -> Organisation:
    """Verify or suspend an organisation; a suspended one suspends every grant of its people.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: Another one has the ROR id.
    """
    # What was set meanwhile is read, or setting it back would change nothing and be logged.
    organisation = await get_organisation(session, organisation_id, to_change=True)
    fields = change.model_dump(exclude_none=True)
    if change.ror_id is not None:
        other = await session.scalar(
            select(Organisation.id).where(
                Organisation.ror_id == change.ror_id, Organisation.id != organisation_id
            )
        )
        if other is not None:
            raise ConflictError(f"'{other}' has the ROR id {change.ror_id}.", "ror_id")
    try:
        async with session.begin_nested():
            for field, value in fields.items():
                setattr(organisation, field, value)
    except IntegrityError as error:  # Somebody has given it to another one at the same moment.
        raise ConflictError("Another one has this ROR id.", "ror_id") from error
    await record_change(
        session, Tag.ORGANISATION_CHANGED, organisation_id, actor=actor, now=now, **fields
    )
    return organisation


async def roles_of(session: AsyncSession, person_id: str) -> frozenset[Role]:
    """Return what a person is trusted to do."""
    rows = await session.scalars(select(PersonRole).where(PersonRole.person_id == person_id))
    return frozenset(Role(Duty(row.duty), row.domain or None) for row in rows)


async def set_roles(
    session: AsyncSession, person_id: str, given: list[RoleText], *, actor: str, now: datetime
) -> list[RoleText]:
    """Replace a person's roles.

    Raises:
        NotFoundError: There is no such person.
    """
    # Or what somebody else gives meanwhile would be added to these, and logged as taken away.
    await locked(session, Person, person_id)
    await party(session, person_id)
    roles = sorted(set(given))
    await session.execute(delete(PersonRole).where(PersonRole.person_id == person_id))
    for text in roles:
        duty, _, domain = text.partition(":")
        session.add(PersonRole(person_id=person_id, duty=duty, domain=domain))
    await record_event(session, Tag.ROLES_CHANGED, person_id, actor=actor, now=now, roles=roles)
    return roles


def role_text(role: Role) -> RoleText:
    """Return a role as the API writes it: `duty` or `duty:domain`."""
    return str(role.duty) if role.domain is None else f"{role.duty}:{role.domain}"


async def party(session: AsyncSession, person_id: str) -> Party:
    """Return a person as the workflow sees them.

    Raises:
        NotFoundError: There is no such person.
    """
    row = (
        await session.execute(
            select(Person.organisation, Person.state, Organisation.state)
            .join(Organisation, Organisation.name == Person.organisation)
            .where(Person.id == person_id)
        )
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no person '{person_id}'.")
    # Not the person's row, which is read once in a transaction, however long that waits.
    organisation, state, organisation_state = row
    return Party(
        id=person_id,
        organisation=organisation,
        # A state that this code does not know is no verified one.
        organisation_state=STATES.get(organisation_state, "unverified"),
        is_active=state == "active",
        roles=await roles_of(session, person_id),
    )


async def whose_rows(
    session: AsyncSession, caller: Administrator | Member, person_id: str | None
) -> str | None:
    """Return whose rows are shown: everyone's only to administrators and people with a role.

    Raises:
        NotPermittedError: Another person's were asked for.
    """
    if isinstance(caller, Administrator) or await roles_of(session, caller.person_id):
        return person_id
    if person_id not in (None, caller.person_id):
        raise NotPermittedError("These are another person's.")
    return caller.person_id
