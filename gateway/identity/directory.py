"""The directory: every tier, person, key and grant at one version, in memory.

A request is authenticated here without a database. The snapshot is immutable; time is an argument,
so keys and grants expire without a reload.
"""

import hmac
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.errors import ExpiredKeyError, InvalidKeyError, MissingKeyError, RevokedKeyError
from gateway.identity.api_keys import Kind, parse, secret_hmac
from gateway.identity.principal import Administrator, Principal
from gateway.policy.grants import GrantTerms, Standing, TierTerms
from gateway.tables import ApiKey, Grant, Person, Tier

NO_HMAC = bytes(32)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is stored of a key."""

    id: str
    kind: Kind
    person_id: str | None
    hmac: bytes
    expires_at: datetime | None
    revoked_at: datetime | None

    def check(self, now: datetime) -> None:
        """Raise when the key no longer counts.

        Raises:
            RevokedKeyError: It was revoked.
            ExpiredKeyError: It has expired.
        """
        # A rotated key is revoked at the end of the overlap, a moment that may lie ahead.
        if self.revoked_at is not None and self.revoked_at <= now:
            raise RevokedKeyError
        if self.expires_at is not None and self.expires_at <= now:
            raise ExpiredKeyError


@dataclass(frozen=True)
class Directory:
    """One version of who may call."""

    pepper: bytes = field(repr=False)
    keys: dict[str, KeyRecord]
    people: dict[str, Standing]
    grants: dict[str, tuple[GrantTerms, ...]]

    def authenticate(self, authorization: str | None, now: datetime) -> Principal:
        """Return the person behind an `Authorization` header.

        Raises:
            MissingKeyError: There is no key in it.
            InvalidKeyError: It is not a caller's key.
            ExpiredKeyError: It has expired.
            RevokedKeyError: It, or its owner, was taken away.
        """
        record = self._record(authorization, "key", now)
        principal = self.principal(record.id, now)
        if principal is None:
            raise RevokedKeyError
        return principal

    def authenticate_admin(self, authorization: str | None, now: datetime) -> Administrator:
        """Return the administrator behind an `Authorization` header.

        Raises:
            AuthenticationError: As `authenticate`.
        """
        return Administrator(self._record(authorization, "admin", now).id)

    def principal(self, key_id: str, now: datetime) -> Principal | None:
        """Return the person behind a key that still counts, or None: to look again at a stream."""
        record = self.keys.get(key_id)
        if record is None or record.person_id is None:
            return None
        try:
            record.check(now)
        except (RevokedKeyError, ExpiredKeyError):
            return None
        standing = self.people.get(record.person_id)
        if standing is None or not standing.is_active:
            return None
        grants = self.grants.get(record.person_id, ())
        return Principal(record.id, record.person_id, standing, grants)

    def _record(self, authorization: str | None, kind: Kind, now: datetime) -> KeyRecord:
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise MissingKeyError
        parsed = parse(text.strip())
        if parsed is None or parsed.kind != kind:
            raise InvalidKeyError
        record = self.keys.get(parsed.id)
        # The comparison is made for unknown keys too, so that its time tells nothing.
        stored = NO_HMAC if record is None else record.hmac
        matches = hmac.compare_digest(stored, secret_hmac(self.pepper, parsed))
        if record is None or not matches or record.kind != kind:
            raise InvalidKeyError
        record.check(now)
        return record


SELECT_KEYS = select(
    ApiKey.id,
    ApiKey.kind,
    ApiKey.person_id,
    ApiKey.secret_hmac,
    ApiKey.expires_at,
    ApiKey.revoked_at,
)


def _records(
    rows: Iterable[Row[str, str, str | None, bytes, datetime | None, datetime | None]],
) -> dict[str, KeyRecord]:
    records = {}
    for key_id, kind, person_id, digest, expires_at, revoked_at in rows:
        known: Kind = "admin" if kind == "admin" else "key"
        records[key_id] = KeyRecord(key_id, known, person_id, digest, expires_at, revoked_at)
    return records


async def load_single_key(
    session: AsyncSession, pepper: bytes, authorization: str | None
) -> Directory:
    """Read a directory that knows only the key in an `Authorization` header, and its owner."""
    parsed = parse((authorization or "").partition(" ")[2].strip())
    rows = await session.execute(SELECT_KEYS.where(ApiKey.id == (parsed.id if parsed else "")))
    keys = _records(rows)
    owners = {record.person_id for record in keys.values() if record.person_id is not None}
    people = await _standings(session, Person.id.in_(owners)) if owners else {}
    return Directory(pepper, keys, people, {})


async def _standings(
    session: AsyncSession, which: ColumnElement[bool] | None = None
) -> dict[str, Standing]:
    tiers = {
        name: TierTerms(name, grantable, requests_per_minute, elevated)
        for name, grantable, requests_per_minute, elevated in await session.execute(
            select(Tier.name, Tier.grantable, Tier.requests_per_minute, Tier.elevated)
        )
    }
    query = select(Person.id, Person.tier, Person.state)
    return {
        person_id: Standing(tiers[tier], state == "active")
        for person_id, tier, state in await session.execute(
            query if which is None else query.where(which)
        )
    }


async def load_directory(session: AsyncSession, pepper: bytes) -> Directory:
    """Read the directory; plain columns, since rows as objects would cost ten times as much."""
    people = await _standings(session)
    keys = _records(await session.execute(SELECT_KEYS))
    grants: defaultdict[str, list[GrantTerms]] = defaultdict(list)
    for person_id, domain, not_before, expires_at, revoked_at in await session.execute(
        select(
            Grant.person_id, Grant.domain, Grant.not_before, Grant.expires_at, Grant.revoked_at
        ).where(Grant.revoked_at.is_(None))
    ):
        grants[person_id].append(GrantTerms(domain, not_before, expires_at, revoked_at))
    return Directory(
        pepper, keys, people, {person: tuple(terms) for person, terms in grants.items()}
    )
