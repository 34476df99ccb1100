"""Applications as they are read: one or many, with all that was said of them, as the API shows."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import locked
from gateway.controlplane.schemas import GrantOut
from gateway.controlplane.verification_schemas import ApplicationOut, StatementOut
from gateway.errors import NotFoundError
from gateway.policy import applications as policy
from gateway.policy.applications import State
from gateway.tables import Application, ApplicationStatement, ApplicationVersion, Grant, Person

AT_ONCE = 1000
"""Applications whose statements are asked for together: a statement takes only so many values."""


class Loaded(NamedTuple):
    """An application with everything that was said of it."""

    row: Application
    name: str
    """The applicant's."""
    version: ApplicationVersion
    statements: list[ApplicationStatement]
    grants: list[Grant]


async def list_applications(
    session: AsyncSession,
    person_id: str | None,
    limit: int,
    offset: int,
    *,
    states: Collection[State],
    reader: str | None,
    now: datetime,
) -> list[Loaded]:
    """Return applications: the newest first, or of some states, who has waited longest first.

    Args:
        session: The transaction.
        person_id: Whose; None for everybody's.
        limit: How many at most.
        offset: How many to pass over.
        states: Which; none named means every one. Others' drafts are there if named alone: nobody
            was asked to look at them yet.
        reader: Who reads; None for somebody who has no applications.
        now: When: an open application lapses by itself.
    """
    is_newest = (ApplicationVersion.application_id == Application.id) & (
        ApplicationVersion.number == Application.version
    )
    query = select(Application, ApplicationVersion).join(ApplicationVersion, is_newest)
    if states:
        query = query.where(is_in(states, now)).order_by(Application.since, Application.id)
    else:
        query = query.order_by(Application.created_at.desc(), Application.id)
    if State.DRAFT not in states:
        is_handed_in = Application.state != str(State.DRAFT)
        query = query.where(is_handed_in | (Application.person_id == reader))
    if person_id is not None:
        query = query.where(Application.person_id == person_id)
    found = await session.execute(query.limit(limit).offset(offset))
    rows = [(row, version) for row, version in found]
    loaded = []
    for first in range(0, len(rows), AT_ONCE):
        loaded += await _with_what_was_said(session, rows[first : first + AT_ONCE])
    return loaded


def is_in(states: Collection[State], now: datetime) -> ColumnElement[bool]:
    """Return the condition of being in one of the states, as `policy.state_at` says."""
    is_open = Application.state.in_(sorted(policy.OPEN))
    is_lapsed = is_open & (Application.since <= now - policy.LAPSES_AFTER)
    is_of_them = Application.state.in_(sorted(states)) & ~is_lapsed
    return is_of_them | is_lapsed if State.LAPSED in states else is_of_them


async def load(session: AsyncSession, application_id: str, *, to_change: bool = False) -> Loaded:
    """Return an application; `to_change` locks it, so that two people's steps follow one another.

    Raises:
        NotFoundError: There is none of that id.
    """
    row = await (
        locked(session, Application, application_id)
        if to_change
        else session.get(Application, application_id)
    )
    if row is None:
        raise NotFoundError(f"There is no application '{application_id}'.")
    version = await session.get_one(ApplicationVersion, (row.id, row.version))
    (loaded,) = await _with_what_was_said(session, [(row, version)])
    return loaded


async def _with_what_was_said(
    session: AsyncSession, rows: Sequence[tuple[Application, ApplicationVersion]]
) -> list[Loaded]:
    ids = [row.id for row, _ in rows]
    statements: defaultdict[str, list[ApplicationStatement]] = defaultdict(list)
    said = select(ApplicationStatement).where(ApplicationStatement.application_id.in_(ids))
    ordered = said.order_by(ApplicationStatement.created_at, ApplicationStatement.id)
    for statement in await session.scalars(ordered):
        statements[statement.application_id].append(statement)
    grants: defaultdict[str | None, list[Grant]] = defaultdict(list)
    made = select(Grant).where(Grant.application_id.in_(ids)).order_by(Grant.domain)
    for grant in await session.scalars(made):
        grants[grant.application_id].append(grant)
    applicants = {row.person_id for row, _ in rows}
    people = await session.scalars(select(Person).where(Person.id.in_(applicants)))
    names = {person.id: person.name for person in people}
    return [
        Loaded(row, names[row.person_id], version, statements[row.id], grants[row.id])
        for row, version in rows
    ]


def state_of(row: Application, now: datetime) -> State:
    """Return where an application is at a moment."""
    return policy.state_at(State(row.state), row.since, now)


def shown(loaded: Loaded, now: datetime) -> ApplicationOut:
    """Return an application as the API shows it."""
    row, version = loaded.row, loaded.version
    state = state_of(row, now)
    return ApplicationOut(
        id=row.id,
        person_id=row.person_id,
        name=loaded.name,
        organisation=version.organisation,
        state=str(state),
        since=row.since,
        lapses_at=row.since + policy.LAPSES_AFTER if state in policy.OPEN else None,
        round=row.round,
        version=row.version,
        digest=version.digest,
        domains=version.domains,
        purpose=version.purpose,
        project=version.project,
        oversight_ref=version.oversight_ref,
        days=version.days,
        created_at=row.created_at,
        statements=[StatementOut.model_validate(said) for said in loaded.statements],
        grants=[GrantOut.model_validate(grant) for grant in loaded.grants],
    )
