"""Openings of kept contents: asked for, agreed to, handed out once; and their end by their keys'.

What is handed out is sealed: only the holder's private key opens it, on the holder's machine. The
log's entry that it is handed out is in the same transaction, and its proof in what is handed out.
"""

import asyncio
import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import cast

from sqlalchemy import delete, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.checkpoint import SignerKey
from gateway.audit.intents import ENDED, INTENDED
from gateway.audit.log import prove_inclusion, sign_head
from gateway.audit.receipts import ProvenEntry
from gateway.contents.bundle import Bundle, KeyForm, PartForm
from gateway.contents.sealing import PartName, SealedPart, to_text
from gateway.controlplane.changes import Tag, locked, record_event
from gateway.controlplane.contents_schemas import ContentsIn
from gateway.controlplane.organisations import party
from gateway.db import Database
from gateway.errors import ConflictError, NotFoundError, NotPermittedError
from gateway.identity.principal import Member
from gateway.policy import contents as policy
from gateway.tables import AuditEntry, ContentKey, ContentOpening, KeptContent
from gateway.trouble import Trouble

SWEEP_SECONDS = 600.0
LATE = timedelta(days=7)
"""How long after a key's end a gateway may still write what it had sealed to it."""
PARTS: dict[str, PartName] = {"request": "request", "answer": "answer"}
log = logging.getLogger(__name__)


async def list_openings(session: AsyncSession, limit: int, offset: int) -> list[ContentOpening]:
    """Return openings, the newest first."""
    query = select(ContentOpening).order_by(ContentOpening.asked_at.desc(), ContentOpening.id)
    return list(await session.scalars(query.limit(limit).offset(offset)))


async def ask(
    session: AsyncSession, given: ContentsIn, *, member: Member, now: datetime
) -> ContentOpening:
    """Ask for the contents of a request; another person must agree.

    Raises:
        NotFoundError: None of that request are kept.
        NotPermittedError: By somebody who may not.
    """
    about = await whose(session, given.request_id)
    _check(policy.asking_refusal(await party(session, member.person_id), about))
    opening = ContentOpening(
        id=str(uuid.uuid4()),
        request_id=given.request_id,
        about=about,
        reason=given.reason,
        asked_by=member.person_id,
        asked_at=now,
    )
    session.add(opening)
    await record_event(
        session,
        Tag.CONTENTS_ASKED,
        opening.id,
        actor=member.actor,
        now=now,
        request=given.request_id,
        reason=given.reason,
    )
    return opening


async def approve(
    session: AsyncSession, opening_id: str, *, member: Member, now: datetime
) -> ContentOpening:
    """Agree, as the second person.

    Raises:
        NotFoundError: There is none of that id.
        ConflictError: Somebody has agreed before.
        NotPermittedError: By the same person, the caller, too late, or by somebody who may not.
    """
    opening = await _opening(session, opening_id)
    if opening.approved_at is not None:
        raise ConflictError("Somebody has agreed before.")
    await _check_second(session, opening, member, now)
    opening.approved_by, opening.approved_at = member.person_id, now
    await record_event(
        session,
        Tag.CONTENTS_APPROVED,
        opening_id,
        actor=member.actor,
        now=now,
        request=opening.request_id,
        asked_by=f"person:{opening.asked_by}",
    )
    # Once more, since the log's head is held by now: what was taken away before it is gone.
    await _check_second(session, opening, member, now)
    return opening


async def _check_second(
    session: AsyncSession, opening: ContentOpening, member: Member, now: datetime
) -> None:
    second = await party(session, member.person_id)
    asked = (opening.asked_by, opening.asked_at, opening.about)
    _check(policy.approval_refusal(*asked, second, now))


async def release(
    session: AsyncSession, opening_id: str, signer: SignerKey, *, member: Member, now: datetime
) -> Bundle:
    """Hand contents out, once, to who has asked; the log has it before they leave.

    Raises:
        NotFoundError: There is no such opening, or the contents are no longer kept.
        ConflictError: They were handed out before.
        NotPermittedError: To somebody else, or too late, or nobody has agreed.
    """
    opening = await _opening(session, opening_id)
    await _check_both(session, opening, member, now)
    if opening.released_at is not None:
        raise ConflictError("They were handed out before; ask again.")
    parts = await _kept(session, opening.request_id)
    key = await session.get(ContentKey, parts[0].key_id) if parts else None
    if key is None or key.sealed_private is None:
        raise NotFoundError(f"No contents of '{opening.request_id}' are kept any more.")
    opening.released_at = now
    await record_event(
        session,
        Tag.CONTENTS_RELEASED,
        opening_id,
        actor=member.actor,
        now=now,
        request=opening.request_id,
        approved_by=f"person:{opening.approved_by}",
        reason=opening.reason,
        about=f"person:{opening.about}",
    )
    await _check_both(session, opening, member, now)  # Once more, as who agrees is.
    note = await sign_head(session, signer, now)

    async def prove(subject: str, tag: str) -> ProvenEntry | None:
        row = await _entry(session, subject, tag)
        if row is None:
            return None
        return ProvenEntry.of(await prove_inclusion(session, row.seq, note.checkpoint.size))

    intent = await prove(opening.request_id, INTENDED)
    released = await prove(opening_id, Tag.CONTENTS_RELEASED)
    assert intent is not None and released is not None  # noqa: S101,PT018 - both were found before
    return Bundle(
        request_id=opening.request_id,
        checkpoint=note.text,
        released=released,
        intent=intent,
        outcome=await prove(opening.request_id, ENDED),
        key=KeyForm(
            id=key.id, grants=tuple(key.grants), sealed_private=to_text(key.sealed_private)
        ),
        parts=tuple(
            PartForm.of(PARTS[row.part], SealedPart(row.nonce, row.ciphertext, row.sealed_key))
            for row in parts
        ),
    )


async def _check_both(
    session: AsyncSession, opening: ContentOpening, member: Member, now: datetime
) -> None:
    asking = await party(session, member.person_id)
    agreed = await party(session, opening.approved_by) if opening.approved_by else None
    word = (opening.asked_by, opening.approved_at, agreed)
    _check(policy.release_refusal(*word, asking, now))


async def forget_expired(database: Database) -> None:
    """Destroy the keys whose time is over, for ever."""
    trouble = Trouble(log, "keys of contents could not be destroyed")
    while True:
        # What should be gone is tried again.
        with trouble.watched():
            await forget(database, datetime.now(UTC))
        await asyncio.sleep(SWEEP_SECONDS)


async def forget(database: Database, now: datetime) -> int:
    """Destroy the keys whose time is over, and delete what they had sealed; return how many.

    Raises:
        NotReadyError: The database is down.
    """
    due = select(ContentKey.id).where(
        ContentKey.expires_at <= now, ContentKey.destroyed_at.is_(None)
    )
    gone = select(ContentKey.id).where(ContentKey.destroyed_at > now - LATE)
    async with database.transaction() as session:
        ids = list(await session.scalars(due))
        # What a gateway was about to write when its key was destroyed; nothing opens it any more.
        await session.execute(delete(KeptContent).where(KeptContent.key_id.in_(gone)))
    for key_id in ids:
        async with database.transaction() as session:
            await destroy_key(session, key_id, actor="gateway", now=now)
    return len(ids)


async def destroy_key(
    session: AsyncSession, key_id: str, *, actor: str, now: datetime, **why: object
) -> int:
    """Destroy a key of grants, once, and delete what it had sealed; return how many parts.

    Args:
        session: The transaction.
        key_id: The key's.
        actor: Who does it.
        now: The moment.
        why: What the log says of it beside.
    """
    key = await locked(session, ContentKey, key_id)
    if key is None or key.destroyed_at is not None:
        return 0  # Another gateway was first.
    key.sealed_private, key.destroyed_at = None, now
    gone = await session.execute(delete(KeptContent).where(KeptContent.key_id == key_id))
    parts = cast("CursorResult[object]", gone).rowcount
    await record_event(
        session,
        Tag.CONTENTS_KEY_DESTROYED,
        key_id,
        actor=actor,
        now=now,
        grants=key.grants,
        parts=parts,
        **why,
    )
    return parts


async def whose(session: AsyncSession, request_id: str) -> str:
    """Return who sent a request whose contents are kept.

    Raises:
        NotFoundError: None of that request are.
    """
    intent = await _entry(session, request_id, INTENDED)
    if intent is None or not await _kept(session, request_id):
        raise NotFoundError(f"No contents of '{request_id}' are kept.")
    return intent.actor.removeprefix("person:")


async def _kept(session: AsyncSession, request_id: str) -> list[KeptContent]:
    query = select(KeptContent).where(KeptContent.request_id == request_id)
    return list(await session.scalars(query.order_by(KeptContent.part.desc())))


async def _entry(session: AsyncSession, subject: str, tag: str) -> AuditEntry | None:
    query = select(AuditEntry).where(AuditEntry.subject == subject, AuditEntry.tag == str(tag))
    found: AuditEntry | None = await session.scalar(query.order_by(AuditEntry.seq).limit(1))
    return found


async def _opening(session: AsyncSession, opening_id: str) -> ContentOpening:
    opening = await locked(session, ContentOpening, opening_id)
    if opening is None:
        raise NotFoundError(f"There is no opening '{opening_id}'.")
    return opening


def _check(reason: str | None) -> None:
    if reason is not None:
        raise NotPermittedError(f"Not permitted: {reason}.")
