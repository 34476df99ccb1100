"""Visas: those of others become evidence that nobody has accepted yet, grants of ours become visas.

A visa is about whom it names. It is taken for a person whose identity it is, or with a visa of
linked identities that says so; it never makes a grant.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_event
from gateway.controlplane.people import get_person
from gateway.controlplane.transfer_schemas import VisaOut
from gateway.errors import ConflictError
from gateway.identity.directory import load_standings
from gateway.identity.grant_terms import load_grants
from gateway.identity.visas import Refused
from gateway.policy.evidence import PROVES, EvidenceKind
from gateway.policy.grants import live_domains
from gateway.policy.visas import KINDS, LINKED, Visa, holds, of_person
from gateway.setting_types import VisaIssuerSetting
from gateway.tables import EvidenceItem, Identity

KEY_SET_PATH = "/visas/jwks.json"
VISA_LASTS = timedelta(hours=1)
"""A visa is not asked back: a grant that is revoked lives on in it for no longer."""


class Issued(NamedTuple):
    """Signed visas, and until when the last of them holds."""

    texts: list[str]
    expires_at: datetime


async def take_visas(
    session: AsyncSession,
    person_id: str,
    read: Sequence[Visa | Refused],
    issuers: dict[str, VisaIssuerSetting],
    *,
    actor: str,
    now: datetime,
    dry_run: bool,
) -> list[VisaOut]:
    """Add evidence for what visas say of a person, for a reviewer to accept.

    Args:
        session: The transaction.
        person_id: Whose.
        read: The visas, in the order in which they came.
        issuers: By their identifiers.
        actor: Who brings them.
        now: The moment.
        dry_run: Whether nothing is added.

    Raises:
        NotFoundError: There is no such person.
    """
    await get_person(session, person_id, to_change=not dry_run)
    visas = [each for each in read if isinstance(each, Visa)]
    mine = of_person(visas, await _identities(session, person_id))
    shown = []
    for each in read:
        if isinstance(each, Refused):
            shown.append(VisaOut(outcome="refused", reason=each.reason))
            continue
        domain = issuers[each.identity[0]].domains.get(each.value)
        reason = _lacks(each, visas, mine, domain)
        if reason is not None:
            shown.append(VisaOut(outcome="refused", reason=reason, type=each.type))
            continue
        shown.append(await _add(session, person_id, each, domain, now, dry_run=dry_run))
    added = [each.evidence_id for each in shown if each.evidence_id and each.outcome == "added"]
    if added:
        await record_event(
            session, Tag.VISAS_IMPORTED, person_id, actor=actor, now=now, evidence=added
        )
    return shown


def _lacks(
    visa: Visa, visas: Sequence[Visa], mine: frozenset[tuple[str, str]], domain: str | None
) -> str | None:
    """Return why a visa is no evidence about a person."""
    if visa.identity not in mine:
        return "it is about somebody else, or nothing says that it is about this person"
    # A colleague's would meet them otherwise: a request may bring visas about anybody.
    if not holds(visa, [each for each in visas if each.identity in mine]):
        return "its conditions are not met by this person's visas that came with it"
    if visa.type not in KINDS and visa.type != LINKED:
        return "its type says nothing here"
    if visa.type == "ControlledAccessGrants" and domain is None:
        return "its value is no hazard domain here (AIRLOCK_VISA_ISSUERS, domains)"
    return None


async def _add(
    session: AsyncSession,
    person_id: str,
    visa: Visa,
    domain: str | None,
    now: datetime,
    *,
    dry_run: bool,
) -> VisaOut:
    if visa.type == LINKED:
        return VisaOut(outcome="used", reason="it links identities", type=visa.type)
    kind = KINDS[visa.type]
    same = select(EvidenceItem.id).where(
        EvidenceItem.person_id == person_id, EvidenceItem.document_digest == visa.digest
    )
    there = (await session.scalars(same)).first()
    shown = VisaOut(
        outcome="added" if there is None else "known",
        type=visa.type,
        evidence_id=there,
        kind=str(kind),
        domain=domain if kind is EvidenceKind.ACCESS_VISA else None,
        asserted_by=str(visa.by),
        expires_at=visa.expires_at,
        verifies=sorted(PROVES.get((kind, visa.by), ())),
    )
    if there is not None or dry_run:
        return shown
    item = EvidenceItem(
        id=str(uuid.uuid4()),
        person_id=person_id,
        kind=str(kind),
        domain=shown.domain,
        source=_source(visa),
        document_digest=visa.digest,
        created_at=now,
        asserted_by=str(visa.by),
        asserted_at=visa.asserted_at,
        not_after=visa.expires_at,
    )
    session.add(item)
    return shown.model_copy(update={"evidence_id": item.id})


def _source(visa: Visa) -> str:
    """Return what a reviewer reads: who has signed it, what it says, and in whose name."""
    issuer, _ = visa.identity
    return f"signed by {issuer[:100]}: {visa.value[:100]}, says {visa.source}"[:300]


async def issue_visas(
    session: AsyncSession,
    person_id: str,
    *,
    key: ECKey,
    public_url: str | None,
    actor: str,
    now: datetime,
) -> Issued:
    """Sign what a person's grants open now, as visas that others can verify.

    Raises:
        NotFoundError: There is no such person.
        ConflictError: The gateway has no address of its own, or no grant of theirs counts.
    """
    if public_url is None:
        raise ConflictError("No visa is issued here: AIRLOCK_PUBLIC_URL is not set.")
    await get_person(session, person_id)
    standing = (await load_standings(session, {person_id}))[person_id]
    grants = (await load_grants(session, {person_id})).get(person_id, ())
    domains = live_domains(standing, grants, now)
    counting = [one for one in grants if one.domain in domains and one.is_live(now)]
    if not counting:
        raise ConflictError("No grant of this person counts now.")
    latest = now + VISA_LASTS
    texts = [_linked(person_id, await _identities(session, person_id), key, public_url, now)]
    for domain in sorted(domains):
        best = max((one for one in counting if one.domain == domain), key=lambda one: one.ends_at)
        said = {
            "type": "ControlledAccessGrants",
            "asserted": int(best.not_before.timestamp()),
            "value": f"{public_url}/domains/{domain}",
            "source": public_url,
            "by": "dac",
        }
        texts.append(_sign(person_id, said, min(latest, best.ends_at), key, public_url, now))
    ids = sorted(one.id for one in counting)
    await record_event(session, Tag.VISAS_ISSUED, person_id, actor=actor, now=now, grants=ids)
    return Issued(texts, latest)


def _linked(
    person_id: str,
    identities: frozenset[tuple[str, str]],
    key: ECKey,
    public_url: str,
    now: datetime,
) -> str:
    """Return a visa that says by which identities others may know the person."""
    pairs = [f"{quote(sub, safe='')},{quote(iss, safe='')}" for iss, sub in sorted(identities)]
    own = f"{quote(person_id, safe='')},{quote(public_url, safe='')}"
    said = {
        "type": LINKED,
        "asserted": int(now.timestamp()),
        "value": ";".join([own, *pairs]),
        "source": public_url,
        "by": "system",
    }
    return _sign(person_id, said, now + VISA_LASTS, key, public_url, now)


def _sign(
    person_id: str,
    said: dict[str, object],
    expires_at: datetime,
    key: ECKey,
    public_url: str,
    now: datetime,
) -> str:
    header = {
        "alg": "ES256",
        "typ": "vnd.ga4gh.visa+jwt",
        "kid": key.kid,
        "jku": public_url + KEY_SET_PATH,
    }
    claims = {
        "iss": public_url,
        "sub": person_id,
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "jti": str(uuid.uuid4()),
        "ga4gh_visa_v1": said,
    }
    return jwt.encode(header, claims, key, algorithms=["ES256"])


async def _identities(session: AsyncSession, person_id: str) -> frozenset[tuple[str, str]]:
    """Return who a person is for issuers; a service is not them."""
    rows = await session.execute(
        select(Identity.issuer, Identity.subject, Identity.domains).where(
            Identity.person_id == person_id
        )
    )
    return frozenset((row.issuer, row.subject) for row in rows if row.domains is None)
