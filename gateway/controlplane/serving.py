"""What is served: releases taken over as promotion rows, their end, revoked checkpoints."""

import uuid
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_change
from gateway.errors import ConflictError
from gateway.tables import Promotion, Revocation
from models.release import CurrentReleases, Release, Seen

MAX_REASON = 1000


async def seen_releases(session: AsyncSession) -> dict[str, Seen]:
    """Return the newest release of every alias that this gateway has ever taken over."""
    return {
        f"{row.family}:{row.label}": Seen(version=row.version, digest=row.release_digest)
        for row in await current_promotions(session)
    }


async def take_over(
    session: AsyncSession,
    current: CurrentReleases,
    revoked: Mapping[str, str],
    *,
    actor: str,
    now: datetime,
) -> None:
    """Record what the registry says now, and close the aliases whose newest release fails.

    Args:
        session: The transaction.
        current: The registry's verified releases, and the aliases without one.
        revoked: Revoked checkpoints and why; remembered, also when their files are gone later.
        actor: Who did it.
        now: When.
    """
    # Before the revocations: one that is made between the two reads is then among them, and what
    # it has withdrawn is not taken for something to restore.
    rows = {f"{row.family}:{row.label}": row for row in await current_promotions(session)}
    known = {row.checkpoint: row.reason for row in await session.scalars(select(Revocation))}
    for checkpoint, reason in revoked.items():
        if checkpoint not in known:
            await revoke_checkpoint(session, checkpoint, reason, actor=actor, now=now)
            known[checkpoint] = reason
    for release in current.valid:
        row = rows.get(release.alias)
        if row is None or release.version > row.version:
            row = await _add(session, release, actor=actor, now=now)
            # The log's head is ours by now: a revocation is made already, or will see the row.
            made = await session.get(Revocation, release.checkpoint, populate_existing=True)
            if made is not None:
                known[made.checkpoint] = made.reason
        if release.checkpoint in known:
            reason = f"its checkpoint was revoked: {known[release.checkpoint]}"
            await _withdraw(session, row, reason, actor=actor, now=now)
        elif row.withdrawn_at is not None:
            row.withdrawn_at = row.withdrawn_reason = None
            await record_change(session, Tag.ALIAS_RESTORED, release.alias, actor=actor, now=now)
    for refusal in current.refused:
        if refusal.alias in rows:
            await _withdraw(session, rows[refusal.alias], refusal.reason, actor=actor, now=now)


async def _add(session: AsyncSession, release: Release, *, actor: str, now: datetime) -> Promotion:
    answers = release.fingerprint.answers if release.fingerprint else None
    promotion = Promotion(
        id=str(uuid.uuid4()),
        family=release.family,
        label=release.label,
        version=release.version,
        checkpoint=release.checkpoint,
        hazards=list(release.hazards),
        # A domain under a waiver in force is served as forgotten; the release says which.
        forgets=list(release.cleared),
        release_digest=release.document_digest,
        profile=release.profile.model_dump(mode="json"),
        profile_digest=release.profile.document_digest,
        waived=[item.rule for item in release.waived],
        fingerprint=answers and [answer.model_dump(mode="json") for answer in answers],
        actor=actor,
        created_at=now,
        expires_at=release.expires_at,
    )
    session.add(promotion)
    await record_change(
        session,
        Tag.ALIAS_PROMOTED,
        release.alias,
        actor=actor,
        now=now,
        version=release.version,
        checkpoint=release.checkpoint,
        release=release.document_digest,
    )
    return promotion


async def _withdraw(
    session: AsyncSession, row: Promotion, reason: str, *, actor: str, now: datetime
) -> None:
    if row.withdrawn_at is not None:
        return
    row.withdrawn_at, row.withdrawn_reason = now, reason[:MAX_REASON]
    await record_change(
        session,
        Tag.ALIAS_WITHDRAWN,
        f"{row.family}:{row.label}",
        actor=actor,
        now=now,
        version=row.version,
        reason=row.withdrawn_reason,
    )


async def revoke_checkpoint(
    session: AsyncSession, checkpoint: str, reason: str, *, actor: str, now: datetime
) -> Revocation:
    """End a checkpoint for ever and close every alias that points to it.

    Raises:
        ConflictError: It was revoked before.
    """
    if await session.get(Revocation, checkpoint) is not None:
        raise ConflictError(f"{checkpoint} is revoked already.", "checkpoint")
    row = Revocation(checkpoint=checkpoint, reason=reason[:MAX_REASON], actor=actor, created_at=now)
    try:
        async with session.begin_nested():
            session.add(row)
    except IntegrityError as error:  # By somebody else, at the same moment.
        raise ConflictError(f"{checkpoint} is revoked already.", "checkpoint") from error
    # First, since it takes the log's head: whoever promotes meanwhile has done so, or will see it.
    await record_change(
        session, Tag.CHECKPOINT_REVOKED, checkpoint, actor=actor, now=now, reason=row.reason
    )
    for promotion in await current_promotions(session):
        if promotion.checkpoint == checkpoint:
            why = f"its checkpoint was revoked: {reason}"
            await _withdraw(session, promotion, why, actor=actor, now=now)
    return row


async def list_revocations(session: AsyncSession, limit: int, offset: int) -> list[Revocation]:
    """Return revoked checkpoints, the newest first."""
    query = (
        select(Revocation)
        .order_by(Revocation.created_at.desc(), Revocation.checkpoint)
        .limit(limit)
        .offset(offset)
    )
    return list(await session.scalars(query))


async def list_promotions(session: AsyncSession, limit: int, offset: int) -> list[Promotion]:
    """Return promotions, the newest first."""
    query = (
        select(Promotion)
        .order_by(Promotion.created_at.desc(), Promotion.version.desc(), Promotion.id)
        .limit(limit)
        .offset(offset)
    )
    return list(await session.scalars(query))


def _current() -> Select[Promotion]:
    newest = (
        select(Promotion.family, Promotion.label, func.max(Promotion.version).label("version"))
        .group_by(Promotion.family, Promotion.label)
        .subquery()
    )
    return (
        select(Promotion)
        .join(
            newest,
            (Promotion.family == newest.c.family)
            & (Promotion.label == newest.c.label)
            & (Promotion.version == newest.c.version),
        )
        .order_by(Promotion.family, Promotion.label)
    )


CURRENT = _current()
"""Put together once; it is asked twice a second."""


async def current_promotions(session: AsyncSession) -> list[Promotion]:
    """Return the newest promotion of every alias."""
    return list(await session.scalars(CURRENT))
