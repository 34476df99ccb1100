"""The directory: every tier, person, key and grant at one version, in memory.

A request is authenticated here without a database. The snapshot is immutable; time is an argument,
so keys and grants expire without a reload.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.errors import ExpiredKeyError, InvalidKeyError, MissingKeyError, RevokedKeyError
from gateway.identity.api_keys import Kind, parse
from gateway.identity.grant_terms import load_grants
from gateway.identity.key_records import KeyRecord, load_keys
from gateway.identity.peppers import Peppers
from gateway.identity.principal import Administrator, Member, Principal
from gateway.identity.proof import Proof
from gateway.identity.tier_terms import load_tiers
from gateway.identity_errors import UnknownPersonError
from gateway.policy.breakglass import Closures
from gateway.policy.grants import GrantTerms, Standing
from gateway.policy.key_terms import NOT_NARROWED, KeyTerms
from gateway.tables import ApiKey, Closure, Identity, Organisation, Person

MAX_PROVEN = 100_000


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """Whom a provider's subject is here."""

    id: str
    person_id: str
    domains: frozenset[str] | None
    """Where a service acts for the person: the only domains whose grants it may use."""

    @property
    def terms(self) -> KeyTerms:
        """How it is narrowed."""
        return NOT_NARROWED if self.domains is None else KeyTerms(domains=self.domains)


@dataclass(frozen=True)
class Directory:
    """One version of who may call."""

    peppers: Peppers = field(repr=False)
    keys: dict[str, KeyRecord]
    people: dict[str, Standing]
    grants: dict[str, tuple[GrantTerms, ...]]
    identities: dict[tuple[str, str], IdentityRecord] = field(default_factory=dict)
    """By issuer and subject."""
    proven: dict[bytes, str] = field(default_factory=dict, repr=False, compare=False)
    """Keys by a keyed hash of a whole header that proved to hold one, for as long as this version
    lives; whether such a key still counts is asked each time."""
    _principals: dict[str, Principal] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Whoever has called, by key or identity: of this version alone, and never carried over."""

    @cached_property
    def _by_id(self) -> dict[str, IdentityRecord]:
        return {identity.id: identity for identity in self.identities.values()}

    def authenticate(self, authorization: str | None, now: datetime) -> Principal:
        """Return the person behind an `Authorization` header.

        Raises:
            MissingKeyError: There is no key in it.
            InvalidKeyError: It is not a caller's key.
            ExpiredKeyError: It has expired.
            RevokedKeyError: It, or its owner, was taken away.
        """
        record = self._record(authorization, "key", now)
        principal = self._owner(record)
        if principal is None:
            raise RevokedKeyError
        return principal

    def named(self, proof: Proof, now: datetime) -> Principal:
        """Return the person whom a provider vouches for.

        Raises:
            UnknownPersonError: There is none, or they may not call.
        """
        identity = self.identities.get((proof.issuer, proof.subject))
        principal = None if identity is None else self.principal(identity.id, now)
        if principal is None:
            raise UnknownPersonError
        return principal

    def authenticate_admin(self, authorization: str | None, now: datetime) -> Administrator:
        """Return the administrator behind an `Authorization` header.

        Raises:
            AuthenticationError: As `authenticate`.
        """
        record = self._record(authorization, "admin", now)
        return Administrator(record.id, rights=record.rights)

    def authenticate_member(self, authorization: str | None, now: datetime) -> Member:
        """Return who acts in the workflow; whether the person is active is for the caller to ask.

        Raises:
            AuthenticationError: As `authenticate`.
        """
        record = self._record(authorization, "workflow", now)
        if record.person_id is None:
            raise InvalidKeyError
        return Member(record.id, record.person_id, rights=record.rights)

    def principal(self, key_id: str, now: datetime) -> Principal | None:
        """Return the person behind a key or identity that still counts, or None.

        This is also how a running stream is looked at again. A stream may outlive its token, as a
        token counts when a request begins; it does not outlive the person's access.
        """
        if (identity := self._by_id.get(key_id)) is not None:
            return self._principal(key_id, identity.person_id, identity.terms)
        record = self.keys.get(key_id)
        if record is None or record.kind != "key":
            return None
        try:
            record.check(now)
        except (RevokedKeyError, ExpiredKeyError):
            return None
        return self._owner(record)

    def _owner(self, record: KeyRecord) -> Principal | None:
        if record.person_id is None:
            return None
        return self._principal(record.id, record.person_id, record.terms)

    def _principal(self, key_id: str, person_id: str, terms: KeyTerms) -> Principal | None:
        known = self._principals.get(key_id)
        if known is not None:
            return known
        standing = self.people.get(person_id)
        if standing is None or not standing.is_active:
            return None
        usable = terms.usable(self.grants.get(person_id, ()))
        principal = self._principals[key_id] = Principal(key_id, person_id, standing, usable, terms)
        return principal

    def _record(self, authorization: str | None, kind: Kind, now: datetime) -> KeyRecord:
        if authorization is None:
            raise MissingKeyError
        seen = hashlib.blake2b(authorization.encode(), key=self.peppers.newest).digest()
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
        if record is None:
            self.peppers.matches(parsed, None)  # As long as for a key that is known.
            raise InvalidKeyError
        matches = self.peppers.matches(parsed, record.hmac, record.pepper_version)
        if not matches or record.kind != kind:
            raise InvalidKeyError
        return record


async def load_single_key(
    session: AsyncSession, peppers: Peppers, authorization: str | None
) -> Directory:
    """Read a directory that knows only the key in an `Authorization` header, and its owner."""
    parsed = parse((authorization or "").partition(" ")[2].strip())
    keys = await load_keys(session, ApiKey.id == parsed.id) if parsed else {}
    owners = {record.person_id for record in keys.values() if record.person_id is not None}
    people = await load_standings(session, owners) if owners else {}
    return Directory(peppers, keys, people, {})


async def load_standings(
    session: AsyncSession, people: Collection[str] | None = None
) -> dict[str, Standing]:
    """Read the standing of every person, or of some."""
    tiers = await load_tiers(session)
    closures = await load_closures(session)
    query = select(
        Person.id, Person.tier, Person.state, Organisation.name, Organisation.state
    ).join(Organisation, Organisation.name == Person.organisation)
    if people is not None:
        query = query.where(Person.id.in_(people))
    standings: dict[str, Standing] = {}
    shared: dict[tuple[str, bool, str, bool], Standing] = {}
    for person, tier, state, name, organisation in await session.execute(query):
        # People share what is equal, so that a change of it for thousands is one.
        of = (tier, state == "active", name, organisation != "suspended")
        if of not in shared:
            shared[of] = Standing(tiers[tier], *of[1:], closures)
        standings[person] = shared[of]
    return standings


async def load_closures(session: AsyncSession) -> Closures:
    """Read which doors are closed to everybody."""
    closed = set(await session.scalars(select(Closure.domain).where(Closure.lifted_at.is_(None))))
    return Closures(None in closed, frozenset(name for name in closed if name is not None))


async def load_identities(
    session: AsyncSession, people: Collection[str] | None = None
) -> dict[tuple[str, str], IdentityRecord]:
    """Read whom providers' subjects are: all of them, or those who are some people."""
    query = select(
        Identity.issuer, Identity.subject, Identity.id, Identity.person_id, Identity.domains
    )
    if people is not None:
        query = query.where(Identity.person_id.in_(people))
    rows = await session.execute(query)
    return {
        (issuer, subject): IdentityRecord(
            found, person, None if domains is None else frozenset(domains)
        )
        for issuer, subject, found, person, domains in rows
    }


async def load_directory(session: AsyncSession, peppers: Peppers) -> Directory:
    """Read the directory; plain columns, since rows as objects would cost ten times as much."""
    people = await load_standings(session)
    keys = await load_keys(session)
    grants = await load_grants(session)
    return Directory(peppers, keys, people, grants, await load_identities(session))
