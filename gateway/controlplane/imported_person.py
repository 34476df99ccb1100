"""What becomes of one person in an import: what opens nothing is done, the rest is said.

It adds people without rights, evidence that nobody has accepted yet, and drafts of applications in
the place of grants; and it suspends. Ids are made of what they stand for, so that a second import
finds what the first has done.
"""

import json
import math
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.applications import create_application
from gateway.controlplane.changes import Tag, record_event
from gateway.controlplane.evidence import OF_A_DOMAIN
from gateway.controlplane.logins import FIRST_TIER, bind_first
from gateway.controlplane.people import add_person, get_person
from gateway.controlplane.person_changes import change_person
from gateway.controlplane.schemas import PersonChange, PersonIn
from gateway.controlplane.transfer_schemas import EvidenceRecord, GrantRecord, PersonRecord
from gateway.controlplane.verification_schemas import ApplicationIn
from gateway.identity.members import find_identity
from gateway.policy.evidence import OF_VISAS, EvidenceKind
from gateway.tables import Application, EvidenceItem, Grant, Person
from models.names import name_key

NAMESPACE = uuid.UUID("5b0e3a8e-3f0b-5c52-8a1d-6d2a0f5a9b10")


@dataclass
class Line:
    """What becomes of one line."""

    person_id: str | None = None
    outcome: Literal["made", "changed", "unchanged", "refused"] = "unchanged"
    did: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def do(self, what: str) -> None:
        self.did.append(what)
        if self.outcome == "unchanged":
            self.outcome = "changed"

    def refuse(self, why: str) -> None:
        self.outcome = "refused"
        self.left.append(why)


async def import_person(
    session: AsyncSession,
    record: PersonRecord,
    line: Line,
    issuers: Collection[str],
    actor: str,
    now: datetime,
) -> None:
    """Do what a record asks for, and write on its line what was done and what was not."""
    person = await _known(session, record, line)
    if line.outcome == "refused":
        return
    if person is None:
        person = await _add(session, record, line, issuers, actor, now)
    else:
        await _compare(session, person, record, line, actor, now)
    if person is None:
        return
    line.person_id = person.id
    if record.email is not None:
        line.left.append("email: its owner names it, or an identity provider does")
    if record.roles:
        line.left.append("roles: an administrator gives them (airlock people roles)")
    for evidence in record.evidence:
        await _add_evidence(session, person, evidence, line, actor, now)
    for grant in record.grants:
        await _apply(session, person, grant, line, actor, now)


async def _known(session: AsyncSession, record: PersonRecord, line: Line) -> Person | None:
    """Return whom the identities name here."""
    people: set[str] = set()
    for each in record.identities:
        if each.domains is None:
            found = await find_identity(session, each.issuer, each.subject)
            if found is not None and found.domains is not None:
                line.refuse("the identity is a service's here")
            people.update({found.person_id} if found is not None else ())
    if len(people) > 1:
        line.refuse("its identities are two people here")
    if not [each for each in record.identities if each.domains is None]:
        line.refuse("without an identity of the person, nobody can tell who it is")
    if line.outcome == "refused" or not people:
        return None
    return await get_person(session, people.pop(), to_change=True)


async def _add(
    session: AsyncSession,
    record: PersonRecord,
    line: Line,
    issuers: Collection[str],
    actor: str,
    now: datetime,
) -> Person | None:
    mine = [each for each in record.identities if each.domains is None]
    if unknown := sorted({each.issuer for each in mine} - set(issuers)):
        line.refuse(f"issuers that are not in AIRLOCK_ISSUERS: {', '.join(unknown)}"[:300])
        return None
    given = PersonIn(name=record.name, organisation=record.organisation, tier=FIRST_TIER)
    person = await add_person(session, given, actor=actor, now=now)
    line.outcome = "made"
    line.do(f"added to the tier {FIRST_TIER}")
    for each in mine:
        await bind_first(session, person.id, each.issuer, each.subject, actor=actor, now=now)
        line.do("bound an identity")
    if len(mine) < len(record.identities):
        line.left.append("services: an administrator binds them (airlock identities)")
    if record.tier != FIRST_TIER:
        line.left.append(f"tier {record.tier}: an administrator moves people (airlock people set)")
    if record.state == "suspended":
        change = PersonChange(state="suspended")
        await change_person(session, person.id, change, actor=actor, now=now)
        line.do("suspended")
    return person


async def _compare(
    session: AsyncSession,
    person: Person,
    record: PersonRecord,
    line: Line,
    actor: str,
    now: datetime,
) -> None:
    """Do what restricts; say what else is different."""
    if record.state == "suspended" and person.state == "active":
        change = PersonChange(state="suspended")
        await change_person(session, person.id, change, actor=actor, now=now)
        line.do("suspended")
    elif record.state != person.state:
        line.left.append("state active: an administrator reinstates")
    if record.tier != person.tier:
        line.left.append(f"tier {record.tier}: an administrator moves people (airlock people set)")
    if record.name != person.name:
        line.left.append("name: an administrator changes it (airlock people set)")
    if name_key(record.organisation) != name_key(person.organisation):
        line.left.append("organisation: an administrator moves people (airlock people set)")
    for each in record.identities:
        found = await find_identity(session, each.issuer, each.subject)
        if found is None or found.person_id != person.id:
            line.left.append("another identity: an administrator binds it (airlock identities)")


async def _add_evidence(
    session: AsyncSession,
    person: Person,
    record: EvidenceRecord,
    line: Line,
    actor: str,
    now: datetime,
) -> None:
    """Add evidence for a reviewer to accept, with what the other side had accepted of it."""
    if record.kind in OF_VISAS:
        # A reviewer takes it for what a signature has said, and a line is signed by nobody.
        line.left.append(f"evidence {record.kind}: its holder brings the visa")
        return
    if record.kind is EvidenceKind.INSTITUTION_MAIL:
        line.left.append(f"evidence {record.kind}: here it takes a mail of this gateway's own")
        return
    if (record.kind in OF_A_DOMAIN) != (record.domain is not None):
        line.left.append(f"evidence {record.kind}: it names a domain and is of none, or reversely")
        return
    if _naive(record.asserted_at, record.expires_at) or record.expires_at <= now:
        line.left.append(f"evidence {record.kind}: it is over, or a moment has no zone")
        return
    item_id = _id(person.id, "evidence", record.model_dump_json())
    same = select(EvidenceItem.id).where(
        EvidenceItem.person_id == person.id,
        EvidenceItem.kind == str(record.kind),
        EvidenceItem.domain.is_(None)
        if record.domain is None
        else EvidenceItem.domain == record.domain,
        EvidenceItem.source == record.source,
        EvidenceItem.asserted_at == record.asserted_at,
    )
    if (await session.scalars(same)).first() is not None:
        return
    session.add(
        EvidenceItem(
            id=item_id,
            person_id=person.id,
            kind=str(record.kind),
            domain=record.domain,
            source=record.source,
            document_digest=record.document_digest,
            created_at=now,
            asserted_by=str(record.asserted_by),
            asserted_at=record.asserted_at,
            not_after=record.expires_at,
        )
    )
    await record_event(
        session, Tag.EVIDENCE_ADDED, item_id, actor=actor, now=now, kind=str(record.kind)
    )
    line.do(f"added evidence {record.kind} for a reviewer to accept")


async def _apply(
    session: AsyncSession,
    person: Person,
    record: GrantRecord,
    line: Line,
    actor: str,
    now: datetime,
) -> None:
    """Draft an application in the place of a grant: the person submits it, two people approve."""
    if _naive(record.not_before, record.expires_at) or record.expires_at <= now:
        line.left.append(f"grant for {record.domain}: it is over, or a moment has no zone")
        return
    here = await session.get(Grant, record.id)
    application_id = _id(person.id, "grant", record.id)
    if here is not None and here.person_id == person.id:
        return
    if await session.get(Application, application_id) is not None:
        return
    applied = record.application
    given = ApplicationIn(
        domains=[record.domain],
        purpose=applied.purpose if applied else "Transferred: no application was made for it.",
        project=applied.project if applied else "Transferred",
        oversight_ref=applied.oversight_ref if applied else "none",
        days=min(366, max(1, math.ceil((record.expires_at - now).total_seconds() / 86_400))),
    )
    await create_application(
        session,
        given,
        person_id=person.id,
        actor=actor,
        now=now,
        application_id=application_id,
    )
    line.do(f"drafted an application for {record.domain} in the place of a grant")


def _naive(*moments: datetime) -> bool:
    return any(moment.tzinfo is None for moment in moments)


def _id(*parts: str) -> str:
    return str(uuid.uuid5(NAMESPACE, json.dumps(parts)))
