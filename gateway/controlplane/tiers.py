"""Access tiers as they are in force; what changes them is in `tier_changes`."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.errors import NotFoundError
from gateway.tables import Tier

NOT_TERMS = frozenset({"name", "version"})


async def list_tiers(session: AsyncSession, limit: int, offset: int) -> list[Tier]:
    """Return tiers by name."""
    return list(await session.scalars(select(Tier).order_by(Tier.name).limit(limit).offset(offset)))


async def get_tier(session: AsyncSession, name: str) -> Tier:
    """Return a tier.

    Raises:
        NotFoundError: There is none of that name.
    """
    tier = await session.get(Tier, name)
    if tier is None:
        raise NotFoundError(f"There is no tier '{name}'.")
    return tier


def terms_of(tier: Tier) -> dict[str, object]:
    """Return everything about a tier that a change may change, as JSON has it."""
    names = (column.key for column in Tier.__table__.columns)
    return {name: getattr(tier, name) for name in names if name not in NOT_TERMS}
