"""Tiers over the admin API: what is in force, what was, and changes by two people."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from gateway.controlplane import tier_changes, tiers
from gateway.controlplane.access import Acting, Either, Limit, Now, Offset, Session
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.routes import ERRORS
from gateway.controlplane.tier_effects import effects
from gateway.controlplane.tier_schemas import (
    TierApproval,
    TierChangeOut,
    TierEffectsOut,
    TierOut,
    TierProposal,
    TierProposedOut,
)

router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["tiers"])


@router.get("/tiers")
async def get_tiers(
    session: Session, _: Either, limit: Limit = 100, offset: Offset = 0
) -> list[TierOut]:
    """List the access tiers, as they are in force."""
    return [TierOut.model_validate(row) for row in await tiers.list_tiers(session, limit, offset)]


@router.get("/tiers/{name}/history")
async def get_tier_history(
    name: str, session: Session, _: Either, limit: Limit = 100, offset: Offset = 0
) -> list[TierChangeOut]:
    """List what a tier has been, the newest version first, and who made it so."""
    rows = await tier_changes.list_versions(session, name, limit, offset)
    return [TierChangeOut.model_validate(row) for row in rows]


@router.get("/tier-changes")
async def get_tier_changes(
    session: Session,
    _: Either,
    tier: str | None = None,
    state: tier_changes.Which | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[TierChangeOut]:
    """List changes of tiers, the newest first."""
    rows = await tier_changes.list_changes(session, tier, state, limit, offset)
    return [TierChangeOut.model_validate(row) for row in rows]


@router.get("/tier-changes/{change_id}/effects")
async def get_tier_change_effects(
    change_id: str,
    session: Session,
    _: Either,
    now: Now,
    limit: Limit = 100,
    offset: Offset = 0,
) -> TierEffectsOut:
    """Say who would gain or lose what if a change were in force now."""
    change = await tier_changes.get_change(session, change_id)
    return await effects(session, change.tier, change.terms, limit, offset, now)


@router.post("/tier-changes", status_code=201, responses={200: {"model": TierProposedOut}})
async def post_tier_change(
    given: TierProposal,
    session: Session,
    caller: Either,
    now: Now,
    response: Response,
    dry_run: Annotated[bool, Query(description="Only say what it would do.")] = True,
    limit: Limit = 100,
    offset: Offset = 0,
) -> TierProposedOut:
    """Propose a change of a tier, or a new tier; what only restricts is in force at once."""
    terms = await tier_changes.proposed_terms(session, given)
    found = await effects(session, given.tier, terms, limit, offset, now)
    if dry_run:
        response.status_code = 200
        return TierProposedOut(effects=found, change=None)
    change = await tier_changes.propose(session, given, caller=caller, now=now)
    return TierProposedOut(effects=found, change=TierChangeOut.model_validate(change))


@router.post("/tier-changes/{change_id}/approve")
async def post_tier_approval(
    change_id: str, given: TierApproval, session: Session, member: Acting, now: Now
) -> TierChangeOut:
    """Put a proposal in force, as the second person; it takes effect within a second."""
    change = await tier_changes.approve(session, change_id, given.digest, member=member, now=now)
    return TierChangeOut.model_validate(change)


@router.post("/tier-changes/{change_id}/withdraw")
async def post_tier_withdrawal(
    change_id: str, session: Session, caller: Either, now: Now
) -> TierChangeOut:
    """Give a proposal up."""
    change = await tier_changes.withdraw(session, change_id, caller=caller, now=now)
    return TierChangeOut.model_validate(change)
