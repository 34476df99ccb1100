"""Access tiers: what their members may use, and how much."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.schemas import TierChange, TierIn
from gateway.errors import ConflictError, NotFoundError
from gateway.tables import Tier


async def list_tiers(session: AsyncSession) -> list[Tier]:
    """Return every tier by name."""
    return list(await session.scalars(select(Tier).order_by(Tier.name)))


async def get_tier(session: AsyncSession, name: str) -> Tier:
    """Return a tier.

    Raises:
        NotFoundError: There is none of that name.
    """
    tier = await session.get(Tier, name)
    if tier is None:
        raise NotFoundError(f"There is no tier '{name}'.")
    return tier


async def create_tier(session: AsyncSession, given: TierIn, *, actor: str, now: datetime) -> Tier:
    """Create a tier.

    Raises:
        ConflictError: The name is taken.
    """
    if await session.get(Tier, given.name) is not None:
        raise ConflictError(f"There is a tier '{given.name}' already.", "name")
    tier = Tier(**given.model_dump())
    session.add(tier)
    await record_change(
        session, Tag.TIER_CREATED, tier.name, actor=actor, now=now, **given.model_dump()
    )
    return tier


async def change_tier(
    session: AsyncSession, name: str, change: TierChange, *, actor: str, now: datetime
) -> Tier:
    """Change the given fields of a tier.

    Raises:
        NotFoundError: There is none of that name.
    """
    tier = await get_tier(session, name)
    fields = change.model_dump(exclude_none=True)
    for field, value in fields.items():
        setattr(tier, field, value)
    await record_change(session, Tag.TIER_CHANGED, name, actor=actor, now=now, **fields)
    return tier
