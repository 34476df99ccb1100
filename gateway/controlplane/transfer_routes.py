"""Transfers over HTTP: people out and in as lines of JSON, GA4GH visas in and out."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from gateway.controlplane.access import Admin, Either, Now, Parts, Session
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.changes import Tag, record_event
from gateway.controlplane.people_export import export_lines
from gateway.controlplane.people_import import MAX_LINES, import_lines
from gateway.controlplane.routes import ERRORS
from gateway.controlplane.steps import duties
from gateway.controlplane.transfer_schemas import ImportOut
from gateway.db import Database
from gateway.errors import InvalidRequestError, NotPermittedError
from gateway.policy.approval import Duty

router = APIRouter(route_class=AdminRoute, prefix="/admin/v1", responses=ERRORS, tags=["transfers"])
LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/x-ndjson": {}}, "description": "One person a line."}
}
DryRun = Annotated[bool, Query(description="Only say what it would do.")]


@router.get("/people-export", response_class=StreamingResponse, responses=LINES)
async def get_people_export(
    session: Session,
    caller: Either,
    parts: Parts,
    now: Now,
    addresses: Annotated[bool, Query(description="Administrators alone.")] = False,
) -> StreamingResponse:
    """Export everybody with their identities, roles, evidence and grants."""
    if addresses and Duty.ADMINISTRATOR not in await duties(session, caller):
        raise NotPermittedError("Not permitted: addresses are for administrators.")
    await record_event(
        session, Tag.PEOPLE_EXPORTED, "people", actor=caller.actor, now=now, addresses=addresses
    )
    lines = _streamed(parts.database, now, with_addresses=addresses)
    headers = {"cache-control": "no-store"}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


async def _streamed(
    database: Database, now: datetime, *, with_addresses: bool
) -> AsyncIterator[bytes]:
    async for line in export_lines(database, now, with_addresses=with_addresses):
        yield line


@router.post("/people-import")
async def post_people_import(
    request: Request, admin: Admin, parts: Parts, now: Now, dry_run: DryRun = True
) -> ImportOut:
    """Import people, one a line as the export has them; nobody gets a right by it."""
    return await import_lines(
        parts.database,
        await _lines(request),
        issuers=parts.issuers.by_issuer,
        actor=admin.actor,
        now=now,
        dry_run=dry_run,
    )


async def _lines(request: Request) -> list[bytes]:
    """Return the body's lines; how long it may be is bounded before.

    Raises:
        InvalidRequestError: It has too many lines.
    """
    lines = (await request.body()).split(b"\n")
    if len(lines) > MAX_LINES + 1:
        raise InvalidRequestError(f"An import has {MAX_LINES} lines at most.")
    return lines
