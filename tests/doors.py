"""Everything that one person can close so that a base answer ends, and how a test opens it again.

Closing is what an administrator does over HTTP. Opening takes a way that no user has where what was
closed is closed for good.
"""

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_change
from gateway.tables import (
    ApiKey,
    Closure,
    Grant,
    Opening,
    Organisation,
    Person,
    Promotion,
    Revocation,
)

Request = tuple[str, str, dict[str, object]]


class Holder(NamedTuple):
    """A researcher, and what their base answers rest on."""

    key_id: str
    grant: str
    person: str
    organisation: str
    checkpoint: str


class Door(NamedTuple):
    """One kind of thing to close."""

    close: Callable[[Holder], Request]
    """Method, path under the admin API, and body."""
    reopen: Callable[[AsyncSession, Holder], Awaitable[None]]
    code: str
    """What the callers of its answers are told."""


async def _record(session: AsyncSession, tag: Tag, subject: str) -> None:
    await record_change(session, tag, subject, actor="test", now=datetime.now(UTC))


async def _key(session: AsyncSession, holder: Holder) -> None:
    whole = {"revoked_at": None, "domains": None, "endpoints": None}
    await session.execute(update(ApiKey).where(ApiKey.id == holder.key_id).values(**whole))
    await _record(session, Tag.KEY_CREATED, holder.key_id)


async def _grant(session: AsyncSession, holder: Holder) -> None:
    live = {"revoked_at": None, "revoked_by": None}
    await session.execute(update(Grant).where(Grant.id == holder.grant).values(**live))
    await _record(session, Tag.GRANT_CREATED, holder.grant)


async def _person(session: AsyncSession, holder: Holder) -> None:
    await session.execute(update(Person).where(Person.id == holder.person).values(state="active"))
    await _record(session, Tag.PERSON_CHANGED, holder.person)


async def _organisation(session: AsyncSession, holder: Holder) -> None:
    await session.execute(
        update(Organisation).where(Organisation.id == holder.organisation).values(state="verified")
    )
    await _record(session, Tag.ORGANISATION_CHANGED, holder.organisation)


async def _checkpoint(session: AsyncSession, holder: Holder) -> None:
    await session.execute(delete(Revocation).where(Revocation.checkpoint == holder.checkpoint))
    served = update(Promotion).where(Promotion.checkpoint == holder.checkpoint)
    await session.execute(served.values(withdrawn_at=None, withdrawn_reason=None))
    await _record(session, Tag.ALIAS_RESTORED, "smollm2:base")


async def _every_door(session: AsyncSession, holder: Holder) -> None:
    closed = select(Closure.id).where(Closure.lifted_at.is_(None))
    for closure in list(await session.scalars(closed)):
        lifted = update(Closure).where(Closure.id == closure)
        await session.execute(lifted.values(lifted_at=datetime.now(UTC), lifted_by="test"))
        opening = Opening(
            id=str(uuid.uuid4()),
            closure_id=closure,
            reason="r",
            requested_by=holder.person,
            requested_at=datetime.now(UTC),
        )
        session.add(opening)
        await session.flush()
        await _record(session, Tag.OPENING_CONFIRMED, opening.id)


WHY: dict[str, object] = {"reason": "to see"}
DOORS = {
    "key": Door(lambda of: ("POST", f"/keys/{of.key_id}/revoke", {}), _key, "grant_revoked"),
    "key's domains": Door(
        lambda of: ("PATCH", f"/keys/{of.key_id}", {"domains": []}), _key, "grant_revoked"
    ),
    "key's endpoints": Door(
        lambda of: ("PATCH", f"/keys/{of.key_id}", {"endpoints": ["/v1/completions"]}),
        _key,
        "insufficient_scope",
    ),
    "grant": Door(lambda of: ("POST", f"/grants/{of.grant}/revoke", {}), _grant, "grant_revoked"),
    "person": Door(
        lambda of: ("PATCH", f"/people/{of.person}", {"state": "suspended"}),
        _person,
        "grant_revoked",
    ),
    "organisation": Door(
        lambda of: ("PATCH", f"/organisations/{of.organisation}", {"state": "suspended"}),
        _organisation,
        "grant_revoked",
    ),
    "checkpoint": Door(
        lambda of: ("POST", "/revocations", {"checkpoint": of.checkpoint, **WHY}),
        _checkpoint,
        "release_withdrawn",
    ),
    "base door": Door(lambda _: ("POST", "/closures", dict(WHY)), _every_door, "grant_revoked"),
}
