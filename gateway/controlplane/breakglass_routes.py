"""Break-glass over HTTP: closing by one person, opening by two with their workflow keys."""

from fastapi import APIRouter

from gateway.controlplane import breakglass
from gateway.controlplane.access import Acting, Either, Limit, Now, Offset, Session
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.breakglass_schemas import (
    ClosureIn,
    ClosureOut,
    EmergencyIn,
    LiftIn,
    OpeningOut,
)
from gateway.controlplane.routes import ERRORS

router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS)


@router.get("/closures", tags=["break-glass"])
async def get_closures(
    session: Session, _: Either, limit: Limit = 100, offset: Offset = 0
) -> list[ClosureOut]:
    """List closed doors, the newest first."""
    rows = await breakglass.list_closures(session, limit, offset)
    return [ClosureOut.model_validate(row) for row in rows]


@router.post("/closures", tags=["break-glass"], status_code=201)
async def post_closure(given: ClosureIn, session: Session, caller: Either, now: Now) -> ClosureOut:
    """Close a domain, or every one, for everybody's grants; it takes effect within a second."""
    row = await breakglass.close_door(session, given, caller=caller, now=now)
    return ClosureOut.model_validate(row)


@router.post("/closures/{closure_id}/lift", tags=["break-glass"], status_code=201)
async def post_lift(
    closure_id: str, given: LiftIn, session: Session, member: Acting, now: Now
) -> OpeningOut:
    """Ask for the end of a closure; it ends when another person confirms."""
    row = await breakglass.ask_to_lift(session, closure_id, given.reason, member=member, now=now)
    return OpeningOut.model_validate(row)


@router.get("/openings", tags=["break-glass"])
async def get_openings(
    session: Session, _: Either, limit: Limit = 100, offset: Offset = 0
) -> list[OpeningOut]:
    """List what was asked to be opened, the newest first."""
    rows = await breakglass.list_openings(session, limit, offset)
    return [OpeningOut.model_validate(row) for row in rows]


@router.post("/openings", tags=["break-glass"], status_code=201)
async def post_opening(
    given: EmergencyIn, session: Session, member: Acting, now: Now
) -> OpeningOut:
    """Ask for a grant for somebody else, for an hour at most, counted from the confirmation."""
    row = await breakglass.ask_for_access(session, given, member=member, now=now)
    return OpeningOut.model_validate(row)


@router.post("/openings/{opening_id}/confirm", tags=["break-glass"])
async def post_confirmation(
    opening_id: str, session: Session, member: Acting, now: Now
) -> OpeningOut:
    """Open, as the second person, what was asked for within the last hour."""
    row = await breakglass.confirm(session, opening_id, member=member, now=now)
    return OpeningOut.model_validate(row)
