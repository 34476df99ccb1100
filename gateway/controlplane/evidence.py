"""Evidence about people: added by themselves, accepted by an identity reviewer, retracted."""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_change, record_event
from gateway.controlplane.institution_mail import check_is_ours
from gateway.controlplane.organisations import party, roles_of
from gateway.controlplane.people import get_person
from gateway.controlplane.verification_schemas import EvidenceAcceptance, EvidenceIn
from gateway.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    NotPermittedError,
)
from gateway.identity.grant_terms import load_evidence
from gateway.identity.principal import Administrator, Member
from gateway.policy.approval import Duty, Role, conflict
from gateway.policy.evidence import OF_VISAS, PROVES, Evidence, EvidenceKind
from gateway.tables import EvidenceItem, InstitutionMail

OF_A_DOMAIN = frozenset(
    {EvidenceKind.TRAINING, EvidenceKind.APPROVAL_LETTER, EvidenceKind.ACCESS_VISA}
)

OF_THEIR_SOURCE = OF_VISAS | {EvidenceKind.INSTITUTION_MAIL}
"""What says itself who has asserted it; a reviewer accepts that or nothing."""
WAITING_AT_MOST = 40
"""Of one person: enough for the domains of two applications, and no more for a reviewer to read."""
HOLDS_AT_MOST = timedelta(days=5 * 366)
"""As long as training certificates do; what is accepted for ever is never looked at again."""


async def list_evidence(
    session: AsyncSession, person_id: str | None, limit: int, offset: int
) -> list[EvidenceItem]:
    """Return evidence, about one person or about all, the newest first."""
    query = select(EvidenceItem).order_by(EvidenceItem.created_at.desc(), EvidenceItem.id)
    if person_id is not None:
        query = query.where(EvidenceItem.person_id == person_id)
    return list(await session.scalars(query.limit(limit).offset(offset)))


async def held_by(session: AsyncSession, person_id: str) -> tuple[Evidence, ...]:
    """Return what counts about a person."""
    found = await load_evidence(session, select(literal(person_id)))
    return found.get(person_id, ())


async def add_evidence(
    session: AsyncSession, given: EvidenceIn, *, member: Member, now: datetime
) -> EvidenceItem:
    """Add evidence about oneself; it counts for nothing before it is accepted.

    Raises:
        InvalidRequestError: It names a domain and is about none, or the reverse; or only a visa
            or a mail can say it.
        ConflictError: As much waits for a reviewer as may of one person.
    """
    if given.kind in OF_VISAS:
        raise InvalidRequestError("This comes with a visa: POST /admin/v1/me/visas.", "kind")
    if given.kind is EvidenceKind.INSTITUTION_MAIL:
        raise InvalidRequestError(
            "This comes with a mail: POST /admin/v1/me/institution-mail.", "kind"
        )
    if (given.kind in OF_A_DOMAIN) != (given.domain is not None):
        raise InvalidRequestError(
            "Training and approval letters are for one domain, other evidence for none.", "domain"
        )
    await _check_room(session, member.person_id, now)
    item = EvidenceItem(
        id=str(uuid.uuid4()),
        person_id=member.person_id,
        kind=str(given.kind),
        domain=given.domain,
        source=given.source,
        document_digest=given.document_digest,
        created_at=now,
        asserted_by="unknown",
    )
    session.add(item)
    await record_event(
        session, Tag.EVIDENCE_ADDED, item.id, actor=member.actor, now=now, kind=item.kind
    )
    return item


async def _check_room(session: AsyncSession, person_id: str, now: datetime) -> None:
    # The person's row is held, so that what they add at once is counted one after the other.
    await get_person(session, person_id, to_change=True)
    waiting = select(func.count()).where(
        EvidenceItem.person_id == person_id,
        EvidenceItem.accepted_at.is_(None),
        EvidenceItem.retracted_at.is_(None),
        EvidenceItem.not_after.is_(None) | (EvidenceItem.not_after > now),
    )
    if (await session.scalar(waiting) or 0) >= WAITING_AT_MOST:
        raise ConflictError(
            f"{WAITING_AT_MOST} pieces of evidence of yours wait for a reviewer, as many as may; "
            "retract one first."
        )


async def accept_evidence(
    session: AsyncSession,
    item_id: str,
    given: EvidenceAcceptance,
    *,
    member: Member,
    now: datetime,
) -> EvidenceItem:
    """Record who asserted evidence and until when; from now on it counts.

    Raises:
        NotFoundError: There is none of that id.
        NotPermittedError: By somebody who may not judge this person.
        ConflictError: It was accepted or retracted before.
        InvalidRequestError: This kind, asserted so, verifies nothing; or the moments do not fit.
    """
    item = await _get(session, item_id)
    reviewer = await party(session, member.person_id)
    if not reviewer.has(Duty.IDENTITY_REVIEWER):
        raise NotPermittedError("This takes the role of an identity reviewer.")
    reason = conflict(await party(session, item.person_id), reviewer)
    if reason is not None:
        raise NotPermittedError(f"Not permitted: {reason}.")
    if item.accepted_at is not None or item.retracted_at is not None:
        raise ConflictError("The evidence was accepted or retracted before; add new evidence.")
    if not PROVES.get((EvidenceKind(item.kind), given.asserted_by)):
        raise InvalidRequestError(
            f"Evidence of the kind {item.kind}, asserted by '{given.asserted_by}', verifies "
            "nothing.",
            "asserted_by",
        )
    for moment, name in ((given.asserted_at, "asserted_at"), (given.expires_at, "expires_at")):
        if moment.tzinfo is None:
            raise InvalidRequestError("A moment needs a time zone.", name)
    if not given.asserted_at <= now < given.expires_at:
        raise InvalidRequestError("It must have been asserted and not be over yet.", "expires_at")
    if given.expires_at - now > HOLDS_AT_MOST:
        raise InvalidRequestError("Evidence is accepted for five years at most.", "expires_at")
    _check_source(item, given)
    if item.kind == EvidenceKind.INSTITUTION_MAIL:
        await check_is_ours(session, item)
    else:
        item.asserted_at = given.asserted_at
    item.asserted_by = str(given.asserted_by)
    item.accepted_by, item.accepted_at = member.person_id, now
    item.expires_at = given.expires_at
    await record_change(
        session,
        Tag.EVIDENCE_ACCEPTED,
        item.id,
        actor=member.actor,
        now=now,
        person=item.person_id,
        asserted_by=item.asserted_by,
        expires_at=given.expires_at.isoformat(),
    )
    return item


def _check_source(item: EvidenceItem, given: EvidenceAcceptance) -> None:
    """Raise where the source itself has said less than a reviewer would accept.

    Raises:
        InvalidRequestError: It has.
    """
    if item.not_after is not None and given.expires_at > item.not_after:
        end = item.not_after.isoformat(timespec="seconds")
        raise InvalidRequestError(f"Its source has set its end to {end}.", "expires_at")
    if item.kind in OF_THEIR_SOURCE and str(given.asserted_by) != item.asserted_by:
        raise InvalidRequestError(f"Its source says '{item.asserted_by}'.", "asserted_by")


async def retract_evidence(
    session: AsyncSession, item_id: str, *, caller: Administrator | Member, now: datetime
) -> EvidenceItem:
    """Take evidence away for ever; grants that rest on it alone are suspended within a second.

    One person is enough, since it only restricts: an administrator, an identity reviewer, or the
    person themselves.

    Raises:
        NotFoundError: There is none of that id.
        NotPermittedError: By anybody else.
        ConflictError: It was retracted before.
    """
    item = await _get(session, item_id)
    if isinstance(caller, Member) and caller.person_id != item.person_id:
        roles = await roles_of(session, caller.person_id)
        if Role(Duty.IDENTITY_REVIEWER) not in roles:
            raise NotPermittedError("This takes the role of an identity reviewer.")
    if item.retracted_at is not None:
        raise ConflictError("The evidence was retracted before.")
    await retract(session, item, actor=caller.actor, now=now)
    return item


async def hold_mails_of_others(
    session: AsyncSession, person_id: str, organisation_id: str
) -> list[EvidenceItem]:
    """Return a person's evidence by mail that stands for another organisation, or for none.

    Nobody accepts or retracts it meanwhile.
    """
    bound = select(InstitutionMail.evidence_id).where(
        InstitutionMail.organisation_id == organisation_id,
        InstitutionMail.evidence_id.is_not(None),
    )
    ids = await session.scalars(
        select(EvidenceItem.id).where(
            EvidenceItem.person_id == person_id,
            EvidenceItem.kind == str(EvidenceKind.INSTITUTION_MAIL),
            EvidenceItem.id.not_in(bound),
        )
    )
    held = [await locked(session, EvidenceItem, item_id) for item_id in sorted(ids)]
    return [item for item in held if item is not None and item.retracted_at is None]


async def retract(session: AsyncSession, item: EvidenceItem, *, actor: str, now: datetime) -> None:
    """Take away evidence that is held; who may is for the caller to know."""
    item.retracted_by, item.retracted_at = actor, now
    await record_change(
        session, Tag.EVIDENCE_RETRACTED, item.id, actor=actor, now=now, person=item.person_id
    )


async def _get(session: AsyncSession, item_id: str) -> EvidenceItem:
    item = await locked(session, EvidenceItem, item_id)
    if item is None:
        raise NotFoundError(f"There is no evidence '{item_id}'.")
    return item
