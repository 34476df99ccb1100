"""Openings of kept contents over HTTP, and their end; what leaves is sealed to a key not here."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from gateway.contents.bundle import Bundle
from gateway.controlplane import contents, destructions
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
from gateway.controlplane.contents_schemas import (
    ContentsIn,
    ContentsOut,
    DestructionIn,
    DestructionOut,
    DestructionStepOut,
)
from gateway.controlplane.routes import ERRORS

router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["contents"])
DryRun = Annotated[bool, Query(description="Only say how much it concerns.")]


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


@router.get("/contents/destructions")
async def get_content_destructions(
    session: Session, _: Either, limit: Limit = 100, offset: Offset = 0
) -> list[DestructionOut]:
    """List what was asked to be destroyed, by whom, and who has agreed; the newest first."""
    rows = await destructions.list_destructions(session, limit, offset)
    return [DestructionOut.model_validate(row) for row in rows]


@router.post(
    "/contents/destructions", status_code=201, responses={200: {"model": DestructionStepOut}}
)
async def post_content_destruction(
    given: DestructionIn,
    session: Session,
    member: Acting,
    now: Now,
    response: Response,
    dry_run: DryRun = True,
) -> DestructionStepOut:
    """Ask that contents be destroyed before their time; nothing is before somebody agrees."""
    response.status_code = 200 if dry_run else 201
    return await destructions.ask(session, given, member=member, now=now, dry_run=dry_run)


@router.post("/contents/destructions/{destruction_id}/approve")
async def post_content_destruction_approval(
    destruction_id: str, session: Session, member: Acting, now: Now, dry_run: DryRun = True
) -> DestructionStepOut:
    """Agree, as another person than who asked and whose they are: they are gone, for ever."""
    return await destructions.approve(
        session, destruction_id, member=member, now=now, dry_run=dry_run
    )
