"""Changes of tiers: proposed by one person, approved by another; what only restricts takes one."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change, record_event
from gateway.controlplane.organisations import party
from gateway.controlplane.tier_schemas import NEW_TIER, TierProposal
from gateway.controlplane.tiers import get_tier, terms_of
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError, NotPermittedError
from gateway.identity.principal import Administrator, Member
from gateway.policy import tiers as policy
from gateway.tables import Tier, TierChange

CHANGED = "The tier was changed meanwhile; propose it again."
Which = Literal["open", "in_force", "withdrawn"]


async def list_changes(
    session: AsyncSession, tier: str | None, which: Which | None, limit: int, offset: int
) -> list[TierChange]:
    """Return changes, of one tier or of all, the newest first."""
    query = select(TierChange).order_by(TierChange.proposed_at.desc(), TierChange.id)
    if tier is not None:
        query = query.where(TierChange.tier == tier)
    if which == "open":
        query = query.where(TierChange.version.is_(None), TierChange.withdrawn_at.is_(None))
    elif which == "in_force":
        query = query.where(TierChange.version.is_not(None))
    elif which == "withdrawn":
        query = query.where(TierChange.withdrawn_at.is_not(None))
    return list(await session.scalars(query.limit(limit).offset(offset)))


async def get_change(session: AsyncSession, change_id: str) -> TierChange:
    """Return a change.

    Raises:
        NotFoundError: There is none of that id.
    """
    change = await session.get(TierChange, change_id)
    if change is None:
        raise NotFoundError(f"There is no change '{change_id}'.")
    return change


async def list_versions(
    session: AsyncSession, name: str, limit: int, offset: int
) -> list[TierChange]:
    """Return what a tier has been, the newest version first.

    Raises:
        NotFoundError: There is no such tier.
    """
    await get_tier(session, name)
    query = select(TierChange).where(TierChange.tier == name, TierChange.version.is_not(None))
    query = query.order_by(TierChange.version.desc()).limit(limit).offset(offset)
    return list(await session.scalars(query))


async def proposed_terms(session: AsyncSession, given: TierProposal) -> dict[str, object]:
    """Return the whole of what a tier would be.

    Raises:
        InvalidRequestError: It would be what it is.
    """
    tier = await session.get(Tier, given.tier)
    before = None if tier is None else terms_of(tier)
    after = (NEW_TIER.given() if before is None else before) | given.change.given()
    if after == before:
        raise InvalidRequestError("This changes nothing.", "change")
    return after


async def propose(
    session: AsyncSession,
    given: TierProposal,
    *,
    caller: Administrator | Member | str,
    now: datetime,
) -> TierChange:
    """Propose a change; one that only restricts is in force at once.

    Args:
        session: The transaction.
        given: What to change.
        caller: Who; a text for the command line, which is nobody in particular.
        now: The moment.

    Raises:
        InvalidRequestError: It changes nothing.
        NotPermittedError: By somebody who may not, or by nobody in particular where it takes two.
    """
    # Two proposals on one version may not both believe that they restrict it.
    row = await locked(session, Tier, given.tier)
    terms = await proposed_terms(session, given)
    found = policy.differences(None if row is None else terms_of(row), terms)
    needs_another = policy.takes_two(found, is_new=row is None)
    base = 0 if row is None else row.version
    change = TierChange(
        id=str(uuid.uuid4()),
        tier=given.tier,
        base_version=base,
        terms=terms,
        digest=digest_of(given.tier, base, terms),
        takes_two=needs_another,
        reason=given.reason,
        proposed_by=await _proposer(session, caller, needs_another),
        proposed_at=now,
    )
    session.add(change)
    if not needs_another:
        await _put_in_force(session, change, actor=change.proposed_by, now=now)
        return change
    await record_event(
        session,
        Tag.TIER_PROPOSED,
        change.id,
        actor=change.proposed_by,
        now=now,
        tier=change.tier,
        digest=change.digest,
    )
    return change


async def approve(
    session: AsyncSession, change_id: str, digest: str, *, member: Member, now: datetime
) -> TierChange:
    """Put a proposal in force, as the second person.

    Raises:
        NotFoundError: There is none of that id.
        NotPermittedError: By the same person, too late, or by somebody who may not.
        ConflictError: Another one was looked at, or it is open no more, or no more about the
            version of the tier that is in force.
    """
    change = await _open_change(session, change_id)
    await _check_both(session, change, member, now)
    if digest != change.digest:
        raise ConflictError("This is not the digest of the change; look at it again.", "digest")
    change.approved_by = member.actor
    await _put_in_force(session, change, actor=member.actor, now=now)
    # Once more, since the log's head is held by now: what was taken away before it is gone.
    await _check_both(session, change, member, now)
    return change


async def _check_both(
    session: AsyncSession, change: TierChange, member: Member, now: datetime
) -> None:
    proposer = change.proposed_by.removeprefix("person:")
    approver = await party(session, member.person_id)
    reason = policy.approval_refusal(proposer, change.proposed_at, approver, now)
    # Who proposed must still be one who may: a role may have been taken away for a reason.
    reason = reason or policy.proposal_refusal(await party(session, proposer))
    if reason is not None:
        raise NotPermittedError(f"Not permitted: {reason}.")


async def withdraw(
    session: AsyncSession, change_id: str, *, caller: Administrator | Member | str, now: datetime
) -> TierChange:
    """Give a proposal up; anybody who may propose may do so, since it changes nobody's access.

    Raises:
        NotFoundError: There is none of that id.
        NotPermittedError: By somebody who may not.
        ConflictError: It is open no more.
    """
    change = await _open_change(session, change_id)
    actor = await _proposer(session, caller, needs_another=False)
    change.withdrawn_by, change.withdrawn_at = actor, now
    await record_event(
        session, Tag.TIER_WITHDRAWN, change_id, actor=actor, now=now, tier=change.tier
    )
    return change


def digest_of(tier: str, base_version: int, terms: Mapping[str, object]) -> str:
    """Return the digest of a change: of what it makes of which version of which tier."""
    named = {"tier": tier, "base_version": base_version, "terms": terms}
    return "sha256:" + hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


async def _proposer(
    session: AsyncSession, caller: Administrator | Member | str, needs_another: bool
) -> str:
    """Return the actor of a proposal.

    Raises:
        NotPermittedError: They may not make it.
    """
    if isinstance(caller, str) or caller.person_id is None:
        if needs_another:
            raise NotPermittedError(
                "This gives somebody more, so it takes two people: propose it with a workflow key "
                "of your own, not with an administrator's."
            )
        return caller if isinstance(caller, str) else caller.actor
    reason = policy.proposal_refusal(await party(session, caller.person_id))
    if reason is not None:
        raise NotPermittedError(f"Not permitted: {reason}.")
    return caller.actor


async def _put_in_force(
    session: AsyncSession, change: TierChange, *, actor: str, now: datetime
) -> None:
    tier = await locked(session, Tier, change.tier)
    if (0 if tier is None else tier.version) != change.base_version:
        raise ConflictError(CHANGED)
    change.version, change.in_force_at = change.base_version + 1, now
    if tier is None:
        try:
            async with session.begin_nested():
                session.add(Tier(name=change.tier, version=change.version, **change.terms))
        except IntegrityError as error:  # Another new tier of this name, at the same moment.
            raise ConflictError(CHANGED) from error
    else:
        tier.version = change.version
        for name, value in change.terms.items():
            setattr(tier, name, value)
    await record_change(
        session,
        Tag.TIER_CREATED if tier is None else Tag.TIER_CHANGED,
        change.tier,
        actor=actor,
        now=now,
        change=change.id,
        version=change.version,
        digest=change.digest,
        proposed_by=change.proposed_by,
        **change.terms,
    )


async def _open_change(session: AsyncSession, change_id: str) -> TierChange:
    change = await locked(session, TierChange, change_id)
    if change is None:
        raise NotFoundError(f"There is no change '{change_id}'.")
    if change.version is not None or change.withdrawn_at is not None:
        raise ConflictError("The change is in force or was withdrawn.")
    return change
