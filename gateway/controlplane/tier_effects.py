"""The dry run of a change of a tier: who would gain or lose what, from the live rules themselves.

What is in force and what is proposed go through the same functions that decide requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.tier_schemas import (
    DifferenceOut,
    GrantEffectOut,
    MemberEffectOut,
    TierEffectsOut,
)
from gateway.controlplane.tiers import terms_of
from gateway.identity.directory import load_standings
from gateway.identity.grant_terms import load_grants
from gateway.identity.tier_terms import grant_rules, tier_terms
from gateway.policy.grants import GrantTerms, Standing, live_domains
from gateway.policy.tiers import differences, takes_two
from gateway.tables import Person, Tier


async def effects(
    session: AsyncSession,
    name: str,
    terms: Mapping[str, object],
    limit: int,
    offset: int,
    now: datetime,
) -> TierEffectsOut:
    """Return what a tier's members would gain and lose if it had these terms now.

    Args:
        session: The transaction.
        name: The tier's.
        terms: All of it, as they would be.
        limit: How many members to show at most.
        offset: How many to pass over.
        now: The moment.
    """
    row = await session.get(Tier, name)
    found = differences(None if row is None else terms_of(row), terms)
    members = await session.scalar(
        select(func.count()).select_from(Person).where(Person.tier == name)
    )
    query = select(Person).where(Person.tier == name).order_by(Person.created_at, Person.id)
    people = list(await session.scalars(query.limit(limit).offset(offset)))
    return TierEffectsOut(
        tier=name,
        takes_two=takes_two(found, is_new=row is None),
        differences=[DifferenceOut.model_validate(difference) for difference in found],
        members=members or 0,
        people=await _members(session, people, Tier(name=name, version=0, **terms), now),
    )


async def _members(
    session: AsyncSession, people: Sequence[Person], proposed: Tier, now: datetime
) -> list[MemberEffectOut]:
    ids = {person.id for person in people}
    if not ids:
        return []
    standings = await load_standings(session, ids)
    before = await load_grants(session, ids)
    after = await load_grants(session, ids, {proposed.name: grant_rules(proposed)})
    terms = tier_terms(proposed)
    return [
        _member(
            person,
            standings[person.id],
            replace(standings[person.id], tier=terms),
            before.get(person.id, ()),
            after.get(person.id, ()),
            now,
        )
        for person in people
    ]


def _member(
    person: Person,
    standing: Standing,
    standing_after: Standing,
    before: tuple[GrantTerms, ...],
    after: tuple[GrantTerms, ...],
    now: datetime,
) -> MemberEffectOut:
    opened = live_domains(standing, before, now)
    opened_after = live_domains(standing_after, after, now)
    new_by_id = {grant.id: grant for grant in after}
    grants = [
        GrantEffectOut(
            id=old.id,
            domain=old.domain,
            state_before=old.state(now),
            state_after=new.state(now),
            ends_before=old.ends_at,
            ends_after=new.ends_at,
        )
        for old in before
        if (new := new_by_id[old.id])
        and (old.state(now), old.ends_at) != (new.state(now), new.ends_at)
    ]
    return MemberEffectOut(
        person_id=person.id,
        name=person.name,
        organisation=person.organisation,
        gains=sorted(opened_after - opened),
        loses=sorted(opened - opened_after),
        grants=grants,
    )
