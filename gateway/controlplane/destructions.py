"""Kept contents destroyed by hand, before their time: one person asks, another agrees.

It cannot be undone and could hide what somebody did, so it takes the two that opening takes. What
was asked and answered is gone; the log keeps who asked what when, and its commitments.
"""

import uuid
from datetime import datetime, timedelta
from typing import NamedTuple, cast

from sqlalchemy import delete, func, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contents.keeping import KEY_SERVES
from gateway.controlplane.changes import Tag, locked, record_event
from gateway.controlplane.contents import destroy_key, whose
from gateway.controlplane.contents_schemas import (
    DestroyedOut,
    DestructionIn,
    DestructionOut,
    DestructionStepOut,
)
from gateway.controlplane.organisations import party
from gateway.errors import ConflictError, NotFoundError, NotPermittedError
from gateway.identity.principal import Member
from gateway.policy import contents as policy
from gateway.tables import ContentDestruction, ContentKey, ContentOpening, Grant, KeptContent

KEY_RESTS_AFTER = KEY_SERVES + timedelta(hours=1)
"""A gateway may seal to a key for as long as it serves, by a clock that is not quite this one's.
To destroy it before would lose what is asked from now on, of which nobody has decided."""


class _Concerned(NamedTuple):
    requests: tuple[str, ...]
    keys: tuple[str, ...]
    """Those to be destroyed."""
    parts: int

    def shown(self) -> DestroyedOut:
        return DestroyedOut(requests=len(self.requests), parts=self.parts, keys=len(self.keys))


async def list_destructions(
    session: AsyncSession, limit: int, offset: int
) -> list[ContentDestruction]:
    """Return destructions, the newest first."""
    order = (ContentDestruction.asked_at.desc(), ContentDestruction.id)
    query = select(ContentDestruction).order_by(*order).limit(limit).offset(offset)
    return list(await session.scalars(query))


async def ask(
    session: AsyncSession, given: DestructionIn, *, member: Member, now: datetime, dry_run: bool
) -> DestructionStepOut:
    """Ask that contents be destroyed; another person must agree. A dry run only counts them.

    Raises:
        NotFoundError: No such contents are kept.
        NotPermittedError: By somebody who may not.
    """
    about = await _about(session, given)
    _check(policy.asking_refusal(await party(session, member.person_id), about))
    found = await _concerned(session, given.request_id, given.grant_id, now)
    if not found.parts and not found.keys:
        raise NotFoundError(f"No contents of '{given.request_id or given.grant_id}' are kept.")
    if dry_run:
        return DestructionStepOut(concerned=found.shown(), destruction=None)
    row = ContentDestruction(
        id=str(uuid.uuid4()),
        request_id=given.request_id,
        grant_id=given.grant_id,
        about=about,
        reason=given.reason,
        asked_by=member.person_id,
        asked_at=now,
    )
    session.add(row)
    await record_event(
        session,
        Tag.DESTRUCTION_ASKED,
        row.id,
        actor=member.actor,
        now=now,
        request=given.request_id,
        grant=given.grant_id,
        about=f"person:{about}",
        reason=given.reason,
        **found.shown().model_dump(),
    )
    return DestructionStepOut(
        concerned=found.shown(), destruction=DestructionOut.model_validate(row)
    )


async def approve(
    session: AsyncSession, destruction_id: str, *, member: Member, now: datetime, dry_run: bool
) -> DestructionStepOut:
    """Agree, as the second person: the contents are destroyed. A dry run only counts them.

    Raises:
        NotFoundError: There is no such destruction.
        ConflictError: Somebody has agreed before, or they are being opened.
        NotPermittedError: By the same person, the caller, too late, or by somebody who may not.
    """
    row = await locked(session, ContentDestruction, destruction_id)
    if row is None:
        raise NotFoundError(f"There is no destruction '{destruction_id[:40]}'.")
    if row.approved_at is not None:
        raise ConflictError("Somebody has agreed before.")
    await _check_both(session, row, member, now)
    found = await _concerned(session, row.request_id, row.grant_id, now)
    await _check_unopened(session, found.requests, now)
    if dry_run:
        return DestructionStepOut(concerned=found.shown(), destruction=None)
    row.approved_by, row.approved_at = member.person_id, now
    parts = await _destroy(session, row, found, member.actor, now)
    done = found._replace(parts=parts).shown()
    await record_event(
        session,
        Tag.DESTRUCTION_APPROVED,
        row.id,
        actor=member.actor,
        now=now,
        request=row.request_id,
        grant=row.grant_id,
        about=f"person:{row.about}",
        asked_by=f"person:{row.asked_by}",
        reason=row.reason,
        **done.model_dump(),
    )
    # Once more, since the log's head is held by now: what was taken away before it is gone.
    await _check_both(session, row, member, now)
    return DestructionStepOut(concerned=done, destruction=DestructionOut.model_validate(row))


async def _check_both(
    session: AsyncSession, row: ContentDestruction, member: Member, now: datetime
) -> None:
    asking = await party(session, row.asked_by)
    second = await party(session, member.person_id)
    _check(policy.destruction_refusal(asking, row.asked_at, row.about, second, now))


async def _destroy(
    session: AsyncSession, row: ContentDestruction, found: _Concerned, actor: str, now: datetime
) -> int:
    parts = 0
    for key_id in found.keys:
        parts += await destroy_key(session, key_id, actor=actor, now=now, destruction=row.id)
    # Where the key of the grants serves on, each part still goes with the key of its own.
    for request_id in found.requests:
        mine = delete(KeptContent).where(KeptContent.request_id == request_id)
        gone = await session.execute(mine)
        parts += cast("CursorResult[object]", gone).rowcount
    return parts


async def _about(session: AsyncSession, given: DestructionIn) -> str:
    if given.request_id is not None:
        return await whose(session, given.request_id)
    grant = await session.get(Grant, given.grant_id)
    if grant is None:
        raise NotFoundError(f"There is no grant '{given.grant_id}'.")
    return grant.person_id


async def _concerned(
    session: AsyncSession, request_id: str | None, grant_id: str | None, now: datetime
) -> _Concerned:
    """Return what there is now of a request, or of whatever rests on a grant, among others too."""
    if grant_id is None:
        which = KeptContent.request_id == request_id
        keys: list[ContentKey] = []
    else:
        # Their grants are a list in JSON, which the two databases search in two ways.
        live = await session.scalars(select(ContentKey).where(ContentKey.destroyed_at.is_(None)))
        keys = [key for key in live if grant_id in key.grants]
        which = KeptContent.key_id.in_([key.id for key in keys])
    count = func.count(KeptContent.part)
    query = select(KeptContent.request_id, count).where(which).group_by(KeptContent.request_id)
    rows = (await session.execute(query.order_by(KeptContent.request_id))).all()
    return _Concerned(
        requests=tuple(name for name, _ in rows),
        keys=tuple(key.id for key in keys if key.made_at + KEY_RESTS_AFTER <= now),
        parts=sum(parts for _, parts in rows),
    )


async def _check_unopened(session: AsyncSession, requests: tuple[str, ...], now: datetime) -> None:
    """Refuse to destroy what somebody has asked to read, and may still get."""
    waiting = select(ContentOpening.request_id).where(
        ContentOpening.released_at.is_(None),
        ContentOpening.asked_at > now - policy.ASKED_LAPSES_AFTER - policy.APPROVED_LAPSES_AFTER,
    )
    for request_id in set(await session.scalars(waiting)) & set(requests):
        raise ConflictError(f"Somebody has asked for the contents of '{request_id}' to be opened.")


def _check(reason: str | None) -> None:
    if reason is not None:
        raise NotPermittedError(f"Not permitted: {reason}.")
