"""Engines that the admin API and `airlock engines` add; the settings can name others."""

import base64
import uuid
from datetime import datetime

from cryptography.fernet import Fernet
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change
from gateway.controlplane.schemas import EngineIn
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from gateway.identity.secret import Secret
from gateway.tables import Engine


def engine_cipher(secret: Secret) -> Fernet:
    """Return what engines' keys are kept under in the database."""
    return Fernet(base64.urlsafe_b64encode(secret.derive("engine-keys/1")))


async def list_engines(session: AsyncSession, limit: int, offset: int) -> list[Engine]:
    """Return the engines that were added here, the oldest first."""
    query = select(Engine).order_by(Engine.created_at, Engine.id).limit(limit).offset(offset)
    return list(await session.scalars(query))


async def add_engine(
    session: AsyncSession,
    given: EngineIn,
    *,
    cipher: Fernet,
    must_attest: bool,
    actor: str,
    now: datetime,
) -> Engine:
    """Add an engine; it serves nobody before the gateway has checked what it serves.

    Raises:
        ConflictError: One with this address is there already.
        InvalidRequestError: It names no side-car and must.
    """
    if must_attest and given.attest_url is None:
        raise InvalidRequestError("Engines must attest what they serve here.", "attest_url")
    if await session.scalar(select(Engine.id).where(Engine.url == given.url)) is not None:
        raise ConflictError(f"There is an engine at {given.url} already.", "url")
    engine = Engine(
        id=str(uuid.uuid4()),
        url=given.url,
        digest=given.digest,
        attest_url=given.attest_url,
        api_key_encrypted=cipher.encrypt(given.api_key.encode()),
        created_at=now,
    )
    try:
        async with session.begin_nested():
            session.add(engine)
    except IntegrityError as error:  # By somebody else, at the same moment.
        raise ConflictError(f"There is an engine at {given.url} already.", "url") from error
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
    engine = await locked(session, Engine, engine_id)
    if engine is None:
        raise NotFoundError(f"There is no engine '{engine_id}'.")
    await session.delete(engine)
    await record_change(
        session, Tag.ENGINE_REMOVED, engine_id, actor=actor, now=now, url=engine.url
    )
