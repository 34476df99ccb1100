"""Renewals: when a grant of the workflow begins, beside what its holder had or has.

Of a domain a person has one such grant at a time, or suspending it would close nothing. What was
taken away comes back by the word of people who could know of it. A renewal may be accepted before
the end of what it renews: it begins at that very moment, and until then is taken away with it.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked
from gateway.errors import ConflictError
from gateway.identity.proof import CLOCK_SECONDS
from gateway.policy.approval import Statement
from gateway.tables import Application, ApplicationVersion, AuditEntry, Grant

VOIDING = (Tag.APPLICATION_CREATED, Tag.APPLICATION_EDITED, Tag.APPLICATION_APPEALED)
"""After any of these, what was approved before counts no more."""
TAKING = (Tag.GRANT_SUSPENDED, Tag.GRANT_REVOKED)


async def hold_running(
    session: AsyncSession, person_id: str, domains: Iterable[str], now: datetime
) -> None:
    """Hold a person's grants that may be renewed, as whoever takes one away holds it.

    So what is to renew one is there before it is taken away, or not at all.
    """
    ids = await session.scalars(
        select(Grant.id).where(
            Grant.person_id == person_id,
            Grant.domain.in_(domains),
            Grant.not_before <= now,
            Grant.expires_at > now,
        )
    )
    for grant_id in sorted(ids):
        await locked(session, Grant, grant_id)


async def beginnings(
    session: AsyncSession,
    application: Application,
    version: ApplicationVersion,
    approvals: Iterable[Statement],
    longest: timedelta,
    *,
    lapses_at: datetime,
    now: datetime,
) -> dict[str, datetime]:
    """Return when a grant for each domain of an approved application begins.

    Any number of applications may be approved at a time.

    Args:
        session: The transaction, in which the person's grants are held.
        application: Which.
        version: What is applied for.
        approvals: Those that count.
        longest: How long a grant in the person's tier counts.
        lapses_at: Until when it could be accepted after an end; what ends later is not renewed
            by it, so that nothing begins longer after its approval by being accepted sooner.
        now: The moment.

    Raises:
        ConflictError: A grant for one of the domains was taken away meanwhile, or has not ended
            and cannot be renewed yet.
    """
    approved = await _first_approved(session, application, approvals)
    grants = await session.scalars(
        select(Grant)
        .where(Grant.person_id == application.person_id, Grant.domain.in_(version.domains))
        .order_by(Grant.created_at, Grant.id)
    )
    begins = dict.fromkeys(version.domains, now)
    for grant in grants:
        is_taken = grant.revoked_at is not None or grant.suspended_at is not None
        if is_taken and await _was_taken_since(session, grant.id, approved):
            done = "suspended" if grant.revoked_at is None else "revoked"
            raise ConflictError(
                f"The grant '{grant.id}' for {grant.domain} was {done} after this application was "
                "approved: apply again."
            )
        ends_at = min(grant.expires_at, grant.not_before + longest)
        if grant.revoked_at is not None or ends_at <= now:
            continue
        is_sole = begins[grant.domain] == now
        # One that a shorter tier ends sooner could go on beside its renewal in a longer one.
        is_plain = grant.application_id is not None and ends_at == grant.expires_at
        has_begun = grant.not_before <= now and grant.suspended_at is None
        if not (is_sole and is_plain and has_begun and ends_at < lapses_at):
            raise ConflictError(
                f"The grant '{grant.id}' for {grant.domain} is there until {ends_at.isoformat()}; "
                "another one takes its place after that."
            )
        begins[grant.domain] = ends_at
    return begins


async def renewals_of(session: AsyncSession, grant: Grant, now: datetime) -> list[Grant]:
    """Return what was accepted to follow a grant and has not begun, held as that is.

    Or has only just, by the clock of a gateway that is ahead of another one's.
    """
    ids = await session.scalars(
        select(Grant.id).where(
            Grant.person_id == grant.person_id,
            Grant.domain == grant.domain,
            Grant.application_id.is_not(None),
            Grant.not_before == grant.expires_at,
            Grant.not_before > now - timedelta(seconds=CLOCK_SECONDS),
        )
    )
    held = [await locked(session, Grant, grant_id) for grant_id in sorted(ids)]
    return [each for each in held if each is not None and each.revoked_at is None]


async def _first_approved(
    session: AsyncSession, application: Application, approvals: Iterable[Statement]
) -> int | None:
    """Return the number of the log's entry that has the first of the approvals that count.

    By the log, whose order is one for all gateways; by their clocks what one of them took away
    just after another one's approval could be older than that.
    """
    of_it = AuditEntry.subject == application.id
    voided = select(func.max(AuditEntry.seq)).where(of_it, AuditEntry.tag.in_(map(str, VOIDING)))
    first: int | None = await session.scalar(
        select(func.min(AuditEntry.seq)).where(
            of_it,
            AuditEntry.tag == str(Tag.APPLICATION_APPROVED),
            AuditEntry.actor.in_({f"person:{said.by}" for said in approvals}),
            AuditEntry.seq > voided.scalar_subquery(),
        )
    )
    return first


async def _was_taken_since(session: AsyncSession, grant_id: str, approved: int | None) -> bool:
    """Whether a grant was taken away after an entry of the log; unknown of either, it was."""
    last: int | None = await session.scalar(
        select(func.max(AuditEntry.seq)).where(
            AuditEntry.subject == grant_id, AuditEntry.tag.in_(map(str, TAKING))
        )
    )
    return approved is None or last is None or last > approved
