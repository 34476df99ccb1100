"""Batches' rows: made, claimed by one gateway at a time, brought forward, ended.

    validating ──▶ in_progress ──▶ finalizing ──▶ completed
       │  │             │              └────────▶ expired
       │  └─▶ failed    │
       └────────────────┴──▶ cancelling ──▶ cancelled

A gateway that works on a batch holds a lease on it, which it renews; with the lease it got a number
(`claim`). Every change that it makes asks for that number, so one that has lost its lease to
another changes nothing any more.
"""

import secrets
from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import Select, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from gateway.dataplane.batches.files import LONGEST_SECONDS, OPEN, SHORTEST_SECONDS
from gateway.dataplane.wire.request import Metadata
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from gateway.identity.principal import Principal
from gateway.settings import Settings
from gateway.tables import Batch, Person, StoredFile

WINDOW = timedelta(hours=24)


class LeaseLostError(Exception):
    """Another gateway has taken the batch up."""


class OutputExpiry(msgspec.Struct, forbid_unknown_fields=True):
    """For how long a batch's files are kept."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS)]


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body that makes a batch."""

    input_file_id: Annotated[str, Meta(max_length=64)]
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: OutputExpiry | None = None


async def add_batch(
    session: AsyncSession,
    request: BatchRequest,
    file: StoredFile,
    principal: Principal,
    door: str | None,
    now: datetime,
    settings: Settings,
) -> Batch:
    """Enter a batch, to be validated.

    Raises:
        InvalidRequestError: Its file is no input, or its owner has too many under way.
    """
    if file.purpose != "batch":
        raise InvalidRequestError("The file's purpose is not batch.", "input_file_id")
    person_id = principal.person_id
    await session.execute(select(Person.id).where(Person.id == person_id).with_for_update())
    mine = select(func.count()).where(Batch.person_id == person_id, Batch.status.in_(OPEN))
    if (await session.scalar(mine) or 0) >= settings.batches_per_person:
        raise InvalidRequestError(
            f"You have {settings.batches_per_person} batches under way, as many as there may be."
        )
    expiry = request.output_expires_after
    batch = Batch(
        id=f"batch_{secrets.token_hex(16)}",
        person_id=person_id,
        key_id=principal.key_id,
        endpoint=request.endpoint,
        input_file_id=file.id,
        output_seconds=expiry.seconds if expiry else None,
        labels=request.metadata,
        door=door,
        status="validating",
        total=0,
        completed=0,
        failed=0,
        prompt_tokens=0,
        completion_tokens=0,
        created_at=now,
        expires_at=now + WINDOW,
        claim=0,
    )
    session.add(batch)
    return batch


async def find_batch(session: AsyncSession, batch_id: str, person_id: str) -> Batch:
    """Return a batch.

    Raises:
        NotFoundError: There is none, or it is somebody else's: nobody is told which.
    """
    batch = await session.get(Batch, batch_id)
    if batch is None or batch.person_id != person_id:
        raise NotFoundError(f"No batch found with id '{batch_id}'.")
    return batch


async def cancel_batch(session: AsyncSession, batch: Batch, now: datetime) -> None:
    """Have a batch end early; whoever works on it sees it soon.

    Raises:
        ConflictError: It has ended, or its results are being written.
    """
    if batch.status in ("cancelling", "cancelled"):
        return
    cancelled = await session.scalar(
        update(Batch)
        .where(Batch.id == batch.id, Batch.status.in_(("validating", "in_progress")))
        .values(status="cancelling", cancelling_at=now)
        .returning(Batch.id)
    )
    if cancelled is None:
        raise ConflictError(f"A batch that is {batch.status} cannot be cancelled.")
    await session.refresh(batch)


def _claimable() -> Select[str, int]:
    other, now = aliased(Batch), bindparam("now", type_=Batch.leased_until.type)
    busy = (
        select(other.id)
        .where(other.person_id == Batch.person_id, other.id != Batch.id, other.leased_until > now)
        .where(other.status.in_(OPEN))
        .exists()
    )
    return (
        select(Batch.id, Batch.claim)
        .where(Batch.status.in_(OPEN))
        .where(or_(Batch.leased_until.is_(None), Batch.leased_until <= now))
        .where(or_(~busy, Batch.status == "cancelling", Batch.expires_at <= now))
        .order_by(Batch.created_at)
        .limit(1)
    )


CLAIMABLE = _claimable()
"""Put together once: asked every second, that was a fifth of what an idle gateway did."""


async def claim_batch(session: AsyncSession, now: datetime, settings: Settings) -> Batch | None:
    """Take up the oldest batch that nobody works on; None when there is none.

    Of one person a batch runs at a time, unless one has only to be ended.
    """
    found = await session.execute(CLAIMABLE, {"now": now})
    if (row := found.one_or_none()) is None:
        return None
    lease = now + timedelta(seconds=settings.batch_lease_seconds)
    # Another gateway may have seen the same row: the number lets one of them have it.
    return await session.scalar(
        update(Batch)
        .where(Batch.id == row.id, Batch.claim == row.claim, Batch.status.in_(OPEN))
        .values(claim=row.claim + 1, leased_until=lease)
        .returning(Batch)
    )


async def release_batch(session: AsyncSession, batch: Batch) -> None:
    """Give a lease back, so that the next gateway need not wait for its end."""
    mine = (Batch.id == batch.id, Batch.claim == batch.claim)
    await session.execute(update(Batch).where(*mine).values(leased_until=None))


async def delete_ended(session: AsyncSession, before: datetime) -> None:
    """Delete the rows of batches that have ended before a moment."""
    await session.execute(delete(Batch).where(Batch.ended_at < before))


async def open_batches(session: AsyncSession, ids: list[str]) -> set[str]:
    """Return those of the ids that are of batches of which something is to be done."""
    query = select(Batch.id).where(Batch.id.in_(ids), Batch.status.in_(OPEN))
    return set(await session.scalars(query))


async def bring_forward(
    session: AsyncSession,
    batch: Batch,
    values: dict[str, object],
    only_from: tuple[str, ...] = OPEN,
) -> str:
    """Change a batch's row, if it is in one of some states; return the state that it is in then.

    Raises:
        LeaseLostError: It is another gateway's now.
    """
    mine = (Batch.id == batch.id, Batch.claim == batch.claim)
    change = update(Batch).where(*mine, Batch.status.in_(only_from)).values(values)
    changed: str | None = await session.scalar(change.returning(Batch.status))
    if changed is not None:
        return changed
    status = await session.scalar(select(Batch.status).where(*mine))
    if status is None or status not in OPEN:
        raise LeaseLostError
    return status


def batch_object(batch: Batch) -> dict[str, object]:
    """Return a batch as clients see it."""
    ended: dict[str, int | None] = {
        f"{state}_at": None for state in ("completed", "failed", "expired", "cancelled")
    }
    if batch.ended_at is not None:
        ended[f"{batch.status}_at"] = _seconds(batch.ended_at)
    errors = None if batch.errors is None else {"object": "list", "data": batch.errors}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": errors,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": _seconds(batch.created_at),
        "in_progress_at": _seconds(batch.in_progress_at),
        "expires_at": _seconds(batch.expires_at),
        "finalizing_at": _seconds(batch.finalizing_at),
        "cancelling_at": _seconds(batch.cancelling_at),
        **ended,
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": {
            "input_tokens": batch.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": batch.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.prompt_tokens + batch.completion_tokens,
        },
        "metadata": batch.labels,
    }


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
