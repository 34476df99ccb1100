"""Visas over HTTP: brought by people or administrators, issued to people, and the keys of ours."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from gateway.controlplane import visas
from gateway.controlplane.access import Acting, Admin, Now, Parts, Session
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.routes import ERRORS
from gateway.controlplane.transfer_schemas import PassportOut, VisaOut, VisasIn

router = APIRouter()
admin = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["transfers"])
DryRun = Annotated[bool, Query(description="Only say what it would do.")]


async def _take(
    given: VisasIn,
    person_id: str,
    session: Session,
    parts: Parts,
    actor: str,
    now: datetime,
    dry_run: bool,
) -> list[VisaOut]:
    issuers = parts.issuers.visas
    read = await issuers.read(given.visas, now)
    return await visas.take_visas(
        session, person_id, read, issuers.by_issuer, actor=actor, now=now, dry_run=dry_run
    )


@admin.post("/me/visas")
async def post_own_visas(
    given: VisasIn, session: Session, member: Acting, parts: Parts, now: Now, dry_run: DryRun = True
) -> list[VisaOut]:
    """Bring visas about oneself; each becomes evidence for a reviewer to accept."""
    return await _take(given, member.person_id, session, parts, member.actor, now, dry_run)


@admin.post("/people/{person_id}/visas")
async def post_visas(
    person_id: str,
    given: VisasIn,
    session: Session,
    by: Admin,
    parts: Parts,
    now: Now,
    dry_run: DryRun = True,
) -> list[VisaOut]:
    """Bring visas about a person; each becomes evidence for a reviewer to accept."""
    return await _take(given, person_id, session, parts, by.actor, now, dry_run)


@admin.post("/me/passport")
async def post_passport(session: Session, member: Acting, parts: Parts, now: Now) -> PassportOut:
    """Get signed visas of the grants that count now; they hold for an hour at most."""
    issued = await visas.issue_visas(
        session,
        member.person_id,
        key=parts.visa_key,
        public_url=parts.settings.public_url,
        actor=member.actor,
        now=now,
    )
    return PassportOut(visas=issued.texts, expires_at=issued.expires_at)


@router.get(visas.KEY_SET_PATH, include_in_schema=False)
async def get_key_set(parts: Parts, response: Response) -> dict[str, list[dict[str, object]]]:
    """Publish the key that verifies visas of ours."""
    response.headers["cache-control"] = "public, max-age=300"
    return {"keys": [dict(parts.visa_key.as_dict(private=False))]}


router.include_router(admin)
