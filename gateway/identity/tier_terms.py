"""Tiers as the live decision takes them: what their rows allow, and what they ask of grants."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.policy.capabilities import known
from gateway.policy.evidence import requirements
from gateway.policy.grants import UNMET, GrantRules, StepUp, TierTerms
from gateway.tables import Tier


def tier_terms(tier: Tier) -> TierTerms:
    """Return what a tier's row allows."""
    return TierTerms(
        name=tier.name,
        grantable=tier.grantable,
        requests_per_minute=tier.requests_per_minute,
        capabilities=known(tier.capabilities),
        priority=tier.priority,
        tokens_per_minute=tier.tokens_per_minute,
        tokens_per_day=tier.tokens_per_day,
        max_concurrent=tier.max_concurrent,
        organisation_multiple=tier.organisation_multiple,
        version=tier.version,
        log_level=tier.log_level,
        step_up=step_up(tier.step_up),
    )


def grant_rules(tier: Tier) -> GrantRules:
    """Return what a tier's row asks of its members' grants."""
    return GrantRules(timedelta(days=tier.max_grant_days), requirements(tier.verifications))


def step_up(row: Mapping[str, object] | None) -> StepUp | None:
    """Return what a row demands of logins; one that cannot be understood is met by none."""
    if row is None:
        return None
    acr, max_age = row.get("acr"), row.get("max_age")
    if row.keys() != {"acr", "max_age"} or not isinstance(acr, list):
        return UNMET
    if not isinstance(max_age, int) or not all(isinstance(one, str) for one in acr):
        return UNMET
    return StepUp(tuple(acr), max_age)


async def load_tiers(session: AsyncSession) -> dict[str, TierTerms]:
    """Read what every tier allows."""
    return {tier.name: tier_terms(tier) for tier in await session.scalars(select(Tier))}


async def load_rules(session: AsyncSession) -> dict[str, GrantRules]:
    """Read what every tier asks of its members' grants."""
    return {tier.name: grant_rules(tier) for tier in await session.scalars(select(Tier))}
