"""Identities over the admin API: people at their providers, and services that act for them."""

from fastapi import APIRouter

from gateway.controlplane import identities, people, sessions
from gateway.controlplane.access import Admin, Limit, Now, Offset, Parts, Session
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.identity_schemas import IdentityIn, IdentityOut, SessionOut
from gateway.controlplane.routes import ERRORS

router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["identity"])


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


@router.get("/sessions")
async def get_sessions(
    session: Session, _: Admin, parts: Parts, now: Now, person_id: str | None = None
) -> list[SessionOut]:
    """List live sessions, of one person or of everybody, the newest first."""
    rows = await sessions.list_sessions(session, person_id, parts.settings, now)
    return [SessionOut.model_validate(row) for row in rows]


@router.delete("/sessions/{session_id}", status_code=204)
async def delete_session(session_id: str, session: Session, admin: Admin, now: Now) -> None:
    """End anybody's session, at once."""
    await sessions.end_session(session, session_id, None, actor=admin.actor, now=now)


@router.delete("/people/{person_id}/sessions", status_code=204)
async def delete_sessions(person_id: str, session: Session, admin: Admin, now: Now) -> None:
    """End every session of a person, at once."""
    await people.log_out(session, person_id, actor=admin.actor, now=now)
