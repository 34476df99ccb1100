"""Exports of the log: JSON lines that can be verified, CSV to read, OCSF for other systems.

In the JSON lines every line but the last ones is a leaf, byte for byte; the last ones are the
signed checkpoints, as `{"checkpoint": "<note>"}`. Only this form can be
verified (`gateway.audit.verify`).
"""

import csv
import io
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.checkpoint import SignerKey
from gateway.audit.entry import Leaf, read_leaf
from gateway.audit.log import list_checkpoints, sign_head
from gateway.tables import AuditEntry

PAGE = 1000
OCSF_VERSION = "1.6.0"
ACCESS_MANAGEMENT, API_ACTIVITY = 3005, 6003
"""Class ids of User Access Management and of API Activity; https://schema.ocsf.io."""
ASSIGN, REVOKE, OTHER = 1, 2, 99
SUCCESS, FAILURE = 1, 2
INFORMATIONAL = 1


async def export_lines(
    session: AsyncSession, signer: SignerKey, now: datetime
) -> AsyncIterator[bytes]:
    """Yield the lines of an export that can be verified, up to a checkpoint that is signed now."""
    note = await sign_head(session, signer, now)
    async for raw in leaves(session, note.checkpoint.size):
        yield raw
    for text in await list_checkpoints(session, note.checkpoint.size):
        yield orjson.dumps({"checkpoint": text})


async def export_for_reading(
    session: AsyncSession, signer: SignerKey, now: datetime, write: Callable[[Leaf], bytes]
) -> AsyncIterator[bytes]:
    """Yield the same entries, each as `write` puts it."""
    note = await sign_head(session, signer, now)
    async for raw in leaves(session, note.checkpoint.size):
        yield write(read_leaf(raw))


def csv_line(leaf: Leaf) -> bytes:
    """Return an entry as a line of CSV: number, moment, actor, tag, subject, detail as JSON."""
    entry, out = leaf.entry, io.StringIO()
    detail = orjson.dumps(entry.detail, option=orjson.OPT_SORT_KEYS).decode()
    cells = [str(leaf.seq), entry.at.isoformat(), entry.actor, entry.tag, entry.subject, detail]
    # A spreadsheet takes a cell that begins so for a formula.
    safe = [f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell for cell in cells]
    csv.writer(out, lineterminator="").writerow(safe)
    return out.getvalue().encode()


CSV_HEADER = b"seq,at,actor,tag,subject,detail"


def ocsf_line(leaf: Leaf) -> bytes:
    """Return an entry as an OCSF event; what the schema has no place for is in `unmapped`."""
    entry = leaf.entry
    source, subject, action = (*entry.tag.split(":"), "", "")[:3]
    is_access = subject in ("grant", "key", "person") and source != "dataplane"
    class_uid = ACCESS_MANAGEMENT if is_access else API_ACTIVITY
    activity = OTHER
    if is_access:
        activity = {"created": ASSIGN, "added": ASSIGN, "revoked": REVOKE}.get(action, OTHER)
    outcome = entry.detail.get("outcome", "ok")
    event = {
        "activity_id": activity,
        "actor": {"user": {"uid": entry.actor}},
        "api": {"operation": entry.tag, "request": {"uid": entry.subject}},
        "category_uid": class_uid // 1000,
        "class_uid": class_uid,
        "metadata": {
            "product": {"name": "Airlock", "vendor_name": "Airlock"},
            "sequence": leaf.seq,
            "version": OCSF_VERSION,
        },
        "resources": [{"type": subject, "uid": entry.subject}],
        "severity_id": INFORMATIONAL,
        "status_id": FAILURE if action == "denied" or outcome != "ok" else SUCCESS,
        "time": int(entry.at.timestamp() * 1000),
        "type_uid": class_uid * 100 + activity,
        "unmapped": dict(entry.detail),
    }
    if is_access:
        event["user"] = {"uid": str(entry.detail.get("person", entry.subject))}
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


async def leaves(session: AsyncSession, size: int) -> AsyncIterator[bytes]:
    """Yield the leaves of the first `size` entries."""
    for start in range(0, size, PAGE):
        query = (
            select(AuditEntry.leaf)
            .where(AuditEntry.seq >= start, AuditEntry.seq < min(start + PAGE, size))
            .order_by(AuditEntry.seq)
        )
        for raw in await session.scalars(query):
            yield raw
