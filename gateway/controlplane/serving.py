"""What is served: releases taken over as promotion rows, and engines that the admin API adds."""

import uuid
from datetime import datetime

from cryptography.fernet import Fernet
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.schemas import EngineIn
from gateway.errors import ConflictError, NotFoundError
from gateway.tables import Engine, Promotion
from models.release import Release


async def take_over(
    session: AsyncSession, releases: list[Release], *, actor: str, now: datetime
) -> list[Promotion]:
    """Record the releases that the gateway has not seen yet; return the new rows.

    A version that is not newer than the newest known one of its alias is ignored: an old release
    file that comes back must not flip a door.
    """
    known: dict[tuple[str, str], int] = {
        (family, label): version
        for family, label, version in await session.execute(
            select(Promotion.family, Promotion.label, func.max(Promotion.version)).group_by(
                Promotion.family, Promotion.label
            )
        )
    }
    added = []
    for release in releases:
        if release.version <= known.get((release.family, release.label), 0):
            continue
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
            actor=actor,
            created_at=now,
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
        )
        added.append(promotion)
    return added


async def list_promotions(session: AsyncSession, limit: int, offset: int) -> list[Promotion]:
    """Return promotions, the newest first."""
    query = (
        select(Promotion)
        .order_by(Promotion.created_at.desc(), Promotion.version.desc(), Promotion.id)
        .limit(limit)
        .offset(offset)
    )
    return list(await session.scalars(query))


async def current_promotions(session: AsyncSession) -> list[Promotion]:
    """Return the newest promotion of every alias."""
    newest = (
        select(Promotion.family, Promotion.label, func.max(Promotion.version).label("version"))
        .group_by(Promotion.family, Promotion.label)
        .subquery()
    )
    query = (
        select(Promotion)
        .join(
            newest,
            (Promotion.family == newest.c.family)
            & (Promotion.label == newest.c.label)
            & (Promotion.version == newest.c.version),
        )
        .order_by(Promotion.family, Promotion.label)
    )
    return list(await session.scalars(query))


async def list_engines(session: AsyncSession) -> list[Engine]:
    """Return the engines that were added through the admin API."""
    return list(await session.scalars(select(Engine).order_by(Engine.created_at, Engine.id)))


async def add_engine(
    session: AsyncSession, given: EngineIn, *, cipher: Fernet, actor: str, now: datetime
) -> Engine:
    """Add an engine; it serves nobody before the gateway has checked its digest.

    Raises:
        ConflictError: One with this address is there already.
    """
    if await session.scalar(select(Engine.id).where(Engine.url == given.url)) is not None:
        raise ConflictError(f"There is an engine at {given.url} already.", "url")
    engine = Engine(
        id=str(uuid.uuid4()),
        url=given.url,
        digest=given.digest,
        api_key_encrypted=cipher.encrypt(given.api_key.encode()),
        created_at=now,
    )
    session.add(engine)
    await record_change(
        session,
        Tag.ENGINE_ADDED,
        engine.id,
        actor=actor,
        now=now,
        url=given.url,
        digest=given.digest,
    )
    return engine


async def remove_engine(
    session: AsyncSession, engine_id: str, *, actor: str, now: datetime
) -> None:
    """Take an engine out; running answers end.

    Raises:
        NotFoundError: There is none of that id.
    """
    engine = await session.get(Engine, engine_id)
    if engine is None:
        raise NotFoundError(f"There is no engine '{engine_id}'.")
    await session.delete(engine)
    await record_change(
        session, Tag.ENGINE_REMOVED, engine_id, actor=actor, now=now, url=engine.url
    )
