"""Leak reports: whoever holds a whole key may end it, and learns nothing by it.

The form is that of GitHub's secret scanning. A report needs no signature, since the key itself is
the proof; what is not a whole, live key of ours is passed over in silence, and every report gets
the same answer. An administrator's key ends just so.
"""

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from gateway.controlplane.access import ControlPlane, Parts
from gateway.controlplane.changes import Tag
from gateway.controlplane.key_schemas import LeaksIn
from gateway.controlplane.keys import revoke_key
from gateway.errors import (
    ConflictError,
    InvalidRequestError,
    RequestTimeoutError,
    RequestTooLargeError,
)
from gateway.identity.api_keys import ParsedKey, parse
from gateway.identity.key_records import load_keys
from gateway.tables import ApiKey

PATH = "/v1/leaked-keys"
ACTOR = "leak report"
MAX_BODY_BYTES = 65_536
router = APIRouter()
log = logging.getLogger(__name__)


# Not part of the admin API, whose document this application has; docs/keys.md describes it.
@router.post(PATH, status_code=202, include_in_schema=False)
async def post_leaked_keys(request: Request, parts: Parts) -> Response:
    """End every key of ours in a report; the answer says nothing of what was in it."""
    address = parts.gate.address(request.scope)
    parts.throttle.count(address, time.monotonic())
    try:
        reported = LeaksIn.model_validate_json(await _body(request, parts))
    except ValidationError as error:
        # The report's words, a key among them, must not come back or be logged.
        raise InvalidRequestError('Send [{"token": "…"}], 1 to 100 of them.') from error
    found = (parse(report.token.strip()) for report in reported.root)
    keys = {parsed.id: parsed for parsed in found if parsed is not None}
    if keys:
        await _end(parts, keys, str(address))
    return Response(b"[]", 202, media_type="application/json")


async def _end(parts: ControlPlane, keys: dict[str, ParsedKey], address: str) -> None:
    now = datetime.now(UTC)
    async with parts.database.transaction() as session:
        records = await load_keys(session, ApiKey.id.in_(sorted(keys)))
    for key_id, parsed in sorted(keys.items()):
        record = records.get(key_id)
        if record is None:
            parts.peppers.matches(parsed, None)  # As long as for a key that is known.
            continue
        if not parts.peppers.matches(parsed, record.hmac, record.pepper_version):
            continue
        with contextlib.suppress(ConflictError):  # It has ended before.
            # Each by itself: who holds the log's head, as after the first, waits for no key.
            async with parts.database.transaction() as session:
                await revoke_key(
                    session,
                    key_id,
                    actor=ACTOR,
                    now=now,
                    tag=Tag.KEY_LEAKED,
                    reported_from=address,
                )
            log.warning("a leaked key was ended", extra={"airlock": {"key": key_id}})


async def _body(request: Request, parts: ControlPlane) -> bytes:
    """Return a report's bytes.

    Raises:
        RequestTooLargeError: There are too many.
        RequestTimeoutError: They do not come in time.
    """
    body, seconds = bytearray(), parts.settings.body_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise RequestTooLargeError(MAX_BODY_BYTES)
    except TimeoutError as error:
        raise RequestTimeoutError(seconds) from error
    return bytes(body)
