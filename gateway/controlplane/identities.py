"""Whom identity providers' subjects are: bound by an administrator, or by a first login."""

import uuid
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change
from gateway.controlplane.identity_schemas import IdentityIn
from gateway.controlplane.people import get_person
from gateway.controlplane.sessions import end_identitys_sessions
from gateway.errors import ConflictError, NotFoundError
from gateway.identity.members import find_identity
from gateway.setting_types import IssuerSetting
from gateway.tables import Identity


async def list_identities(
    session: AsyncSession, person_id: str | None, limit: int, offset: int
) -> list[Identity]:
    """Return identities, of one person or of all, the newest first."""
    query = select(Identity).order_by(Identity.created_at.desc(), Identity.id)
    if person_id is not None:
        query = query.where(Identity.person_id == person_id)
    return list(await session.scalars(query.limit(limit).offset(offset)))


async def bind_identity(
    session: AsyncSession,
    given: IdentityIn,
    issuer: IssuerSetting,
    *,
    actor: str,
    now: datetime,
) -> Identity:
    """Say whom an issuer's subject is: a person, or a service that acts for them.

    Raises:
        NotFoundError: There is no such person.
        ConflictError: The subject is bound already.
    """
    await get_person(session, given.person_id)
    if await find_identity(session, issuer.issuer, given.subject) is not None:
        raise ConflictError("The subject is bound already.", "subject")
    identity = Identity(
        id=str(uuid.uuid4()),
        issuer=issuer.issuer,
        subject=given.subject,
        person_id=given.person_id,
        label=given.label,
        domains=None if given.domains is None else sorted(set(given.domains)),
        created_at=now,
    )
    try:
        async with session.begin_nested():
            session.add(identity)
    except IntegrityError as error:  # By somebody else, or a first login, at the same moment.
        raise ConflictError("The subject is bound already.", "subject") from error
    await record_change(
        session,
        Tag.IDENTITY_BOUND,
        identity.id,
        actor=actor,
        now=now,
        issuer=issuer.issuer,
        person=given.person_id,
        domains=identity.domains,
    )
    return identity


async def unbind_identity(
    session: AsyncSession, identity_id: str, *, actor: str, now: datetime
) -> None:
    """End what rests on an identity, for ever: its tokens and sessions count for nobody any more.

    Raises:
        NotFoundError: There is none of that id.
    """
    identity = await locked(session, Identity, identity_id)
    if identity is None:
        raise NotFoundError(f"There is no identity '{identity_id}'.")
    await end_identitys_sessions(session, identity, actor=actor, now=now)
    await session.delete(identity)
    await record_change(
        session, Tag.IDENTITY_UNBOUND, identity_id, actor=actor, now=now, person=identity.person_id
    )
