"""Identities over the admin API: people at their providers, and services that act for them."""

from fastapi import APIRouter

from gateway.controlplane import identities
from gateway.controlplane.access import Admin, Limit, Now, Offset, Parts, Session
from gateway.controlplane.identity_schemas import IdentityIn, IdentityOut
from gateway.controlplane.verification_routes import WORKFLOW_ERRORS

router = APIRouter(prefix="/admin/v1", responses=WORKFLOW_ERRORS, tags=["identity"])


@router.get("/identities")
async def get_identities(
    session: Session, _: Admin, person_id: str | None = None, limit: Limit = 100, offset: Offset = 0
) -> list[IdentityOut]:
    """List whom identity providers' subjects are, the newest first."""
    rows = await identities.list_identities(session, person_id, limit, offset)
    return [IdentityOut.model_validate(row) for row in rows]


@router.post("/identities", status_code=201)
async def post_identity(
    given: IdentityIn, session: Session, admin: Admin, parts: Parts, now: Now
) -> IdentityOut:
    """Bind an issuer's subject to a person; with `domains`, it is a service that they sponsor."""
    issuer = parts.issuers.named(given.issuer).setting
    row = await identities.bind_identity(session, given, issuer, actor=admin.actor, now=now)
    return IdentityOut.model_validate(row)


@router.delete("/identities/{identity_id}", status_code=204)
async def delete_identity(identity_id: str, session: Session, admin: Admin, now: Now) -> None:
    """Unbind a subject; its running streams are cut within a second."""
    await identities.unbind_identity(session, identity_id, actor=admin.actor, now=now)
