"""What is stored of keys, as decisions take it: read from rows, judged at a moment."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.errors import ExpiredKeyError, RevokedKeyError
from gateway.identity.api_keys import Kind
from gateway.identity.principal import KeyRights
from gateway.identity.proof import Assurance
from gateway.policy.key_terms import NOT_NARROWED, UNLIMITED, KeyLimits, KeyTerms, Network
from gateway.policy.scopes import known_scopes
from gateway.tables import ApiKey
from gateway.tables.keys import LIMITS

KINDS: dict[str, Kind] = {"key": "key", "workflow": "workflow", "admin": "admin"}
UNREAD = ("label", "created_at", "last_used_at")
COLUMNS = [column for column in ApiKey.__table__.columns if column.name not in UNREAD]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is stored of a key."""

    id: str
    kind: Kind
    person_id: str | None
    hmac: bytes
    pepper_version: int
    expires_at: datetime | None
    revoked_at: datetime | None
    is_rotated: bool = False
    """Whether it has a successor, and `revoked_at` is the end of the overlap."""
    terms: KeyTerms = NOT_NARROWED
    rights: KeyRights | None = None
    """What it may do at the admin API; None for a key that asks models."""

    def check(self, now: datetime) -> None:
        """Raise when the key no longer counts.

        Raises:
            RevokedKeyError: It was revoked.
            ExpiredKeyError: It has expired.
        """
        if self.is_revoked(now):
            raise RevokedKeyError
        if self.expires_at is not None and self.expires_at <= now:
            raise ExpiredKeyError

    def is_revoked(self, now: datetime) -> bool:
        """Whether it was taken away, at any moment: whoever did so may have another clock.

        A rotated key is at the end of the overlap, which may lie ahead.
        """
        return self.revoked_at is not None and not (self.is_rotated and now < self.revoked_at)


async def load_keys(
    session: AsyncSession, which: ColumnElement[bool] | None = None
) -> dict[str, KeyRecord]:
    """Read every key, or those for which a condition holds; one of an unknown kind is none."""
    query: Select[Any] = select(*COLUMNS)
    if which is not None:
        query = query.where(which)
    return {
        row.id: KeyRecord(
            id=row.id,
            kind=KINDS[row.kind],
            person_id=row.person_id,
            hmac=row.secret_hmac,
            pepper_version=row.pepper_version,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            is_rotated=row.replaced_by is not None,
            terms=_terms(row),
            rights=None if row.kind == "key" else _rights(row),
        )
        for row in await session.execute(query)
        if row.kind in KINDS
    }


def _rights(row: Row[Any]) -> KeyRights:
    proof = None
    if row.proven_by is not None and row.proven_at is not None:
        proof = Assurance(row.proven_by, row.proven_acr, row.proven_at.timestamp())
    return KeyRights(known_scopes(row.scopes or ()), proof, row.expires_at)


def _terms(row: Row[Any]) -> KeyTerms:
    limits = [getattr(row, name) for name in LIMITS]
    has_limits = any(limit is not None for limit in limits)
    if row.endpoints is None and row.domains is None and row.addresses is None and not has_limits:
        return NOT_NARROWED  # Most keys: the same object, a hundred thousand times.
    return KeyTerms(
        None if row.endpoints is None else frozenset(row.endpoints),
        None if row.domains is None else frozenset(row.domains),
        None if row.addresses is None else _networks(row.addresses),
        KeyLimits(*(UNLIMITED if one is None else one for one in limits)) if has_limits else None,
    )


def _networks(texts: list[str]) -> tuple[Network, ...]:
    """Return a row's networks; one that cannot be understood lets nobody in."""
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            continue
    return tuple(networks)
