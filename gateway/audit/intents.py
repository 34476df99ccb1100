"""What an entry about a request says: who, resting on which grants, asks which checkpoint.

The facts are read in the transaction that appends the entry, so that the log says what the database
said, and not what a snapshot did. Of the request itself there is only a keyed commitment.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import rfc8785
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.entry import Entry
from gateway.errors import AirlockError, GrantRevokedError, ReleaseWithdrawnError
from gateway.tables import Grant, Person, Promotion, Tier

INTENDED = "dataplane:request:intended"
ENDED = "dataplane:request:ended"
DENIED = "dataplane:request:denied"
RULE = "hazards - forgotten <= granted"
"""The routing rule (`gateway.policy.routing`), as it stands in the policy that entries name."""


@dataclass(frozen=True)
class Intent:
    """A request that is about to be sent to a checkpoint that still knows a hazard."""

    at: datetime
    request_id: str
    person_id: str
    key_id: str
    path: str
    family: str
    label: str
    checkpoint: str
    domains: frozenset[str]
    """The hazards that the checkpoint still knows: each needs a grant."""
    commitment: str
    """HMAC-SHA-256 of the request's id and body."""


Draft = Intent | Entry


class _Owner(NamedTuple):
    organisation: str
    tier: dict[str, str | bool | int]


async def complete(session: AsyncSession, drafts: Sequence[Draft]) -> list[Entry | AirlockError]:
    """Return the entries of drafts; an intent that rests on nothing becomes its refusal."""
    intents = [draft for draft in drafts if isinstance(draft, Intent)]
    if not intents:
        return [draft for draft in drafts if isinstance(draft, Entry)]
    owners = await _owners(session, intents)
    grants = await _grants(session, intents)
    releases = await _releases(session, intents)
    return [
        _entry(
            draft,
            owners.get(draft.person_id),
            grants[draft.person_id],
            releases.get((draft.family, draft.label, draft.checkpoint)),
        )
        if isinstance(draft, Intent)
        else draft
        for draft in drafts
    ]


def policy_digest(tier: dict[str, str | bool | int]) -> str:
    """Return the digest of the policy that a request was admitted under."""
    document = rfc8785.dumps({"rule": RULE, "tier": tier})
    return f"sha256:{hashlib.sha256(document).hexdigest()}"


def _entry(
    intent: Intent, owner: _Owner | None, grants: list[Grant], release: str | None
) -> Entry | AirlockError:
    live = [
        grant
        for grant in grants
        if grant.domain in intent.domains and grant.not_before <= intent.at < grant.expires_at
    ]
    # The snapshot may be a moment behind; what the log cannot account for does not happen.
    if owner is None or {grant.domain for grant in live} != intent.domains:
        return GrantRevokedError()
    if release is None:
        return ReleaseWithdrawnError(f"{intent.family}:{intent.label}")
    detail = {
        "alias": f"{intent.family}:{intent.label}",
        "checkpoint": intent.checkpoint,
        "commitment": intent.commitment,
        "grants": [
            {
                "approved_by": grant.approved_by,
                "domain": grant.domain,
                "expires_at": grant.expires_at.isoformat(),
                "id": grant.id,
            }
            for grant in sorted(live, key=lambda grant: (grant.domain, grant.id))
        ],
        "key": intent.key_id,
        "organisation": owner.organisation,
        "path": intent.path,
        "policy": policy_digest(owner.tier),
        "release": release,
        "tier": owner.tier,
    }
    return Entry(intent.at, f"person:{intent.person_id}", INTENDED, intent.request_id, detail)


async def _owners(session: AsyncSession, intents: list[Intent]) -> dict[str, _Owner]:
    query = (
        select(
            Person.id,
            Person.organisation,
            Tier.name,
            Tier.grantable,
            Tier.elevated,
            Tier.requests_per_minute,
            Tier.max_grant_days,
        )
        .join(Tier, Tier.name == Person.tier)
        .where(
            Person.id.in_({intent.person_id for intent in intents}),
            Person.state == "active",
            Tier.grantable,
        )
    )
    return {
        row.id: _Owner(
            row.organisation,
            {
                "elevated": row.elevated,
                "grantable": row.grantable,
                "max_grant_days": row.max_grant_days,
                "name": row.name,
                "requests_per_minute": row.requests_per_minute,
            },
        )
        for row in await session.execute(query)
    }


async def _grants(session: AsyncSession, intents: list[Intent]) -> defaultdict[str, list[Grant]]:
    query = select(Grant).where(
        Grant.person_id.in_({intent.person_id for intent in intents}), Grant.revoked_at.is_(None)
    )
    found: defaultdict[str, list[Grant]] = defaultdict(list)
    for grant in await session.scalars(query):
        found[grant.person_id].append(grant)
    return found


async def _releases(
    session: AsyncSession, intents: list[Intent]
) -> dict[tuple[str, str, str], str]:
    query = (
        select(Promotion.family, Promotion.label, Promotion.checkpoint, Promotion.release_digest)
        .where(
            Promotion.checkpoint.in_({intent.checkpoint for intent in intents}),
            Promotion.withdrawn_at.is_(None),
        )
        .order_by(Promotion.version)
    )
    return {
        (row.family, row.label, row.checkpoint): row.release_digest
        for row in await session.execute(query)
    }
