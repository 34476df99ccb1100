"""Where a notice goes, looked up when it is sent: what was erased meanwhile gets nothing."""

import hmac
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.notices.delivery import Dropped
from gateway.notices.keys import NoticeKeys
from gateway.policy.notices import SECURITY, Event
from gateway.tables import Address, InstitutionMail, Notice, UnwantedNotice, Webhook

CONFIRM_PATH = "/confirm-address"
INSTITUTION_PATH = "/institution-mail"
COUNTED = timedelta(days=1)
"""How long a mail to an institution counts among others; its address is kept no longer."""


class Mailbox(NamedTuple):
    """Where a mail goes, and the path that its reader is to open."""

    email: str
    link: str | None


class Receiver(NamedTuple):
    """Where a webhook goes, and the secrets that count."""

    url: str
    secrets: list[str]


async def find_mailbox(
    session: AsyncSession, notice: Notice, keys: NoticeKeys, now: datetime
) -> Mailbox:
    """Return where a mail goes.

    Raises:
        Dropped: It is for nobody any more.
    """
    if notice.event == Event.INSTITUTION_MAIL:
        return await _to_institution(session, notice, keys, now)
    owner = (
        Address.person_id == notice.person_id
        if notice.person_id is not None
        else Address.organisation_id == notice.organisation_id
    )
    address = await session.scalar(select(Address).where(owner))
    if address is None:
        raise Dropped("there is no address")
    if notice.event == Event.ADDRESS_TO_CONFIRM:
        return _to_confirm(address, notice, keys, now)
    if address.email is None:
        raise Dropped("there is no confirmed address")
    is_unwanted = await session.get(UnwantedNotice, (notice.person_id or "", notice.event))
    if is_unwanted is not None and notice.event not in SECURITY:
        raise Dropped("the person does not want it")
    return Mailbox(address.email, None)


def _to_confirm(address: Address, notice: Notice, keys: NoticeKeys, now: datetime) -> Mailbox:
    if address.pending_email is None or address.nonce is None or address.pending_until is None:
        raise Dropped("there is nothing to confirm")
    # A mail of an earlier request would bring the code of this one.
    if address.pending_until <= now or notice.data.get("asked_at") != moment_text(address):
        raise Dropped("it was asked for again, or too long ago")
    code = keys.code(address.id, address.pending_email, address.nonce)
    return Mailbox(address.pending_email, f"{CONFIRM_PATH}/{address.id}?code={code}")


async def _to_institution(
    session: AsyncSession, notice: Notice, keys: NoticeKeys, now: datetime
) -> Mailbox:
    row = await session.get(InstitutionMail, notice.subject)
    if row is None or row.email is None or row.expires_at <= now:
        raise Dropped("it was asked for again, used, or too long ago")
    return Mailbox(row.email, f"{INSTITUTION_PATH}/{row.id}?code={institution_code(row, keys)}")


def institution_code(row: InstitutionMail, keys: NoticeKeys) -> str:
    """Return the code of a mail, of which nothing counts for another person or organisation."""
    bound_to = f"institution/{row.id}/{row.person_id}/{row.organisation_id}"
    return keys.code(bound_to, row.email or "", row.nonce or "")


def is_institution_code(given: str, row: InstitutionMail, keys: NoticeKeys) -> bool:
    """Whether a code is a mail's; the time it takes tells nothing."""
    return hmac.compare_digest(given.encode(), institution_code(row, keys).encode())


def moment_text(address: Address) -> str | None:
    """Return when a confirmation was asked for, as its notice has it."""
    return None if address.asked_at is None else address.asked_at.isoformat()


async def find_receiver(
    session: AsyncSession, notice: Notice, keys: NoticeKeys, now: datetime
) -> Receiver:
    """Return where a webhook goes.

    Raises:
        Dropped: It was taken away.
    """
    hook = await session.get_one(Webhook, notice.webhook_id)
    if hook.ended_at is not None:
        raise Dropped("the webhook was taken away")
    sealed = [hook.secret]
    if hook.old_secret is not None and hook.old_until is not None and hook.old_until > now:
        sealed.append(hook.old_secret)
    return Receiver(hook.url, [keys.cipher.decrypt(each.encode()).decode() for each in sealed])
