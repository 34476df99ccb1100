"""What an entry about a request says: who, resting on which grants, asks which checkpoint.

The facts are read in the transaction that appends the entry, so that the log says what the database
said, and not what a snapshot did. Of the request itself there is only a keyed commitment.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

import rfc8785
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.entry import Entry
from gateway.errors import AirlockError, GrantRevokedError, ReleaseWithdrawnError
from gateway.identity.directory import load_standings
from gateway.identity.grant_terms import load_grants
from gateway.notices.first_uses import tell_first_uses
from gateway.policy.grants import GrantTerms, Standing, TierTerms, live_domains
from gateway.tables import Grant, Promotion

INTENDED = "dataplane:request:intended"
ENDED = "dataplane:request:ended"
DENIED = "dataplane:request:denied"
KEY_REFUSED = "identity:key:refused"
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
    kept: Mapping[str, str] | None = None
    """Where its contents are kept: under which key, and a commitment under their own."""


Draft = Intent | Entry


class _Facts(NamedTuple):
    """What the database says of the people and checkpoints of a group of intents."""

    standings: Mapping[str, Standing]
    grants: Mapping[str, tuple[GrantTerms, ...]]
    approvers: Mapping[str, str]
    """Who approved a grant, by its id."""
    unused: frozenset[str]
    """Grants on which no request has rested yet."""
    releases: Mapping[tuple[str, str, str], str]
    """Digests of releases that count, by family, label and checkpoint."""


async def complete(session: AsyncSession, drafts: Sequence[Draft]) -> list[Entry | AirlockError]:
    """Return the entries of drafts; an intent that rests on nothing becomes its refusal."""
    intents = [draft for draft in drafts if isinstance(draft, Intent)]
    if not intents:
        return [draft for draft in drafts if isinstance(draft, Entry)]
    people = {intent.person_id for intent in intents}
    facts = _Facts(
        await load_standings(session, people),
        await load_grants(session, people),
        *await _approvers(session, people),
        await _releases(session, intents),
    )
    made = [_entry(draft, facts) if isinstance(draft, Intent) else draft for draft in drafts]
    if facts.unused:
        await tell_first_uses(session, facts.unused & _grants(made), intents[0].at)
    return made


def tier_document(tier: TierTerms) -> dict[str, object]:
    """Return everything that a tier allows, as entries hold it."""
    return {**asdict(tier), "capabilities": sorted(tier.capabilities)}


def policy_digest(tier: Mapping[str, object]) -> str:
    """Return the digest of the policy that a request was admitted under."""
    document = rfc8785.dumps({"rule": RULE, "tier": cast(dict[str, Any], tier)})
    return f"sha256:{hashlib.sha256(document).hexdigest()}"


def _entry(intent: Intent, facts: _Facts) -> Entry | AirlockError:
    standing = facts.standings.get(intent.person_id)
    grants = facts.grants.get(intent.person_id, ())
    # The snapshot may be a moment behind; what the log cannot account for does not happen.
    if standing is None or not intent.domains <= live_domains(standing, grants, intent.at):
        return GrantRevokedError()
    counting = [
        grant
        for grant in grants
        if grant.domain in intent.domains
        and grant.is_live(intent.at)
        and grant.id in facts.approvers
    ]
    if {grant.domain for grant in counting} != intent.domains:
        return GrantRevokedError()
    release = facts.releases.get((intent.family, intent.label, intent.checkpoint))
    if release is None:
        return ReleaseWithdrawnError(f"{intent.family}:{intent.label}")
    tier = tier_document(standing.tier)
    detail: dict[str, object] = {
        "alias": f"{intent.family}:{intent.label}",
        "checkpoint": intent.checkpoint,
        "commitment": intent.commitment,
        "grants": [
            {
                "approved_by": facts.approvers[grant.id],
                "domain": grant.domain,
                "expires_at": grant.expires_at.isoformat(),
                "id": grant.id,
            }
            for grant in sorted(counting, key=lambda grant: (grant.domain, grant.id))
        ],
        "key": intent.key_id,
        "organisation": standing.organisation,
        "path": intent.path,
        "policy": policy_digest(tier),
        "release": release,
        "tier": tier,
    }
    if intent.kept is not None:
        detail["kept"] = dict(intent.kept)
    return Entry(intent.at, f"person:{intent.person_id}", INTENDED, intent.request_id, detail)


async def _approvers(
    session: AsyncSession, people: set[str]
) -> tuple[dict[str, str], frozenset[str]]:
    """Return who approved people's grants, and which of them were never used."""
    query = select(Grant.id, Grant.approved_by, Grant.first_used_at).where(
        Grant.person_id.in_(people), Grant.revoked_at.is_(None)
    )
    rows = (await session.execute(query)).all()
    unused = frozenset(row.id for row in rows if row.first_used_at is None)
    return {row.id: row.approved_by for row in rows}, unused


def _grants(made: Sequence[Entry | AirlockError]) -> set[str]:
    """Return the grants that entries say requests rest on."""
    intended = [each for each in made if isinstance(each, Entry) and each.tag == INTENDED]
    return {str(grant["id"]) for entry in intended for grant in _listed(entry.detail["grants"])}


def _listed(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []


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
