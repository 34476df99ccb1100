"""Who somebody is that has logged in; who comes for the first time is added, without any rights."""

import uuid
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.addresses import take_from_issuer
from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.people import add_person
from gateway.controlplane.schemas import PersonIn
from gateway.identity.login import LoggedIn
from gateway.identity.members import find_identity, is_active
from gateway.identity_errors import UnknownPersonError
from gateway.setting_types import IssuerSetting
from gateway.tables import Identity

FIRST_TIER = "public"


async def person_of(
    session: AsyncSession, logged_in: LoggedIn, issuer: IssuerSetting, now: datetime
) -> str:
    """Return the id of the person who has logged in, added when they come for the first time.

    Raises:
        UnknownPersonError: They are suspended, or the subject is a service.
    """
    proof = logged_in.proof
    identity = await find_identity(session, proof.issuer, proof.subject)
    if identity is None:
        try:
            async with session.begin_nested():
                person_id = await _add(session, logged_in, issuer, now)
        except IntegrityError:
            if await find_identity(session, proof.issuer, proof.subject) is None:
                raise
            # Another login of theirs was first, at the same moment: they are who that has added.
            return await person_of(session, logged_in, issuer, now)
    elif identity.domains is not None or not await is_active(session, identity.person_id):
        raise UnknownPersonError
    else:
        person_id = identity.person_id
    if logged_in.email is not None:
        await take_from_issuer(session, person_id, logged_in.email, issuer.issuer, now)
    return person_id


async def _add(
    session: AsyncSession, logged_in: LoggedIn, issuer: IssuerSetting, now: datetime
) -> str:
    actor = f"issuer:{issuer.issuer}"[:200]
    given = PersonIn(name=logged_in.name, organisation=issuer.organisation, tier=FIRST_TIER)
    person = await add_person(session, given, actor=actor, now=now)
    await bind_first(
        session, person.id, issuer.issuer, logged_in.proof.subject, actor=actor, now=now
    )
    return person.id


async def bind_first(
    session: AsyncSession, person_id: str, issuer: str, subject: str, *, actor: str, now: datetime
) -> None:
    """Say who a person is whom nobody knew until now."""
    identity = Identity(
        id=str(uuid.uuid4()),
        issuer=issuer,
        subject=subject,
        person_id=person_id,
        label="login",
        domains=None,
        created_at=now,
    )
    session.add(identity)
    await record_change(
        session,
        Tag.IDENTITY_BOUND,
        identity.id,
        actor=actor,
        now=now,
        issuer=issuer,
        person=person_id,
        domains=None,
    )
