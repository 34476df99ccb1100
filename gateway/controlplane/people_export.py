"""Export of people: one line for each, complete, in pages, so that nothing is held as a whole."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.transfer_schemas import (
    FORM,
    AppliedRecord,
    EvidenceRecord,
    GrantRecord,
    IdentityRecord,
    PersonRecord,
)
from gateway.db import Database
from gateway.tables import (
    Address,
    Application,
    ApplicationVersion,
    EvidenceItem,
    Grant,
    Identity,
    Person,
    PersonRole,
)

AT_ONCE = 200


async def export_lines(
    database: Database, now: datetime, *, with_addresses: bool
) -> AsyncIterator[bytes]:
    """Yield a line for each person, in the order in which they were added.

    Raises:
        NotReadyError: The database is down.
    """
    last: Person | None = None
    while True:
        async with database.transaction() as session:
            people = await _page(session, last)
            records = await _records(session, people, now, with_addresses=with_addresses)
        for record in records:
            yield record.model_dump_json().encode() + b"\n"
        if len(people) < AT_ONCE:
            return
        last = people[-1]


async def _page(session: AsyncSession, after: Person | None) -> Sequence[Person]:
    query = select(Person).order_by(Person.created_at, Person.id).limit(AT_ONCE)
    if after is not None:
        place = tuple_(Person.created_at, Person.id)
        query = query.where(place > (after.created_at, after.id))
    return (await session.scalars(query)).all()


async def _records(
    session: AsyncSession, people: Sequence[Person], now: datetime, *, with_addresses: bool
) -> list[PersonRecord]:
    ids = [person.id for person in people]
    identities, evidence = await _identities(session, ids), await _evidence(session, ids, now)
    grants, roles = await _grants(session, ids, now), await _roles(session, ids)
    emails: dict[str | None, str | None] = {}
    if with_addresses:
        query = select(Address.person_id, Address.email).where(Address.person_id.in_(ids))
        emails = {row.person_id: row.email for row in await session.execute(query)}
    return [
        # Not validated: what is there goes out, also where an import would not take that much.
        PersonRecord.model_construct(
            record=FORM,
            name=person.name,
            organisation=person.organisation,
            tier=person.tier,
            state="active" if person.state == "active" else "suspended",
            roles=sorted(roles[person.id]),
            email=emails.get(person.id),
            identities=identities[person.id],
            evidence=evidence[person.id],
            grants=grants[person.id],
        )
        for person in people
    ]


async def _identities(session: AsyncSession, ids: list[str]) -> dict[str, list[IdentityRecord]]:
    found: defaultdict[str, list[IdentityRecord]] = defaultdict(list)
    query = select(Identity).where(Identity.person_id.in_(ids)).order_by(Identity.created_at)
    for row in await session.scalars(query):
        record = IdentityRecord.model_validate(
            {"issuer": row.issuer, "subject": row.subject, "domains": row.domains}
        )
        found[row.person_id].append(record)
    return found


async def _roles(session: AsyncSession, ids: list[str]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in await session.scalars(select(PersonRole).where(PersonRole.person_id.in_(ids))):
        found[row.person_id].append(f"{row.duty}:{row.domain}" if row.domain else row.duty)
    return found


async def _evidence(
    session: AsyncSession, ids: list[str], now: datetime
) -> dict[str, list[EvidenceRecord]]:
    found: defaultdict[str, list[EvidenceRecord]] = defaultdict(list)
    query = select(EvidenceItem).where(
        EvidenceItem.person_id.in_(ids),
        EvidenceItem.accepted_at.is_not(None),
        EvidenceItem.retracted_at.is_(None),
        EvidenceItem.expires_at > now,
    )
    for row in await session.scalars(query.order_by(EvidenceItem.created_at, EvidenceItem.id)):
        record = EvidenceRecord.model_validate(
            {
                "kind": row.kind,
                "domain": row.domain,
                "source": row.source,
                "document_digest": row.document_digest,
                "asserted_by": row.asserted_by,
                "asserted_at": row.asserted_at,
                "expires_at": row.expires_at,
            }
        )
        found[row.person_id].append(record)
    return found


async def _grants(
    session: AsyncSession, ids: list[str], now: datetime
) -> dict[str, list[GrantRecord]]:
    found: defaultdict[str, list[GrantRecord]] = defaultdict(list)
    query = (
        select(Grant, ApplicationVersion)
        .outerjoin(Application, Application.id == Grant.application_id)
        .outerjoin(
            ApplicationVersion,
            (ApplicationVersion.application_id == Application.id)
            & (ApplicationVersion.number == Application.version),
        )
        .where(Grant.person_id.in_(ids), Grant.revoked_at.is_(None), Grant.expires_at > now)
        .order_by(Grant.created_at, Grant.id)
    )
    for grant, version in await session.execute(query):
        applied = None
        if version is not None:
            applied = AppliedRecord.model_validate(
                {
                    "purpose": version.purpose,
                    "project": version.project,
                    "oversight_ref": version.oversight_ref,
                }
            )
        record = GrantRecord.model_validate(
            {
                "id": grant.id,
                "domain": grant.domain,
                "not_before": grant.not_before,
                "expires_at": grant.expires_at,
                "approved_by": grant.approved_by,
                "application": applied,
            }
        )
        found[grant.person_id].append(record)
    return found
