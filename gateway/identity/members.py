"""People whom a provider vouches for, as they are now in the database."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.errors import NotPermittedError
from gateway.identity.principal import Member
from gateway.identity.proof import Proof
from gateway.identity_errors import UnknownPersonError
from gateway.tables import Identity, Person


async def find_identity(session: AsyncSession, issuer: str, subject: str) -> Identity | None:
    """Return whom a subject is; None when nobody has said so yet."""
    found: Identity | None = await session.scalar(
        select(Identity).where(Identity.issuer == issuer, Identity.subject == subject)
    )
    return found


async def proven_member(session: AsyncSession, proof: Proof) -> Member:
    """Return the person whom a provider vouches for.

    Raises:
        UnknownPersonError: There is none, or they are suspended.
        NotPermittedError: It is a service, which takes no step of a person's.
    """
    identity = await find_identity(session, proof.issuer, proof.subject)
    if identity is None or not await is_active(session, identity.person_id):
        raise UnknownPersonError
    if identity.domains is not None:
        raise NotPermittedError("A service may only ask models.")
    return Member(identity.id, identity.person_id, proof.assurance)


async def is_active(session: AsyncSession, person_id: str) -> bool:
    """Whether there is such a person, not suspended."""
    person = await session.get(Person, person_id)
    return person is not None and person.state == "active"
