"""Grants of the workflow: made by its last step, suspended, resumed, and reviewed for their use.

One person restricts, at once. Resuming gives access back, so it takes an approver or a reviewer of
the domain who is neither the holder, nor of the holder's organisation, nor the one who suspended.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change
from gateway.controlplane.grants import add_grant, revoke_grant
from gateway.controlplane.organisations import party
from gateway.controlplane.people import get_person
from gateway.controlplane.renewals import beginnings, renewals_of
from gateway.controlplane.terms import accept_terms, terms_in_force
from gateway.controlplane.tiers import get_tier
from gateway.controlplane.verification_schemas import UsageReviewIn
from gateway.errors import ConflictError, NotFoundError, NotPermittedError
from gateway.identity.principal import Administrator, Member
from gateway.policy.approval import Duty, Role, Statement, conflict
from gateway.policy.grants import USAGE_REVIEW_EVERY
from gateway.tables import Application, ApplicationVersion, Grant


async def grant_domains(
    session: AsyncSession,
    application: Application,
    version: ApplicationVersion,
    approvals: Sequence[Statement],
    terms: str,
    *,
    lapses_at: datetime,
    member: Member,
    now: datetime,
) -> list[Grant]:
    """Make one grant for each domain of an approved application.

    It begins now, or as the one ends that it renews; `lapses_at` is as in `beginnings`.

    Raises:
        ConflictError: The terms are not those in force, the person's tier holds no grants, or a
            grant of theirs for one of the domains is there for long or was taken away meanwhile.
        NotFoundError: There are no such terms.
    """
    if terms != await terms_in_force(session, now):
        raise ConflictError("These are not the terms of use in force; see GET /admin/v1/terms.")
    person = await get_person(session, application.person_id)
    tier = await get_tier(session, person.tier)
    if not tier.grantable:
        raise ConflictError(
            f"Members of the tier '{tier.name}' hold no grants; an administrator moves the person."
        )
    longest = timedelta(days=tier.max_grant_days)
    of = (application, version, approvals, longest)
    begins = await beginnings(session, *of, lapses_at=lapses_at, now=now)
    await accept_terms(session, terms, person_id=person.id, actor=member.actor, now=now)
    days = min(version.days, tier.max_grant_days)
    grants = []
    for domain in version.domains:
        grant = Grant(
            person_id=person.id,
            domain=domain,
            reason=f"application {application.id}, version {version.number}",
            approved_by=", ".join(_approvers(approvals, domain)),
            application_id=application.id,
            not_before=begins[domain],
            usage_review_due_at=begins[domain] + USAGE_REVIEW_EVERY,
        )
        detail = {"application": application.id, "digest": version.digest, "terms": terms}
        detail["approved_by"] = grant.approved_by
        lasts = timedelta(days=days)
        grants.append(await add_grant(session, grant, lasts, actor=member.actor, now=now, **detail))
    return grants


def _approvers(approvals: Iterable[Statement], domain: str) -> list[str]:
    """Return who approved a domain, at most four, as the column has room for."""
    people = {said.by for said in approvals if said.domain == domain}
    return [f"person:{person}" for person in sorted(people)][:4]


async def suspend_grant(
    session: AsyncSession,
    grant_id: str,
    reason: str,
    *,
    caller: Administrator | Member | str,
    now: datetime,
) -> Grant:
    """Suspend a grant, and its renewal; its running streams are cut within a second.

    Raises:
        NotFoundError: There is none of that id.
        NotPermittedError: By somebody without a role.
        ConflictError: It is revoked or suspended.
    """
    grant = await _get(session, grant_id)
    if isinstance(caller, Member):
        somebody = await party(session, caller.person_id)
        trusted = somebody.roles - {Role(Duty.AUDITOR)}
        if not trusted and caller.person_id != grant.person_id:
            raise NotPermittedError("This takes a role in the workflow.")
    if grant.suspended_at is not None:
        raise ConflictError("The grant is suspended already.")
    actor = caller if isinstance(caller, str) else caller.actor
    for each in (grant, *await renewals_of(session, grant, now)):
        if each.suspended_at is None:
            each.suspended_at, each.suspended_by, each.suspended_reason = now, actor, reason
            await record_change(
                session, Tag.GRANT_SUSPENDED, each.id, actor=actor, now=now, reason=reason
            )
    return grant


async def resume_grant(
    session: AsyncSession, grant_id: str, *, member: Member, now: datetime
) -> Grant:
    """End a suspension; what has lapsed meanwhile keeps the grant suspended nevertheless.

    Raises:
        NotFoundError: There is none of that id.
        NotPermittedError: By somebody who may not.
        ConflictError: It is revoked, or not suspended.
    """
    grant = await _get(session, grant_id)
    await _check_reviewer(session, grant, member)
    if grant.suspended_at is None:
        raise ConflictError("The grant is not suspended by anybody.")
    if grant.suspended_by == member.actor:
        raise NotPermittedError("Who has suspended a grant does not resume it.")
    word = (grant.suspended_at, grant.suspended_by)
    for each in (grant, *await renewals_of(session, grant, now)):
        # What was suspended with it; of another's word it is asked by itself.
        if (each.suspended_at, each.suspended_by) == word:
            each.suspended_at = each.suspended_by = each.suspended_reason = None
            await record_change(session, Tag.GRANT_RESUMED, each.id, actor=member.actor, now=now)
    return grant


async def review_usage(
    session: AsyncSession, grant_id: str, given: UsageReviewIn, *, member: Member, now: datetime
) -> Grant:
    """Record a review of a grant's use, and set when the next one is due.

    Raises:
        NotFoundError: There is none of that id.
        NotPermittedError: By somebody who may not.
        ConflictError: It is revoked, or not of the workflow.
    """
    grant = await _get(session, grant_id)
    await _check_reviewer(session, grant, member)
    if grant.application_id is None:
        raise ConflictError("A grant that an administrator made has no reviews of its use.")
    if given.outcome == "continue":
        grant.usage_review_due_at = now + USAGE_REVIEW_EVERY
    elif given.outcome == "suspend":
        await suspend_grant(session, grant_id, given.rationale, caller=member, now=now)
    else:
        await revoke_grant(session, grant_id, actor=member.actor, now=now)
    await record_change(
        session,
        Tag.USAGE_REVIEWED,
        grant_id,
        actor=member.actor,
        now=now,
        outcome=given.outcome,
        rationale=given.rationale,
    )
    return grant


async def _get(session: AsyncSession, grant_id: str) -> Grant:
    grant = await locked(session, Grant, grant_id)
    if grant is None:
        raise NotFoundError(f"There is no grant '{grant_id}'.")
    if grant.revoked_at is not None:
        raise ConflictError("The grant was revoked.")
    return grant


async def _check_reviewer(session: AsyncSession, grant: Grant, member: Member) -> None:
    """Raise unless a person may judge this grant's holder.

    Raises:
        NotPermittedError: They may not.
    """
    reviewer = await party(session, member.person_id)
    if not (reviewer.has(Duty.APPROVER) or reviewer.has(Duty.DOMAIN_REVIEWER, grant.domain)):
        raise NotPermittedError("This takes an approver, or a reviewer of the grant's domain.")
    reason = conflict(await party(session, grant.person_id), reviewer)
    if reason is not None:
        raise NotPermittedError(f"Not permitted: {reason}.")
