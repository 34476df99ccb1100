"""Break-glass: closures by one person at once, openings by two for an hour at most."""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.breakglass_schemas import ClosureIn, EmergencyIn
from gateway.controlplane.changes import Tag, locked, record_change, record_event
from gateway.controlplane.grants import add_grant
from gateway.controlplane.organisations import party
from gateway.controlplane.people import get_person
from gateway.controlplane.tiers import get_tier
from gateway.errors import ConflictError, NotFoundError, NotPermittedError
from gateway.identity.principal import Administrator, Member
from gateway.policy import breakglass as policy
from gateway.policy.approval import Party
from gateway.tables import Closure, Grant, Opening


async def list_closures(session: AsyncSession, limit: int, offset: int) -> list[Closure]:
    """Return closures, the newest first."""
    query = select(Closure).order_by(Closure.closed_at.desc(), Closure.id)
    return list(await session.scalars(query.limit(limit).offset(offset)))


async def list_openings(session: AsyncSession, limit: int, offset: int) -> list[Opening]:
    """Return openings, the newest first."""
    query = select(Opening).order_by(Opening.requested_at.desc(), Opening.id)
    return list(await session.scalars(query.limit(limit).offset(offset)))


async def close_door(
    session: AsyncSession, given: ClosureIn, *, caller: Administrator | Member | str, now: datetime
) -> Closure:
    """Close a domain, or every one; running streams that rest on it are cut within a second.

    Args:
        session: The transaction.
        given: What to close, and why.
        caller: Who; a text for the command line.
        now: The moment.

    Raises:
        NotPermittedError: By somebody without a role.
    """
    if isinstance(caller, Member) and not policy.may_close(await party(session, caller.person_id)):
        raise NotPermittedError("This takes a role in the workflow.")
    actor = caller if isinstance(caller, str) else caller.actor
    closure = Closure(
        id=str(uuid.uuid4()),
        domain=given.domain,
        reason=given.reason,
        closed_by=actor,
        closed_at=now,
    )
    session.add(closure)
    await record_change(
        session,
        Tag.DOOR_CLOSED,
        closure.id,
        actor=actor,
        now=now,
        domain=given.domain,
        reason=given.reason,
    )
    return closure


async def ask_to_lift(
    session: AsyncSession, closure_id: str, reason: str, *, member: Member, now: datetime
) -> Opening:
    """Ask for the end of a closure; another person must confirm it.

    Raises:
        NotFoundError: There is no such closure.
        ConflictError: It was lifted before.
        NotPermittedError: By somebody who may not.
    """
    closure = await _standing_closure(session, closure_id)
    opening = Opening(
        id=str(uuid.uuid4()),
        closure_id=closure_id,
        domain=closure.domain,
        reason=reason,
        requested_by=member.person_id,
        requested_at=now,
    )
    return await _ask(session, opening, None, member, now)


async def ask_for_access(
    session: AsyncSession, given: EmergencyIn, *, member: Member, now: datetime
) -> Opening:
    """Ask for a grant for somebody else, for an hour at most; another person must confirm it.

    Raises:
        NotFoundError: There is no such person.
        ConflictError: The person's tier holds no grants.
        NotPermittedError: By somebody who may not.
    """
    beneficiary = await party(session, given.person_id)
    tier = await get_tier(session, (await get_person(session, given.person_id)).tier)
    if not tier.grantable:
        raise ConflictError(f"Members of the tier '{tier.name}' hold no grants.", "person_id")
    opening = Opening(
        id=str(uuid.uuid4()),
        person_id=given.person_id,
        domain=given.domain,
        minutes=given.minutes,
        reason=given.reason,
        requested_by=member.person_id,
        requested_at=now,
    )
    return await _ask(session, opening, beneficiary, member, now)


async def confirm(
    session: AsyncSession, opening_id: str, *, member: Member, now: datetime
) -> Opening:
    """Do what was asked for, as the second person.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: It was confirmed before, or the closure was lifted meanwhile.
        NotPermittedError: By the same person, too late, or by somebody who may not.
    """
    opening = await locked(session, Opening, opening_id)
    if opening is None:
        raise NotFoundError(f"There is no opening '{opening_id}'.")
    if opening.confirmed_at is not None:
        raise ConflictError("It was confirmed before.")
    await _check_both(session, opening, member, now)
    opening.confirmed_by, opening.confirmed_at = member.person_id, now
    both = f"person:{opening.requested_by}, person:{member.person_id}"
    if opening.closure_id is not None:
        closure = await _standing_closure(session, opening.closure_id)
        closure.lifted_by, closure.lifted_at = both, now
    else:
        await _grant(session, opening, both, member, now)
    await record_change(
        session,
        Tag.OPENING_CONFIRMED,
        opening_id,
        actor=member.actor,
        now=now,
        asked_by=opening.requested_by,
        closure=opening.closure_id,
        grant=opening.grant_id,
        domain=opening.domain,
    )
    # Once more, since the log's head is held by now: what was taken away before it is gone.
    await _check_both(session, opening, member, now)
    return opening


async def _check_both(
    session: AsyncSession, opening: Opening, member: Member, now: datetime
) -> None:
    beneficiary = await party(session, opening.person_id) if opening.person_id else None
    request = policy.Request(opening.requested_by, opening.requested_at, opening.domain)
    second = await party(session, member.person_id)
    _check(policy.confirmation_refusal(request, second, beneficiary, now))
    # Who asked must still be one who may: a role may have been taken away for a reason.
    first = await party(session, opening.requested_by)
    _check(policy.refusal(first, opening.domain, beneficiary))


async def _grant(
    session: AsyncSession, opening: Opening, both: str, member: Member, now: datetime
) -> None:
    length = min(timedelta(minutes=opening.minutes or 0), policy.LONGEST_EMERGENCY)
    grant = Grant(
        person_id=opening.person_id,
        domain=opening.domain,
        reason=f"emergency: {opening.reason}"[:1000],
        approved_by=both,
    )
    detail = {"opening": opening.id, "approved_by": both}
    await add_grant(session, grant, length, actor=member.actor, now=now, **detail)
    opening.grant_id = grant.id


async def _ask(
    session: AsyncSession,
    opening: Opening,
    beneficiary: Party | None,
    member: Member,
    now: datetime,
) -> Opening:
    asking = await party(session, member.person_id)
    _check(policy.refusal(asking, opening.domain, beneficiary))
    session.add(opening)
    await record_event(
        session,
        Tag.OPENING_REQUESTED,
        opening.id,
        actor=member.actor,
        now=now,
        closure=opening.closure_id,
        person=opening.person_id,
        domain=opening.domain,
        minutes=opening.minutes,
        reason=opening.reason,
    )
    return opening


def _check(reason: str | None) -> None:
    if reason is not None:
        raise NotPermittedError(f"Not permitted: {reason}.")


async def _standing_closure(session: AsyncSession, closure_id: str) -> Closure:
    closure = await locked(session, Closure, closure_id)
    if closure is None:
        raise NotFoundError(f"There is no closure '{closure_id}'.")
    if closure.lifted_at is not None:
        raise ConflictError("The closure was lifted before.")
    return closure
