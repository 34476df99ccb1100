"""The institution mail loop: who shows a code that was mailed to an address reads that address.

The gateway itself asserts it, for a person, a mailbox and an organisation, whose domains an
administrator has listed. It is evidence, which a reviewer accepts or does not, and no approval.

    asked ── right code, shown by the same person ──> used: evidence
      └── asked again, too many wrong codes, an hour ──> ended
"""

import secrets
import uuid
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.addresses import ASK_AGAIN_AFTER, check_mail_is_sent
from gateway.controlplane.changes import Tag, locked, record_event
from gateway.controlplane.organisations import get_organisation
from gateway.controlplane.people import get_person
from gateway.errors import ConflictError, InvalidRequestError, RateLimitedError
from gateway.identity.principal import Member
from gateway.notices.keys import NoticeKeys
from gateway.notices.outbox import To, put
from gateway.notices.recipients import COUNTED, is_institution_code
from gateway.policy.evidence import AssertedBy, EvidenceKind
from gateway.policy.mail_domains import domain_of, is_of, mailbox_of
from gateway.policy.notices import Event
from gateway.settings import Settings
from gateway.tables import EvidenceItem, InstitutionMail, Organisation

CODE_LASTS = timedelta(hours=1)
HOLDS = timedelta(days=180)
"""People leave institutions: a reviewer accepts it for no longer."""
PER_DAY = 3
"""Mails for each person, and to each mailbox, whoever asks for them."""
ATTEMPTS = 5
NOT_GOOD = "The code is not good, or not any more; ask for another mail."


async def ask(
    session: AsyncSession,
    email: str,
    *,
    member: Member,
    settings: Settings,
    keys: NoticeKeys,
    now: datetime,
) -> InstitutionMail:
    """Mail a code to an address at the person's institution; it takes the place of an earlier one.

    Nothing in the answer says whether there is such a mailbox, nor whether somebody else has named
    it: where too many mails went already, the answer is the same and none goes.

    Raises:
        ConflictError: No mail is sent here, or the organisation is suspended.
        InvalidRequestError: The domain is none of the organisation's.
        RateLimitedError: The person had enough mails for now.
    """
    check_mail_is_sent(settings)
    organisation = await _organisation_of(session, member.person_id)
    _check_domain(organisation, email)
    await _check_rate(session, member.person_id, now)
    await _end_earlier(session, member.person_id, now)
    mailbox = keys.mailbox(mailbox_of(email))
    row = InstitutionMail(
        id=str(uuid.uuid4()),
        person_id=member.person_id,
        organisation_id=organisation.id,
        email=email,
        mailbox=mailbox,
        nonce=secrets.token_urlsafe(32),
        asked_at=now,
        expires_at=now + CODE_LASTS,
        attempts=0,
    )
    session.add(row)
    # The log's head is held from here on, so that whoever asks for the same mailbox waits, also in
    # another organisation that lists its domain; what is counted then is all there is.
    await _record(session, Tag.INSTITUTION_MAIL_ASKED, row, member, now)
    recent = (InstitutionMail.mailbox == mailbox, InstitutionMail.asked_at > now - COUNTED)
    count = await session.scalar(select(func.count()).select_from(InstitutionMail).where(*recent))
    if count is not None and count <= PER_DAY:
        to = To(frozenset({member.person_id}))
        await put(session, Event.INSTITUTION_MAIL, row.id, to, {}, now=now)
    return row


async def confirm(
    session: AsyncSession, code: str, *, member: Member, keys: NoticeKeys, now: datetime
) -> EvidenceItem | None:
    """Make evidence of the code that was mailed, once; None when it is not good.

    It returns then and does not raise, so that the attempt is counted and in the audit log.

    Raises:
        ConflictError: The code is good, and the person, the organisation or its domains have
            changed, or somebody else has shown the same mailbox.
    """
    found = await session.scalar(
        select(InstitutionMail).where(
            InstitutionMail.person_id == member.person_id, InstitutionMail.ended_at.is_(None)
        )
    )
    if found is None:
        return None
    # The organisation before the row, as whoever asks has it: so nobody waits for each other.
    organisation = await _organisation_of(session, member.person_id)
    row = await _locked_with_its_mailbox(session, found)
    if row is None or row.email is None or row.expires_at <= now:
        return None
    if not is_institution_code(code, row, keys):
        row.attempts += 1
        if row.attempts >= ATTEMPTS:
            _end(row, now)
        await _record(session, Tag.INSTITUTION_MAIL_REFUSED, row, member, now)
        return None
    if row.organisation_id != organisation.id:
        raise ConflictError("You are of another organisation than when you asked; ask again.")
    _check_domain(organisation, row.email)
    await _check_sole(session, row, now)
    return await _make_evidence(session, row, organisation, member, now)


async def _make_evidence(
    session: AsyncSession,
    row: InstitutionMail,
    organisation: Organisation,
    member: Member,
    now: datetime,
) -> EvidenceItem:
    item = EvidenceItem(
        id=str(uuid.uuid4()),
        person_id=member.person_id,
        kind=str(EvidenceKind.INSTITUTION_MAIL),
        # Not the address itself, which is its owner's and nobody's to review.
        source=f"mail to @{domain_of(row.email or '')}, of {organisation.name}"[:300],
        created_at=now,
        asserted_by=str(AssertedBy.SYSTEM),
        asserted_at=now,
        not_after=now + HOLDS,
    )
    session.add(item)
    await session.flush()  # The row must exist before the one that names it.
    row.evidence_id = item.id
    _end(row, now)
    kind, by = item.kind, item.asserted_by
    await record_event(
        session,
        Tag.EVIDENCE_ADDED,
        item.id,
        actor=member.actor,
        now=now,
        kind=kind,
        asserted_by=by,
        organisation=organisation.id,
    )
    return item


async def check_is_ours(session: AsyncSession, item: EvidenceItem) -> None:
    """Raise where the gateway has not asserted evidence itself, for the person's organisation.

    Raises:
        ConflictError: It has not: it was written down by hand, or elsewhere, or they have moved.
    """
    row = await session.scalar(
        select(InstitutionMail).where(InstitutionMail.evidence_id == item.id)
    )
    if row is None:
        raise ConflictError(
            "No mail of this gateway stands behind it; the person asks for one by "
            "POST /admin/v1/me/institution-mail."
        )
    if row.organisation_id != (await _organisation_of(session, item.person_id)).id:
        raise ConflictError("The person is of another organisation by now.")


async def _organisation_of(session: AsyncSession, person_id: str) -> Organisation:
    """Return a person's organisation, which stays as it is until this transaction ends.

    So one person's mails are counted one after the other.

    Raises:
        ConflictError: It is suspended.
    """
    name = (await get_person(session, person_id)).organisation
    found = await session.scalar(select(Organisation.id).where(Organisation.name == name))
    organisation = await get_organisation(session, found or "", to_change=True)
    if organisation.state == "suspended":
        raise ConflictError("The organisation is suspended.")
    return organisation


def _check_domain(organisation: Organisation, email: str) -> None:
    if not is_of(domain_of(email), organisation.mail_domains):
        raise InvalidRequestError(
            "This domain is none of your organisation's; an administrator lists those "
            "(PATCH /admin/v1/organisations/{id}, mail_domains).",
            "email",
        )


async def _check_rate(session: AsyncSession, person_id: str, now: datetime) -> None:
    rows = await session.scalars(
        select(InstitutionMail.asked_at)
        .where(InstitutionMail.person_id == person_id, InstitutionMail.asked_at > now - COUNTED)
        .order_by(InstitutionMail.asked_at)
    )
    asked = list(rows)
    if len(asked) >= PER_DAY:
        wait = asked[-PER_DAY] + COUNTED - now
        raise RateLimitedError("mails to an institution a day", PER_DAY, wait.total_seconds())
    if asked and now < asked[-1] + ASK_AGAIN_AFTER:
        wait = asked[-1] + ASK_AGAIN_AFTER - now
        raise RateLimitedError("mail in ten minutes", 1, wait.total_seconds())


async def _end_earlier(session: AsyncSession, person_id: str, now: datetime) -> None:
    """End what the person has asked for before."""
    live = select(InstitutionMail).where(
        InstitutionMail.person_id == person_id, InstitutionMail.ended_at.is_(None)
    )
    for earlier in await session.scalars(live):
        _end(earlier, now)


async def _locked_with_its_mailbox(
    session: AsyncSession, found: InstitutionMail
) -> InstitutionMail | None:
    """Return a row that stays as it is, as do all by which its mailbox may be shown now.

    Organisations that list one domain share no lock. All in one order, its own among them, so that
    of two people nobody waits for the other.
    """
    live = (InstitutionMail.mailbox == found.mailbox, InstitutionMail.ended_at.is_(None))
    others = await session.scalars(select(InstitutionMail.id).where(*live))
    for mail_id in sorted({found.id, *others}):
        await locked(session, InstitutionMail, mail_id)
    return await session.get(InstitutionMail, found.id)


async def _check_sole(session: AsyncSession, row: InstitutionMail, now: datetime) -> None:
    """Let a mailbox stand for one person: two accounts of one human would approve each other."""
    others = (
        select(InstitutionMail.id)
        .join(EvidenceItem, EvidenceItem.id == InstitutionMail.evidence_id)
        .where(
            InstitutionMail.mailbox == row.mailbox,
            InstitutionMail.person_id != row.person_id,
            EvidenceItem.retracted_at.is_(None),
            EvidenceItem.not_after > now,
        )
    )
    if await session.scalar(others.limit(1)) is not None:
        raise ConflictError("Somebody else has shown that they read this mailbox.")


def _end(row: InstitutionMail, now: datetime) -> None:
    row.ended_at, row.email, row.nonce = now, None, None


async def _record(
    session: AsyncSession, tag: Tag, row: InstitutionMail, member: Member, now: datetime
) -> None:
    organisation = row.organisation_id
    await record_event(session, tag, row.id, actor=member.actor, now=now, organisation=organisation)
