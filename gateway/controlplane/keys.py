"""API keys: made, listed, rotated with an overlap, revoked; their text is shown once."""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.people import get_person
from gateway.controlplane.schemas import KeyIn
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from gateway.identity.api_keys import PEPPER_VERSION, Kind, mint, secret_hmac
from gateway.identity.key_records import KINDS
from gateway.tables import ApiKey

PEPPER_PURPOSE = f"api-keys/{PEPPER_VERSION}"


class NewKey(NamedTuple):
    """A key's row and its text, which nobody will see again."""

    row: ApiKey
    text: str


async def list_keys(
    session: AsyncSession, person_id: str | None, limit: int, offset: int
) -> list[ApiKey]:
    """Return keys, of one person or of all, the newest first."""
    query = select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id).limit(limit).offset(offset)
    if person_id is not None:
        query = query.where(ApiKey.person_id == person_id)
    return list(await session.scalars(query))


async def create_key(
    session: AsyncSession, given: KeyIn, *, pepper: bytes, actor: str, now: datetime
) -> NewKey:
    """Make a key for a person, or for an administrator.

    Raises:
        NotFoundError: There is no such person.
        InvalidRequestError: A caller's key without a person, or an administrator's with one.
    """
    kind: Kind = "admin" if given.admin else "workflow" if given.workflow else "key"
    if given.admin == (given.person_id is not None):
        raise InvalidRequestError(
            "A caller's key belongs to a person, an administrator's to none.", "person_id"
        )
    if given.admin and given.workflow:
        raise InvalidRequestError("An administrator's key takes no part.", "workflow")
    if given.person_id is not None:
        await get_person(session, given.person_id)
    expires_at = now + timedelta(days=given.days) if given.days else None
    new = await _insert(session, kind, given.person_id, given.label, expires_at, pepper, now)
    await record_change(
        session,
        Tag.KEY_CREATED,
        new.row.id,
        actor=actor,
        now=now,
        kind=kind,
        person=given.person_id,
    )
    return new


async def rotate_key(
    session: AsyncSession,
    key_id: str,
    overlap: timedelta,
    *,
    pepper: bytes,
    actor: str,
    now: datetime,
) -> NewKey:
    """Make a successor of a key, which itself ends after `overlap`.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was revoked or rotated before.
    """
    old = await _live_key(session, key_id)
    new = await _insert(session, _kind(old), old.person_id, old.label, old.expires_at, pepper, now)
    old.revoked_at, old.replaced_by = now + overlap, new.row.id
    await record_change(
        session, Tag.KEY_ROTATED, key_id, actor=actor, now=now, successor=new.row.id
    )
    return new


async def revoke_key(session: AsyncSession, key_id: str, *, actor: str, now: datetime) -> ApiKey:
    """End a key at once, also one that is in the overlap of a rotation.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was revoked before.
    """
    key = await _get_key(session, key_id)
    if key.revoked_at is not None and key.revoked_at <= now:
        raise ConflictError("The key was revoked before.")
    key.revoked_at = now
    await record_change(session, Tag.KEY_REVOKED, key_id, actor=actor, now=now)
    return key


async def _get_key(session: AsyncSession, key_id: str) -> ApiKey:
    key = await session.get(ApiKey, key_id)
    if key is None:
        raise NotFoundError(f"There is no key '{key_id}'.")
    return key


async def _live_key(session: AsyncSession, key_id: str) -> ApiKey:
    key = await _get_key(session, key_id)
    if key.revoked_at is not None:
        raise ConflictError("The key was revoked or rotated before.")
    return key


def _kind(key: ApiKey) -> Kind:
    return KINDS[key.kind]


async def _insert(
    session: AsyncSession,
    kind: Kind,
    person_id: str | None,
    label: str,
    expires_at: datetime | None,
    pepper: bytes,
    now: datetime,
) -> NewKey:
    parsed, text = mint(kind)
    row = ApiKey(
        id=parsed.id,
        kind=kind,
        person_id=person_id,
        label=label,
        secret_hmac=secret_hmac(pepper, parsed),
        pepper_version=PEPPER_VERSION,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()  # A predecessor's `replaced_by` refers to this row.
    return NewKey(row, text)
