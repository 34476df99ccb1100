"""The first administrator: made by a one-time code from the server's own terminal, never otherwise.

Only while there is no administrator at all: neither a person with the duty nor a live key.
"""

import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change
from gateway.errors import ConflictError, NotPermittedError
from gateway.identity.principal import Member
from gateway.policy.approval import Duty
from gateway.tables import ApiKey, FirstAdministratorCode, Person, PersonRole

LASTS = timedelta(minutes=15)


async def has_administrator(session: AsyncSession, now: datetime) -> bool:
    """Whether anybody administers the gateway."""
    key = select(ApiKey.id).where(
        ApiKey.kind == "admin",
        or_(ApiKey.revoked_at.is_(None), ApiKey.revoked_at > now),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now),
    )
    person = (
        select(Person.id)
        .join(PersonRole, PersonRole.person_id == Person.id)
        .where(PersonRole.duty == str(Duty.ADMINISTRATOR), Person.state == "active")
    )
    return any([await session.scalar(query.limit(1)) is not None for query in (key, person)])


async def check_no_administrator(session: AsyncSession, now: datetime) -> None:
    """Raise when there is an administrator already, who can make others.

    Raises:
        ConflictError: There is one.
    """
    if await has_administrator(session, now):
        raise ConflictError("There is an administrator already, who can make others.")


async def make_code(session: AsyncSession, *, pepper: bytes, now: datetime) -> str:
    """Return a new code, which takes the place of an earlier one.

    Raises:
        ConflictError: There is an administrator already.
    """
    await check_no_administrator(session, now)
    code = secrets.token_urlsafe(24)
    await session.execute(delete(FirstAdministratorCode))
    session.add(FirstAdministratorCode(id=1, code_hmac=_hmac(pepper, code), expires_at=now + LASTS))
    return code


async def make_first_administrator(
    session: AsyncSession, code: str, member: Member, *, pepper: bytes, now: datetime
) -> None:
    """Give the duty to who shows the code; the code is good once.

    Raises:
        NotPermittedError: It is not the code, or has expired.
        ConflictError: There is an administrator already.
    """
    row = await locked(session, FirstAdministratorCode, 1)
    stored = bytes(32) if row is None else row.code_hmac
    matches = hmac.compare_digest(stored, _hmac(pepper, code))
    if row is None or not matches or now >= row.expires_at:
        raise NotPermittedError("The code is not valid; `airlock bootstrap` prints another.")
    await check_no_administrator(session, now)
    await session.delete(row)
    session.add(PersonRole(person_id=member.person_id, duty=str(Duty.ADMINISTRATOR), domain=""))
    await record_change(
        session,
        Tag.FIRST_ADMINISTRATOR_MADE,
        member.person_id,
        actor=member.actor,
        now=now,
    )


def _hmac(pepper: bytes, code: str) -> bytes:
    return hmac.digest(pepper, b"first-administrator/" + code.encode(), "sha256")
