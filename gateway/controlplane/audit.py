"""The audit log over HTTP: entries and the newest checkpoint, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from gateway.audit.entry import read_leaf
from gateway.audit.log import list_entries
from gateway.controlplane.access import Limit, Offset, Session, authenticate
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.routes import ERRORS
from gateway.controlplane.schemas import AuditEventOut

router = APIRouter(
    route_class=AdminRoute,
    prefix="/admin/v1",
    tags=["audit"],
    responses=ERRORS,
    dependencies=[Depends(authenticate)],
)


@router.get("/audit-events")
async def get_audit_events(
    session: Session,
    tag: Annotated[str | None, Query(description="A tag, or its beginning.")] = None,
    subject: Annotated[str | None, Query(description="An id: of a grant, a request, …")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[AuditEventOut]:
    """List the entries of the audit log, the newest first."""
    rows = await list_entries(session, tag=tag, subject=subject, limit=limit, offset=offset)
    leaves = [read_leaf(row.leaf) for row in rows]
    return [
        AuditEventOut(
            id=leaf.seq,
            at=leaf.entry.at,
            actor=leaf.entry.actor,
            tag=leaf.entry.tag,
            subject=leaf.entry.subject,
            detail=dict(leaf.entry.detail),
        )
        for leaf in leaves
    ]
