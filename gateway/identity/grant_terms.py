"""Grants as the live decision takes them: their terms, with what they rest on, at one version."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.identity.tier_terms import load_rules
from gateway.policy.evidence import AssertedBy, Evidence, EvidenceKind, verified_until
from gateway.policy.grants import ALWAYS, NEVER, Basis, GrantRules, GrantTerms
from gateway.policy.terms import TermsVersion, accepted_until
from gateway.tables import EvidenceItem, Grant, Person, Terms, TermsAcceptance

KINDS = {str(kind): kind for kind in EvidenceKind}
ASSERTED_BY = {str(by): by for by in AssertedBy}


async def load_grants(
    session: AsyncSession,
    of: Collection[str] | None = None,
    instead: Mapping[str, GrantRules] | None = None,
) -> dict[str, tuple[GrantTerms, ...]]:
    """Read the grants of every person that are not revoked, or all of some people's.

    Args:
        session: The transaction.
        of: Ids of people; None for everybody.
        instead: What some tiers would ask, in the place of what they do.
    """
    query = select(
        Grant.id,
        Grant.person_id,
        Grant.domain,
        Grant.not_before,
        Grant.expires_at,
        Grant.revoked_at,
        Grant.suspended_at,
        Grant.application_id,
        Grant.usage_review_due_at,
        Person.tier,
    ).join(Person, Person.id == Grant.person_id)
    which = Grant.revoked_at.is_(None) if of is None else Grant.person_id.in_(of)
    query = query.where(which)
    rows = (await session.execute(query)).all()
    people = select(Grant.person_id).where(Grant.application_id.is_not(None), which)
    needs_basis = any(row.application_id is not None for row in rows)
    evidence = await load_evidence(session, people) if needs_basis else {}
    accepted = await _load_terms(session, people) if needs_basis else {}
    rules = {**await load_rules(session), **(instead or {})}
    grants: defaultdict[str, list[GrantTerms]] = defaultdict(list)
    for row in rows:
        rule = rules[row.tier]
        basis = None
        if row.application_id is not None:
            verified = verified_until(row.domain, evidence.get(row.person_id, ()), rule.needed)
            basis = Basis(
                verified_until=verified or NEVER,
                terms_until=accepted.get(row.person_id) or NEVER,
                usage_review_due_at=row.usage_review_due_at or NEVER,
            )
        grants[row.person_id].append(
            GrantTerms(
                row.domain,
                row.not_before,
                min(row.expires_at, row.not_before + rule.longest),
                row.revoked_at,
                id=row.id,
                suspended=row.suspended_at is not None,
                basis=basis,
            )
        )
    return {person: tuple(terms) for person, terms in grants.items()}


async def load_evidence(
    session: AsyncSession, people: Select[str]
) -> dict[str, tuple[Evidence, ...]]:
    """Read what reviewers have accepted about people; a kind that is not known counts for nothing.

    Args:
        session: The transaction.
        people: Selects the people's ids.
    """
    held: defaultdict[str, list[Evidence]] = defaultdict(list)
    rows = await session.execute(
        select(
            EvidenceItem.id,
            EvidenceItem.person_id,
            EvidenceItem.kind,
            EvidenceItem.domain,
            EvidenceItem.asserted_by,
            EvidenceItem.expires_at,
        ).where(
            EvidenceItem.person_id.in_(people),
            EvidenceItem.accepted_at.is_not(None),
            EvidenceItem.retracted_at.is_(None),
        )
    )
    for item_id, person, kind, domain, by, expires_at in rows:
        if kind in KINDS and expires_at is not None:
            source = ASSERTED_BY.get(by, AssertedBy.UNKNOWN)
            held[person].append(Evidence(item_id, KINDS[kind], domain, source, expires_at))
    return {person: tuple(items) for person, items in held.items()}


async def _load_terms(session: AsyncSession, people: Select[str]) -> dict[str, datetime | None]:
    """Read until when the terms that people have accepted suffice."""
    versions = [
        TermsVersion(digest, mandatory_from)
        for digest, mandatory_from in await session.execute(
            select(Terms.digest, Terms.mandatory_from)
        )
    ]
    digests: defaultdict[str, set[str]] = defaultdict(set)
    for person, digest in await session.execute(
        select(TermsAcceptance.person_id, TermsAcceptance.digest).where(
            TermsAcceptance.person_id.in_(people)
        )
    ):
        digests[person].add(digest)
    return {
        person: accepted_until(versions, frozenset(found), ALWAYS)
        for person, found in digests.items()
    }
