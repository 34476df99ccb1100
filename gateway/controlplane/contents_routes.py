"""Openings of kept contents over HTTP; what leaves is sealed to a key that is not here."""

from fastapi import APIRouter

from gateway.contents.bundle import Bundle
from gateway.controlplane import contents
from gateway.controlplane.access import (
    Acting,
    Either,
    Limit,
    Now,
    Offset,
    Parts,
    Session,
)
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.contents_schemas import ContentsIn, ContentsOut
from gateway.controlplane.routes import ERRORS

router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["contents"])


@router.get("/contents/openings")
async def get_content_openings(
    session: Session, _: Either, limit: Limit = 100, offset: Offset = 0
) -> list[ContentsOut]:
    """List what was asked to be opened, by whom, and who has agreed; the newest first."""
    rows = await contents.list_openings(session, limit, offset)
    return [ContentsOut.model_validate(row) for row in rows]


@router.post("/contents/openings", status_code=201)
async def post_content_opening(
    given: ContentsIn, session: Session, member: Acting, now: Now
) -> ContentsOut:
    """Ask for the contents of one request, with a reason."""
    row = await contents.ask(session, given, member=member, now=now)
    return ContentsOut.model_validate(row)


@router.post("/contents/openings/{opening_id}/approve")
async def post_content_approval(
    opening_id: str, session: Session, member: Acting, now: Now
) -> ContentsOut:
    """Agree, as another person than who asked and than whose contents they are."""
    row = await contents.approve(session, opening_id, member=member, now=now)
    return ContentsOut.model_validate(row)


@router.post("/contents/openings/{opening_id}/release")
async def post_content_release(
    opening_id: str, session: Session, parts: Parts, member: Acting, now: Now
) -> Bundle:
    """Hand the sealed contents out, once, within an hour of the second person's word."""
    return await contents.release(session, opening_id, parts.signer, member=member, now=now)
