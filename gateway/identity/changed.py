"""What has changed since a directory was read, and the directory that follows from it.

Each change of access leaves a row that says what it was. Where every row since the version held is
there, of the same history and of a kind that is known here, only the people concerned are read
again; anything else is read whole. So a new kind of change is slow until it is listed, never wrong.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy import false, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from gateway.identity.directory import (
    Directory,
    load_closures,
    load_identities,
    load_standings,
)
from gateway.identity.grant_terms import load_grants
from gateway.identity.key_records import load_keys
from gateway.policy.grants import GrantTerms, Standing
from gateway.tables import (
    ApiKey,
    AuthorizationChange,
    AuthorizationVersion,
    EvidenceItem,
    Grant,
    Organisation,
    Person,
)

VERSION = select(AuthorizationVersion.version, AuthorizationVersion.mark)
MOST_PEOPLE = 500
"""More people are not looked up one by one: everything is read instead."""

OWNERS: Mapping[str, tuple[InstrumentedAttribute[str], InstrumentedAttribute[str | None]]] = {
    "admin:grant:created": (Grant.id, Grant.person_id),
    "admin:grant:revoked": (Grant.id, Grant.person_id),
    "workflow:grant:suspended": (Grant.id, Grant.person_id),
    "workflow:grant:resumed": (Grant.id, Grant.person_id),
    "workflow:grant:usage_reviewed": (Grant.id, Grant.person_id),
    "workflow:evidence:accepted": (EvidenceItem.id, EvidenceItem.person_id),
    "workflow:evidence:retracted": (EvidenceItem.id, EvidenceItem.person_id),
    "admin:key:created": (ApiKey.id, ApiKey.person_id),
    "admin:key:rotated": (ApiKey.id, ApiKey.person_id),
    "admin:key:narrowed": (ApiKey.id, ApiKey.person_id),
    "admin:key:revoked": (ApiKey.id, ApiKey.person_id),
    "identity:key:leaked": (ApiKey.id, ApiKey.person_id),
    "admin:person:added": (Person.id, Person.id),
    "admin:person:changed": (Person.id, Person.id),
}
"""Whose a change is, by its subject."""
NAMED = ("identity:subject:bound", "identity:subject:unbound", "workflow:terms:accepted")
"""Changes that name the person beside their subject."""
OF_ORGANISATIONS = ("workflow:organisation:changed",)
OF_CLOSURES = ("workflow:door:closed", "workflow:opening:confirmed")
"""An opening that is a grant leaves a row for the grant, too."""
OF_CATALOGUE = (
    "admin:engine:added",
    "admin:engine:removed",
    "registry:alias:promoted",
    "registry:alias:withdrawn",
    "registry:alias:restored",
    "registry:checkpoint:revoked",
)
KNOWN = frozenset((*OWNERS, *NAMED, *OF_ORGANISATIONS, *OF_CLOSURES, *OF_CATALOGUE))


class Version(NamedTuple):
    """A version of who may use what, in one history."""

    number: int
    mark: str


@dataclass(frozen=True)
class Changes:
    """What has to be read again."""

    people: frozenset[str]
    organisations: frozenset[str]
    """Whose state has changed: of their people nothing else need be read."""
    nobodys_keys: bool
    """Whether keys that belong to no person are among it."""
    closures: bool
    catalogue: bool


async def read_version(session: AsyncSession) -> Version | None:
    """Return the version in force; None when the schema is not as it should be."""
    row = (await session.execute(VERSION)).one_or_none()
    return None if row is None else Version(row.version, row.mark)


async def changes_between(session: AsyncSession, held: Version, current: Version) -> Changes | None:
    """Return what changed from one version to another; None when that cannot be told."""
    rows = (
        await session.execute(
            select(
                AuthorizationChange.version,
                AuthorizationChange.mark,
                AuthorizationChange.tag,
                AuthorizationChange.subject,
                AuthorizationChange.person_id,
            )
            .where(AuthorizationChange.version.between(held.number, current.number))
            .order_by(AuthorizationChange.version)
        )
    ).all()
    numbers = [row.version for row in rows]
    if not rows or numbers != list(range(held.number, current.number + 1)):
        return None
    if (rows[0].mark, rows[-1].mark) != (held.mark, current.mark):
        return None  # The database came back from a backup meanwhile.
    changed: defaultdict[str, set[str]] = defaultdict(set)
    people: set[str] = set()
    for row in rows[1:]:
        if row.tag not in KNOWN or (row.tag in NAMED and row.person_id is None):
            return None
        changed[row.tag].add(row.subject)
        if row.tag in NAMED:
            people.add(row.person_id)
    organisations = {one for tag in OF_ORGANISATIONS for one in changed[tag]}
    nobodys_keys = False
    for tag, subjects in changed.items():
        found = await _people_of(session, tag, subjects)
        if found is None:
            return None
        nobodys_keys = nobodys_keys or None in found
        people.update(one for one in found if one is not None)
    if len(people) > MOST_PEOPLE:
        return None
    return Changes(
        people=frozenset(people),
        organisations=frozenset(organisations),
        nobodys_keys=nobodys_keys,
        closures=not changed.keys().isdisjoint(OF_CLOSURES),
        catalogue=not changed.keys().isdisjoint(OF_CATALOGUE),
    )


async def follow(session: AsyncSession, directory: Directory, changes: Changes) -> Directory:
    """Return the directory as it is after changes."""
    people = changes.people
    if changes.closures:
        closures = await load_closures(session)
        directory = _with_standings(directory, lambda each: replace(each, closures=closures))
    if changes.organisations:
        directory = await _with_organisations(session, directory, changes.organisations)
    if not people and not changes.nobodys_keys:
        return directory
    standings = await load_standings(session, people)
    grants = await load_grants(session, people)
    nobodys = ApiKey.person_id.is_(None) if changes.nobodys_keys else false()
    whose = or_(ApiKey.person_id.in_(people), nobodys)
    keys = await load_keys(session, whose)
    identities = await load_identities(session, people)

    def stays(owner: str | None) -> bool:
        return not changes.nobodys_keys if owner is None else owner not in people

    return replace(
        directory,
        keys={k: v for k, v in directory.keys.items() if stays(v.person_id)} | keys,
        people={k: v for k, v in directory.people.items() if k not in people} | standings,
        grants={k: v for k, v in directory.grants.items() if k not in people}
        | {person: held for person, terms in grants.items() if (held := _counting(terms))},
        identities={k: v for k, v in directory.identities.items() if v.person_id not in people}
        | identities,
        proven={},
    )


def _counting(terms: tuple[GrantTerms, ...]) -> tuple[GrantTerms, ...]:
    """Return the grants that a directory holds: all that are not revoked."""
    return tuple(grant for grant in terms if grant.revoked_at is None)


def _with_standings(directory: Directory, change: Callable[[Standing], Standing]) -> Directory:
    """Return a directory with every standing changed; what people share is changed once."""
    changed: dict[int, Standing] = {}
    people = {}
    for person, standing in directory.people.items():
        if (found := changed.get(id(standing))) is None:
            found = changed[id(standing)] = change(standing)
        people[person] = found
    return replace(directory, people=people)


async def _with_organisations(
    session: AsyncSession, directory: Directory, changed: frozenset[str]
) -> Directory:
    query = select(Organisation.name, Organisation.state).where(Organisation.id.in_(changed))
    states = {row.name: row.state for row in await session.execute(query)}

    def change(standing: Standing) -> Standing:
        state = states.get(standing.organisation)
        return (
            standing
            if state is None
            else replace(standing, organisation_active=state != "suspended")
        )

    return _with_standings(directory, change)


async def _people_of(session: AsyncSession, tag: str, subjects: set[str]) -> set[str | None] | None:
    """Return whose subjects are, None among them for nobody's; None when one is not to be found."""
    if tag not in OWNERS:
        return set()
    subject, owner = OWNERS[tag]
    rows = (await session.execute(select(subject, owner).where(subject.in_(subjects)))).all()
    return {row[1] for row in rows} if len(rows) == len(subjects) else None
