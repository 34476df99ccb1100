"""Applications: rows read into facts, moved by the pure table, written back with what was said."""

import hashlib
import json
import uuid
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.application_rows import Loaded, is_in, load, state_of
from gateway.controlplane.changes import Tag, record_event
from gateway.controlplane.evidence import held_by
from gateway.controlplane.organisations import party
from gateway.controlplane.people import get_person
from gateway.controlplane.renewals import hold_running
from gateway.controlplane.tiers import get_tier
from gateway.controlplane.verification_schemas import (
    AcceptanceIn,
    ApplicationEdit,
    ApplicationIn,
)
from gateway.controlplane.workflow_grants import grant_domains
from gateway.errors import ConflictError, NotPermittedError
from gateway.identity.principal import Member
from gateway.identity.tier_terms import grant_rules
from gateway.policy import applications as policy
from gateway.policy.applications import Action, State, Step
from gateway.policy.approval import Kind, Statement
from gateway.tables import Application, ApplicationStatement, ApplicationVersion, Person

OPEN_AT_MOST = 20
"""Of one person: each is kept for ever, and whoever may log in can begin one."""
KINDS: dict[str, Kind] = {"identity": "identity", "domain": "domain", "approval": "approval"}


async def facts(session: AsyncSession, loaded: Loaded) -> policy.Application:
    """Return an application as the pure table takes it."""
    row, version = loaded.row, loaded.version
    person = await get_person(session, row.person_id)
    rules = grant_rules(await get_tier(session, person.tier))
    return policy.Application(
        applicant=await party(session, row.person_id),
        domains=frozenset(version.domains),
        state=State(row.state),
        since=row.since,
        version=version.digest,
        organisation=version.organisation,
        round=row.round,
        needed=rules.needed,
        people={by: await party(session, by) for by in {s.person_id for s in loaded.statements}},
        statements=tuple(
            Statement(
                said.person_id,
                said.organisation,
                KINDS[said.kind],
                said.domain,
                said.digest,
                said.round,
                said.expert,
            )
            for said in loaded.statements
        ),
    )


async def create_application(
    session: AsyncSession,
    given: ApplicationIn,
    *,
    person_id: str,
    actor: str,
    now: datetime,
    application_id: str | None = None,
) -> Loaded:
    """Begin an application of a person's, as a draft; a transfer gives it an id, and is no request.

    Raises:
        ConflictError: The person has as many open as one may have.
    """
    if application_id is None:
        await _check_room(session, person_id, now)
    row = Application(
        id=application_id or str(uuid.uuid4()),
        person_id=person_id,
        state=str(State.DRAFT),
        since=now,
        version=0,
        round=1,
        created_at=now,
    )
    session.add(row)
    await session.flush()  # The row must exist before its version.
    version = await _add_version(session, row, given, now)
    digest = version.digest
    await record_event(
        session, Tag.APPLICATION_CREATED, row.id, actor=actor, now=now, digest=digest
    )
    applicant = await session.get_one(Person, person_id)
    return Loaded(row, applicant.name, version, [], [])


async def _check_room(session: AsyncSession, person_id: str, now: datetime) -> None:
    # The person's row is held, so that what they begin at once is counted one after the other.
    await get_person(session, person_id, to_change=True)
    mine = select(func.count()).where(Application.person_id == person_id, is_in(policy.OPEN, now))
    if (await session.scalar(mine) or 0) >= OPEN_AT_MOST:
        raise ConflictError(
            f"You have {OPEN_AT_MOST} open applications, as many as one person may; "
            "finish or withdraw one first."
        )


async def edit_application(
    session: AsyncSession,
    application_id: str,
    given: ApplicationEdit,
    *,
    member: Member,
    now: datetime,
) -> Loaded:
    """Put another version in the place of the one that was seen; reviews of that one are void.

    Raises:
        NotFoundError: There is none of that id.
        NotPermittedError: By somebody else.
        ConflictError: It is closed, or was edited meanwhile.
    """
    loaded = await take_step(
        session, application_id, Action.EDIT, given.digest, "", member=member, now=now
    )
    version = await _add_version(session, loaded.row, given, now)
    return loaded._replace(version=version)


async def take_step(
    session: AsyncSession,
    application_id: str,
    action: Action,
    digest: str,
    rationale: str,
    *,
    member: Member,
    now: datetime,
) -> Loaded:
    """Move an application as the pure table has it, and keep what was said.

    Raises:
        NotFoundError: There is none of that id.
        NotPermittedError: By somebody who may not do this.
        ConflictError: Its state, its version or the evidence does not allow it.
    """
    loaded = await load(session, application_id, to_change=True)
    before = await facts(session, loaded)
    held = await held_by(session, loaded.row.person_id)
    step = Step(action, await party(session, member.person_id), digest)
    after = policy.take(before, step, held, now)
    if isinstance(after, policy.Refused):
        sentence = f"Refused: {after.reason}."
        raise NotPermittedError(sentence) if after.is_about_who else ConflictError(sentence)
    if after == before:
        return loaded  # The same word said again.
    new = after.statements[len(before.statements) :]
    rows = [_row(loaded.row.id, said, action, rationale, now) for said in new]
    session.add_all(rows)
    loaded.row.state, loaded.row.since = str(after.state), after.since
    loaded.row.round = after.round
    await record_event(
        session,
        Tag(f"workflow:application:{action}"),
        loaded.row.id,
        actor=member.actor,
        now=now,
        digest=digest,
        state=str(after.state),
        domains=sorted(said.domain for said in new if said.domain is not None),
    )
    return loaded._replace(statements=[*loaded.statements, *rows])


async def hold_waiting(session: AsyncSession, person_id: str, now: datetime) -> list[Loaded]:
    """Return a person's applications that wait for somebody, which nobody moves meanwhile."""
    mine = select(Application.id).where(Application.person_id == person_id)
    # A draft may be handed in until it is held.
    ids = await session.scalars(mine.where(is_in(policy.OPEN, now)))
    held = [await load(session, application_id, to_change=True) for application_id in sorted(ids)]
    return [each for each in held if state_of(each.row, now) in policy.WAITING]


async def give_back(session: AsyncSession, loaded: Loaded, *, actor: str, now: datetime) -> None:
    """Return an application to its applicant, who is of another organisation than it says."""
    row = loaded.row
    row.state, row.since = str(State.RETURNED), now
    await record_event(
        session,
        Tag.APPLICATION_RETURNED,
        row.id,
        actor=actor,
        now=now,
        digest=loaded.version.digest,
        state=row.state,
        domains=[],
    )


async def accept_and_grant(
    session: AsyncSession,
    application_id: str,
    given: AcceptanceIn,
    *,
    member: Member,
    now: datetime,
) -> Loaded:
    """Take the workflow's last step: accept the terms in force, and make one grant a domain.

    Asked again after it was done, it answers as it did.

    Raises:
        NotFoundError: There is no such application or version of the terms.
        NotPermittedError: By somebody else.
        ConflictError: It is not approved, something it rests on has lapsed, the terms are not those
            in force, or a grant for one of its domains is there for long or was taken away.
    """
    # Before the application: of two of one person, the second must see the first one's grants.
    await get_person(session, member.person_id, to_change=True)
    loaded = await load(session, application_id, to_change=True)
    await hold_running(session, member.person_id, loaded.version.domains, now)
    lapses_at = loaded.row.since + policy.LAPSES_AFTER
    is_mine = loaded.row.person_id == member.person_id
    if is_mine and loaded.row.state == State.GRANTED and loaded.version.digest == given.digest:
        return loaded
    loaded = await take_step(
        session, application_id, Action.ACCEPT_TERMS, given.digest, "", member=member, now=now
    )
    after = await facts(session, loaded)
    # The step holds the log's head: a role that was taken away before it is gone for certain.
    if not after.is_approved():
        raise ConflictError(f"Refused: {policy.UNAPPROVED}.")
    of = (loaded.row, loaded.version, after.approvals(), given.terms)
    grants = await grant_domains(session, *of, lapses_at=lapses_at, member=member, now=now)
    return loaded._replace(grants=grants)


def _row(
    application_id: str, said: Statement, action: Action, rationale: str, now: datetime
) -> ApplicationStatement:
    return ApplicationStatement(
        id=str(uuid.uuid4()),
        application_id=application_id,
        person_id=said.by,
        organisation=said.organisation,
        kind=said.kind,
        domain=said.domain,
        decision=str(action),
        digest=said.version,
        round=said.round,
        expert=said.expert,
        rationale=rationale,
        created_at=now,
    )


async def _add_version(
    session: AsyncSession, row: Application, given: ApplicationIn, now: datetime
) -> ApplicationVersion:
    applicant = await party(session, row.person_id)
    content = given.model_dump(exclude={"digest"}) | {"organisation": applicant.organisation}
    row.version += 1
    # The number is in it, so that what was said of a version is not revived by editing back.
    named = content | {"application": row.id, "number": row.version}
    text = json.dumps(named, sort_keys=True, separators=(",", ":"))
    version = ApplicationVersion(
        application_id=row.id,
        number=row.version,
        digest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        created_at=now,
        **content,
    )
    session.add(version)
    return version
