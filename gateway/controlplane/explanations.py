"""Explanations: the rows that a decision rests on, read for the pure rule that explains it."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.serving import current_promotions
from gateway.errors import NotFoundError
from gateway.identity.directory import load_standings
from gateway.identity.grant_terms import load_grants
from gateway.identity.key_records import load_keys
from gateway.policy.explanation import Explanation, KeyUsed, explain
from gateway.policy.routing import Alias, Family
from gateway.tables import ApiKey, Promotion


async def explain_person(
    session: AsyncSession, person_id: str, model: str, now: datetime, key_id: str | None = None
) -> Explanation:
    """Explain what a person who asks for a model gets now, by one of their keys or any.

    Raises:
        NotFoundError: There is no such person, or it is no key of theirs that asks models.
    """
    standings = await load_standings(session, {person_id})
    if person_id not in standings:
        raise NotFoundError(f"There is no person '{person_id}'.")
    grants = await load_grants(session, {person_id})
    key = None if key_id is None else await _key_used(session, key_id, person_id, now)
    promotions = await current_promotions(session)
    return explain(
        model,
        families_of(promotions),
        _withdrawn(promotions, now),
        person_id,
        standings[person_id],
        grants.get(person_id, ()),
        now,
        key,
    )


async def _key_used(session: AsyncSession, key_id: str, person_id: str, now: datetime) -> KeyUsed:
    record = (await load_keys(session, ApiKey.id == key_id)).get(key_id)
    if record is None or record.kind != "key" or record.person_id != person_id:
        raise NotFoundError(f"There is no key '{key_id}' of this person that asks models.")
    revoked_at = now if record.is_revoked(now) else record.revoked_at
    ends = [moment for moment in (record.expires_at, revoked_at) if moment is not None]
    return KeyUsed(record.id, record.terms, min(ends, default=None))


def families_of(promotions: Iterable[Promotion]) -> dict[str, Family]:
    """Return the families of current promotions; a family's hazards are those of all together."""
    hazards: defaultdict[str, set[str]] = defaultdict(set)
    aliases: defaultdict[str, list[Alias]] = defaultdict(list)
    for row in promotions:
        hazards[row.family].update(row.hazards)
        aliases[row.family].append(Alias(row.label, row.checkpoint, frozenset(row.forgets)))
    return {
        name: Family(name, frozenset(hazards[name]), tuple(found))
        for name, found in aliases.items()
    }


def _withdrawn(promotions: Iterable[Promotion], now: datetime) -> dict[str, str]:
    reasons = {}
    for row in promotions:
        if row.withdrawn_at is not None:
            reasons[f"{row.family}:{row.label}"] = row.withdrawn_reason or "withdrawn"
        elif now >= row.expires_at:
            reasons[f"{row.family}:{row.label}"] = f"its release expired at {row.expires_at}"
    return reasons
