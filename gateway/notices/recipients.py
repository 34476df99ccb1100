"""Where a notice goes, looked up when it is sent: what was erased meanwhile gets nothing."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.notices.delivery import Dropped
from gateway.notices.keys import NoticeKeys
from gateway.policy.notices import SECURITY, Event
from gateway.tables import Address, Notice, UnwantedNotice, Webhook

CONFIRM_PATH = "/confirm-address"


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
