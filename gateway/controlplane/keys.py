"""API keys: made, listed, rotated with an overlap, revoked; their text is shown once."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change
from gateway.controlplane.key_rules import (
    LASTS,
    LONGEST_OVERLAP,
    OF_CALLERS,
    check_domains,
    check_parts,
    expiry_of,
    kind_of,
    latest_end,
    scopes_of,
)
from gateway.controlplane.key_schemas import KeyIn, KeyNarrowing
from gateway.controlplane.people import get_person
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from gateway.identity.api_keys import Kind, mint
from gateway.identity.key_records import KINDS
from gateway.identity.peppers import Peppers
from gateway.identity.principal import Maker
from gateway.policy.key_terms import widened
from gateway.policy.scopes import known_scopes
from gateway.tables import ApiKey


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
    session: AsyncSession,
    given: KeyIn,
    *,
    peppers: Peppers,
    maker: Maker,
    now: datetime,
    usual: timedelta | None = None,
) -> NewKey:
    """Make a key for a person, or for an administrator; `usual` is how long one of callers lasts.

    Raises:
        NotFoundError: There is no such person.
        InvalidRequestError: What is asked for does not go together, or beyond its owner's grants.
        InsufficientScopeError: It is more than the key can give that makes it.
    """
    kind, person_id = kind_of(given), given.person_id
    if person_id is not None:
        await get_person(session, person_id)
    await check_domains(session, person_id, given.domains, now)
    wanted = None if given.scopes is None else frozenset(given.scopes)
    scopes = scopes_of(kind, wanted, maker)
    latest = await latest_end(session, kind, person_id, given.domains, maker, now)
    narrowing = given.model_dump(include={"label", "addresses", *OF_CALLERS}) | {"scopes": scopes}
    expires_at = expiry_of(given.days, LASTS[kind] or usual, latest, now)
    new = await _insert(session, kind, person_id, narrowing, expires_at, peppers, maker, now)
    await record_change(
        session,
        Tag.KEY_CREATED,
        new.row.id,
        actor=maker.actor,
        now=now,
        kind=kind,
        person=person_id,
        expires_at=expires_at.isoformat() if expires_at else None,
        narrowed={name: value for name, value in narrowing.items() if _narrows(name, value)},
    )
    return new


async def rotate_key(
    session: AsyncSession,
    key_id: str,
    overlap: timedelta,
    *,
    peppers: Peppers,
    maker: Maker,
    now: datetime,
) -> NewKey:
    """Make a successor of a key, which itself ends after `overlap`.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was revoked or rotated before, or has expired.
        InvalidRequestError: The overlap is too long.
        InsufficientScopeError: It is more than the key can give that makes it.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise InvalidRequestError("The overlap is seven days at most.", "overlap_hours")
    old = await _live_key(session, key_id, now)
    kind = KINDS[old.kind]
    if kind != "key":
        scopes_of(kind, known_scopes(old.scopes or ()), maker)
    latest = await latest_end(session, kind, old.person_id, old.domains, maker, now)
    left = LASTS[kind] if old.expires_at is None else old.expires_at - now
    expires_at = expiry_of(None, left, latest, now)
    narrowing = {name: getattr(old, name) for name in ("label", "addresses", "scopes", *OF_CALLERS)}
    new = await _insert(session, kind, old.person_id, narrowing, expires_at, peppers, maker, now)
    old.revoked_at, old.replaced_by = now + overlap, new.row.id
    await record_change(
        session, Tag.KEY_ROTATED, key_id, actor=maker.actor, now=now, successor=new.row.id
    )
    return new


async def narrow_key(
    session: AsyncSession, key: ApiKey, given: KeyNarrowing, *, actor: str, now: datetime
) -> ApiKey:
    """Take from a key what it is to do without; its running streams are held to it.

    Args:
        session: The transaction.
        key: Locked, or what was compared may be another by now.
        given: What it is to have instead; nothing that is left out.
        actor: Who says so.
        now: The moment.

    Raises:
        ConflictError: It was revoked or rotated before, or has expired.
        InvalidRequestError: A term would be wider than it is, or is none of such a key.
    """
    check_live(key, now)
    check_parts(KINDS[key.kind], given)
    new = given.model_dump(exclude_unset=True)
    label = new.pop("label", key.label)
    wider = widened({name: getattr(key, name) for name in new}, new)
    if wider is not None:
        raise InvalidRequestError("A key only loses; what gives it more is a new key.", wider)
    if given.expires_at is not None and given.expires_at <= now:
        raise InvalidRequestError("That moment is over; revoke the key instead.", "expires_at")
    for name, value in {**new, "label": label}.items():
        setattr(key, name, value)
    detail = given.model_dump(mode="json", exclude_unset=True, exclude={"label"})
    await record_change(
        session, Tag.KEY_NARROWED, key.id, actor=actor, now=now, person=key.person_id, to=detail
    )
    return key


async def revoke_key(
    session: AsyncSession,
    key_id: str,
    *,
    actor: str,
    now: datetime,
    tag: Tag = Tag.KEY_REVOKED,
    **detail: object,
) -> ApiKey:
    """End a key at once, also one that is in the overlap of a rotation; `tag` says why.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was revoked before.
    """
    key = await key_to_change(session, key_id)
    if key.revoked_at is not None and key.revoked_at <= now:
        raise ConflictError("The key was revoked before.")
    # It is no rotated key any more, whose end may lie ahead: by another gateway's clock this may.
    key.revoked_at, key.replaced_by = now, None
    await record_change(session, tag, key_id, actor=actor, now=now, **detail)
    return key


async def get_key(session: AsyncSession, key_id: str) -> ApiKey:
    """Return a key, to be shown.

    Raises:
        NotFoundError: There is none of that id.
    """
    key = await session.get(ApiKey, key_id)
    if key is None:
        raise NotFoundError(f"There is no key '{key_id[:40]}'.")
    return key


async def key_to_change(session: AsyncSession, key_id: str) -> ApiKey:
    """Return a key that nobody else changes before the transaction ends.

    Unlocked, a rotation that had read it before a revocation would put off its end by the overlap.

    Raises:
        NotFoundError: There is none of that id.
    """
    key = await locked(session, ApiKey, key_id)
    if key is None:
        raise NotFoundError(f"There is no key '{key_id[:40]}'.")
    return key


async def own_key(
    session: AsyncSession, key_id: str, person_id: str, *, to_change: bool = False
) -> ApiKey:
    """Return a person's own key; with `to_change`, locked.

    Raises:
        NotFoundError: There is none of that id, or it is another person's.
    """
    key = await session.get(ApiKey, key_id)
    if key is not None and key.person_id == person_id and to_change:
        return await key_to_change(session, key_id)
    if key is None or key.person_id != person_id:
        raise NotFoundError(f"There is no key '{key_id[:40]}'.")
    return key


async def _live_key(session: AsyncSession, key_id: str, now: datetime) -> ApiKey:
    key = await key_to_change(session, key_id)
    check_live(key, now)
    return key


def check_live(key: ApiKey, now: datetime) -> None:
    """Refuse a key that has an end already.

    Raises:
        ConflictError: It was revoked or rotated before, or has expired.
    """
    if key.revoked_at is not None:
        raise ConflictError("The key was revoked or rotated before.")
    if key.expires_at is not None and key.expires_at <= now:
        raise ConflictError("The key has expired; make another.")


def _narrows(name: str, value: object) -> bool:
    return name != "label" and value is not None


async def _insert(
    session: AsyncSession,
    kind: Kind,
    person_id: str | None,
    narrowing: Mapping[str, object],
    expires_at: datetime | None,
    peppers: Peppers,
    maker: Maker,
    now: datetime,
) -> NewKey:
    parsed, text = mint(kind)
    proof = None if kind == "key" else maker.proof
    row = ApiKey(
        id=parsed.id,
        kind=kind,
        person_id=person_id,
        secret_hmac=peppers.hashed(parsed),
        pepper_version=peppers.version,
        created_at=now,
        expires_at=expires_at,
        **narrowing,
    )
    if proof is not None and proof.authenticated_at is not None:
        # Not this moment: a key is as old as the login that it stands for.
        row.proven_by, row.proven_acr = proof.issuer, proof.acr
        row.proven_at = datetime.fromtimestamp(proof.authenticated_at, UTC)
    session.add(row)
    await session.flush()  # A predecessor's `replaced_by` refers to this row.
    return NewKey(row, text)
