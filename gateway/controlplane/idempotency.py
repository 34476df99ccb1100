"""Idempotency keys: a POST that is sent again is answered again, and done once.

The `Idempotency-Key` header of draft-ietf-httpapi-idempotency-key-header. A key is its caller's:
whoever repeats it is authenticated and let in anew before an old answer is given. The answer is
kept in the transaction of the change itself, so there is one without the other never.

An answer may hold a new API key, which is shown once. It is kept encrypted under a key that is
made of the gateway's secret and the idempotency key, and the latter is kept only as an HMAC: who
has the database and the gateway's secret still cannot read it.
"""

import asyncio
import base64
import hmac
import logging
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.fernet import Fernet
from fastapi import Request, Response
from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db import Database
from gateway.errors import InvalidRequestError, NotReadyError
from gateway.precondition_errors import KeyInFlightError, KeyReusedError
from gateway.tables import IdempotentRequest
from gateway.trouble import Trouble

HEADER = "idempotency-key"
REPLAYED = {"idempotency-replayed": "true"}
KEPT_FOR = timedelta(hours=24)
ABANDONED_AFTER = timedelta(minutes=1)
"""A request that has not ended by then is no more in flight: its gateway was killed."""
SWEEP_SECONDS = 600.0
log = logging.getLogger(__name__)
# A structured-field string, or the same without its quotes, as many clients send it.
WELL_FORMED = re.compile(r'"([!#-~]{1,255})"|([!#-~]{1,255})')


class AnsweredBefore(Exception):  # noqa: N818 - no error: the answer, on its way past the handler
    """The request was done before; carries what was answered."""

    def __init__(self, response: Response) -> None:
        super().__init__("answered before")
        self.response = response


@dataclass(frozen=True)
class Once:
    """One request that is being done, and done by this task alone."""

    id: str
    token: str
    cipher: Fernet


async def begin(request: Request, database: Database, secret: bytes, actor: str) -> Once | None:
    """Reserve a request's idempotency key; None when it came without one.

    Args:
        request: The request, from a caller who is let in.
        database: The reservation has a transaction of its own, so that others see it at once.
        secret: Derived from the gateway's.
        actor: Whose key it is.

    Raises:
        AnsweredBefore: It was done before.
        InvalidRequestError: The key is none.
        KeyReusedError: The key came with another request before.
        KeyInFlightError: The same request is being done.
    """
    given = request.headers.get(HEADER)
    if given is None or request.method != "POST":
        return None
    matched = WELL_FORMED.fullmatch(given.strip())
    if matched is None:
        raise InvalidRequestError("The Idempotency-Key must be 1 to 255 visible characters.")
    named = f"{actor}\x00{matched[1] or matched[2]}".encode()
    target = f"{request.url.path}?{request.url.query}\x00".encode()
    fingerprint = hmac.new(secret, target + await request.body(), "sha256").hexdigest()
    once = Once(
        id=hmac.new(secret, b"id\x00" + named, "sha256").hexdigest(),
        token=str(uuid.uuid4()),
        cipher=Fernet(
            base64.urlsafe_b64encode(hmac.digest(secret, b"answer\x00" + named, "sha256"))
        ),
    )
    now = datetime.now(UTC)
    async with database.transaction() as session:
        row = await _reserve(session, once, fingerprint, now)
    if row is None:
        return once
    if row.fingerprint != fingerprint:
        raise KeyReusedError
    if row.answer is None or row.status is None:
        raise KeyInFlightError
    body = once.cipher.decrypt(row.answer)
    raise AnsweredBefore(Response(body, row.status, REPLAYED, "application/json"))


async def _reserve(
    session: AsyncSession, once: Once, fingerprint: str, now: datetime
) -> IdempotentRequest | None:
    """Take a key, or return the row of who has it."""
    abandoned = IdempotentRequest.answer.is_(None) & (
        IdempotentRequest.started_at < now - ABANDONED_AFTER
    )
    await session.execute(delete(IdempotentRequest).where(_over(now) | abandoned))
    row = IdempotentRequest(id=once.id, token=once.token, fingerprint=fingerprint, started_at=now)
    try:
        async with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return await session.get_one(IdempotentRequest, once.id, populate_existing=True)
    return None


async def forget_answers(database: Database) -> None:
    """Delete what is kept no longer, for ever, also where nobody sends a key any more."""
    trouble = Trouble(log, "old answers could not be deleted")
    while True:
        with trouble.watched():
            async with database.transaction() as session:
                # Not what is under way, which may take long: who comes with the same key decides.
                over = _over(datetime.now(UTC))
                await session.execute(delete(IdempotentRequest).where(over))
        await asyncio.sleep(SWEEP_SECONDS)


def _over(now: datetime) -> ColumnElement[bool]:
    return IdempotentRequest.started_at < now - KEPT_FOR


async def keep(session: AsyncSession, once: Once, response: Response) -> None:
    """Keep a request's answer, in the transaction of what it changed.

    Raises:
        KeyInFlightError: It took so long that another task has begun it anew; this one is undone.
    """
    kept = await session.scalar(
        update(IdempotentRequest)
        .where(IdempotentRequest.id == once.id, IdempotentRequest.token == once.token)
        .values(answer=once.cipher.encrypt(bytes(response.body)), status=response.status_code)
        .returning(IdempotentRequest.id)
    )
    if kept is None:
        raise KeyInFlightError


async def release(database: Database, once: Once) -> None:
    """Give a key back whose request was refused or failed, so that it may be tried again."""
    try:
        async with database.transaction() as session:
            await session.execute(
                delete(IdempotentRequest).where(
                    IdempotentRequest.id == once.id, IdempotentRequest.token == once.token
                )
            )
    except NotReadyError:
        return  # It is given back when it counts as abandoned.
