"""The directory: every tier, person, key and grant at one version, in memory.

A request is authenticated here without a database. The snapshot is immutable; time is an argument,
so keys and grants expire without a reload.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.errors import ExpiredKeyError, InvalidKeyError, MissingKeyError, RevokedKeyError
from gateway.identity.api_keys import Kind, parse, secret_hmac
from gateway.identity.grant_terms import load_grants
from gateway.identity.principal import Administrator, Member, Principal
from gateway.policy.breakglass import Closures
from gateway.policy.capabilities import known
from gateway.policy.grants import GrantTerms, Standing, TierTerms
from gateway.tables import ApiKey, Closure, Organisation, Person, Tier

NO_HMAC = bytes(32)
KINDS: dict[str, Kind] = {"key": "key", "workflow": "workflow", "admin": "admin"}
MAX_PROVEN = 100_000


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
    proven: dict[bytes, str] = field(default_factory=dict, repr=False, compare=False)
    """Keys by a keyed hash of a whole header that proved to hold one, for as long as this version
    lives; whether such a key still counts is asked each time."""

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

    def authenticate_member(self, authorization: str | None, now: datetime) -> Member:
        """Return who acts in the workflow; whether the person is active is for the caller to ask.

        Raises:
            AuthenticationError: As `authenticate`.
        """
        record = self._record(authorization, "workflow", now)
        if record.person_id is None:
            raise InvalidKeyError
        return Member(record.id, record.person_id)

    def principal(self, key_id: str, now: datetime) -> Principal | None:
        """Return the person behind a key that still counts, or None: to look again at a stream."""
        record = self.keys.get(key_id)
        if record is None or record.kind != "key" or record.person_id is None:
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
        if authorization is None:
            raise MissingKeyError
        seen = hashlib.blake2b(authorization.encode(), key=self.pepper[:64]).digest()
        record = self.keys.get(self.proven.get(seen, ""))
        if record is None or record.kind != kind:
            record = self._prove(authorization, kind)
            if len(self.proven) < MAX_PROVEN:
                self.proven[seen] = record.id
        record.check(now)
        return record

    def _prove(self, authorization: str, kind: Kind) -> KeyRecord:
        scheme, _, text = authorization.partition(" ")
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
        if kind in KINDS:  # One that this code does not know opens nothing.
            known = KINDS[kind]
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
    people = await load_standings(session, owners) if owners else {}
    return Directory(pepper, keys, people, {})


async def load_standings(
    session: AsyncSession, people: Collection[str] | None = None
) -> dict[str, Standing]:
    """Read the standing of every person, or of some."""
    tiers = {
        name: TierTerms(name, grantable, per_minute, known(capabilities), *others)
        for name, grantable, per_minute, capabilities, *others in await session.execute(
            select(
                Tier.name,
                Tier.grantable,
                Tier.requests_per_minute,
                Tier.capabilities,
                Tier.priority,
                Tier.tokens_per_minute,
                Tier.tokens_per_day,
                Tier.max_concurrent,
                Tier.organisation_multiple,
            )
        )
    }
    closed = set(await session.scalars(select(Closure.domain).where(Closure.lifted_at.is_(None))))
    closures = Closures(None in closed, frozenset(name for name in closed if name is not None))
    query = select(
        Person.id, Person.tier, Person.state, Organisation.name, Organisation.state
    ).join(Organisation, Organisation.name == Person.organisation)
    if people is not None:
        query = query.where(Person.id.in_(people))
    return {
        found: Standing(tiers[tier], state == "active", name, organisation != "suspended", closures)
        for found, tier, state, name, organisation in await session.execute(query)
    }


async def load_directory(session: AsyncSession, pepper: bytes) -> Directory:
    """Read the directory; plain columns, since rows as objects would cost ten times as much."""
    people = await load_standings(session)
    keys = _records(await session.execute(SELECT_KEYS))
    return Directory(pepper, keys, people, await load_grants(session))
