"""Which changes people and programs are told of: one row for each tag of the audit log, and who.

A change that has no row here tells nobody. Adding one takes no other edit than that row.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.notices.outbox import To, put
from gateway.policy.approval import Duty
from gateway.policy.notices import Event
from gateway.tables import (
    ApiKey,
    Application,
    Grant,
    Opening,
    Organisation,
    Person,
    PersonRole,
    Sponsor,
)


class Told(NamedTuple):
    """Who is told, and what."""

    to: To
    data: Mapping[str, object]


Find = Callable[[AsyncSession, str], Awaitable[Told | None]]


async def of_application(session: AsyncSession, application_id: str) -> Told | None:
    """Tell the applicant where their application is."""
    row = await session.get_one(Application, application_id)
    return Told(To(frozenset({row.person_id})), {"application": row.id, "state": row.state})


async def of_approved(session: AsyncSession, application_id: str) -> Told | None:
    """Tell the applicant once the last approval is there, not of every one."""
    told = await of_application(session, application_id)
    return told if told is not None and told.data["state"] == "approved" else None


async def of_grant(session: AsyncSession, grant_id: str) -> Told | None:
    """Tell the holder."""
    return _about(await session.get_one(Grant, grant_id), To())


async def of_grant_and_sponsor(session: AsyncSession, grant_id: str) -> Told | None:
    """Tell the holder and the sponsor."""
    grant = await session.get_one(Grant, grant_id)
    return _about(grant, await sponsor_of(session, grant))


def _about(grant: Grant, others: To) -> Told:
    return Told(To(others.people | {grant.person_id}, others.organisations), grant_data(grant))


def grant_data(grant: Grant) -> dict[str, object]:
    """Return what is said of a grant."""
    return {
        "grant": grant.id,
        "domain": grant.domain,
        "expires_at": grant.expires_at.isoformat(timespec="seconds"),
    }


async def sponsor_of(session: AsyncSession, grant: Grant) -> To:
    """Return who answers for a grant; without anybody named, the organisation's contact."""
    sponsor = await session.get(Sponsor, grant.id)
    if sponsor is not None and sponsor.person_id is not None:
        return To(frozenset({sponsor.person_id}) - {grant.person_id})
    if sponsor is not None and sponsor.organisation_id is not None:
        return To(organisations=frozenset({sponsor.organisation_id}))
    found = await session.scalar(
        select(Organisation.id)
        .join(Person, Person.organisation == Organisation.name)
        .where(Person.id == grant.person_id)
    )
    return To(organisations=frozenset() if found is None else frozenset({found}))


async def of_key(session: AsyncSession, key_id: str) -> Told | None:
    """Tell a key's owner."""
    key = await session.get_one(ApiKey, key_id)
    to = To() if key.person_id is None else To(frozenset({key.person_id}))
    return Told(to, {"key": key.id, "kind": key.kind})


async def of_opening(session: AsyncSession, opening_id: str) -> Told | None:
    """Tell everybody who could have asked or confirmed, and the one it is for."""
    row = await session.get_one(Opening, opening_id)
    named = {row.requested_by, row.confirmed_by, row.person_id} - {None}
    people = frozenset(str(one) for one in named) | await watchers(session, row.domain)
    data = {"opening": row.id, "domain": row.domain, "minutes": row.minutes}
    return Told(To(people), data | {"closure": row.closure_id})


async def of_closure(session: AsyncSession, closure_id: str) -> Told | None:
    """Tell those who may open what was closed."""
    return Told(To(await watchers(session, None)), {"closure": closure_id})


async def watchers(session: AsyncSession, domain: str | None) -> frozenset[str]:
    """Return the active people who approve, review a domain, or administer."""
    duties = PersonRole.duty.in_([str(Duty.APPROVER), str(Duty.ADMINISTRATOR)])
    mine = duties if domain is None else or_(duties, PersonRole.domain == domain)
    query = select(PersonRole.person_id).join(Person, Person.id == PersonRole.person_id)
    return frozenset(await session.scalars(query.where(mine, Person.state == "active")))


OCCASIONS: Mapping[str, tuple[Event, Find]] = {
    "workflow:application:submit": (Event.APPLICATION_SUBMITTED, of_application),
    "workflow:application:take_up": (Event.APPLICATION_TAKEN_UP, of_application),
    "workflow:application:pass": (Event.APPLICATION_PASSED, of_application),
    "workflow:application:return": (Event.APPLICATION_RETURNED, of_application),
    "workflow:application:reject": (Event.APPLICATION_REJECTED, of_application),
    "workflow:application:approve": (Event.APPLICATION_APPROVED, of_approved),
    "workflow:application:appeal": (Event.APPLICATION_APPEALED, of_application),
    "workflow:application:accept_terms": (Event.APPLICATION_GRANTED, of_application),
    "workflow:application:withdraw": (Event.APPLICATION_WITHDRAWN, of_application),
    "admin:grant:created": (Event.GRANT_CREATED, of_grant),
    "admin:grant:revoked": (Event.GRANT_REVOKED, of_grant_and_sponsor),
    "workflow:grant:suspended": (Event.GRANT_SUSPENDED, of_grant_and_sponsor),
    "workflow:grant:resumed": (Event.GRANT_RESUMED, of_grant),
    "workflow:opening:requested": (Event.EMERGENCY_ASKED, of_opening),
    "workflow:opening:confirmed": (Event.EMERGENCY_OPENED, of_opening),
    "workflow:door:closed": (Event.DOOR_CLOSED, of_closure),
    "admin:key:created": (Event.KEY_CREATED, of_key),
    "admin:key:rotated": (Event.KEY_ROTATED, of_key),
    "admin:key:revoked": (Event.KEY_REVOKED, of_key),
    "identity:key:leaked": (Event.KEY_LEAKED, of_key),
}
"""By the tag under which the change is in the audit log."""


async def tell(session: AsyncSession, tag: str, subject: str, now: datetime) -> None:
    """Leave the notices of a change, in its own transaction; it is in the session already."""
    if tag not in OCCASIONS:
        return
    event, find = OCCASIONS[tag]
    # What the change has written must be seen by who looks for whom to tell.
    await session.flush()
    told = await find(session, subject)
    if told is not None:
        await put(session, event, subject, told.to, told.data, now=now)
