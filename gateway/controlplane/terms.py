"""Terms of use: published in versions, accepted by digest."""

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.verification_schemas import TermsIn
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from gateway.policy.terms import TermsVersion, in_force
from gateway.tables import Terms, TermsAcceptance

ANNOUNCED_AT_MOST = timedelta(days=366)


async def list_terms(session: AsyncSession) -> list[Terms]:
    """Return every version, the newest first."""
    return list(await session.scalars(select(Terms).order_by(Terms.mandatory_from.desc())))


async def publish_terms(
    session: AsyncSession, given: TermsIn, *, actor: str, now: datetime
) -> Terms:
    """Publish a version; grants of those who have not accepted it are suspended when it begins.

    Raises:
        ConflictError: This text was published before.
        InvalidRequestError: It begins before a version that exists, or in over a year.
    """
    digest = "sha256:" + hashlib.sha256(given.text.encode()).hexdigest()
    if given.mandatory_from.tzinfo is None:
        raise InvalidRequestError("A moment needs a time zone.", "mandatory_from")
    # Before what there is is read, since it takes the log's head: of two who publish at once, the
    # second sees the first one's version and is held to it. What is refused leaves no entry.
    begins = given.mandatory_from.isoformat()
    await record_change(
        session, Tag.TERMS_PUBLISHED, digest, actor=actor, now=now, mandatory_from=begins
    )
    versions = await list_terms(session)
    if any(version.digest == digest for version in versions):
        raise ConflictError(f"These terms were published before, as {digest}.", "text")
    # Every later version begins after it, so that one of a year 9999 would be the last for ever.
    if given.mandatory_from > now + ANNOUNCED_AT_MOST:
        raise InvalidRequestError("Terms begin within a year.", "mandatory_from")
    # A version in between would let an older acceptance count for longer than it does now.
    if any(given.mandatory_from <= version.mandatory_from for version in versions):
        raise InvalidRequestError("A new version begins after those that exist.", "mandatory_from")
    row = Terms(
        digest=digest,
        text=given.text,
        mandatory_from=given.mandatory_from,
        actor=actor,
        created_at=now,
    )
    session.add(row)
    return row


async def accept_terms(
    session: AsyncSession, digest: str, *, person_id: str, actor: str, now: datetime
) -> TermsAcceptance:
    """Accept a version; accepting it again changes nothing.

    Raises:
        NotFoundError: There is no such version.
    """
    if await session.get(Terms, digest) is None:
        raise NotFoundError(f"There are no terms '{digest}'.")
    key = (person_id, digest)
    row = await session.get(TermsAcceptance, key)
    if row is not None:
        return row
    row = TermsAcceptance(person_id=person_id, digest=digest, accepted_at=now)
    try:
        async with session.begin_nested():
            session.add(row)
    except IntegrityError:
        # They have said so twice at the same moment; the other word was first.
        return await session.get_one(TermsAcceptance, key)
    await record_change(session, Tag.TERMS_ACCEPTED, digest, actor=actor, now=now, person=person_id)
    return row


async def terms_in_force(session: AsyncSession, now: datetime) -> str | None:
    """Return the digest of the terms that have to be accepted at a moment."""
    versions = [TermsVersion(row.digest, row.mandatory_from) for row in await list_terms(session)]
    found = in_force(versions, now)
    return None if found is None else found.digest
