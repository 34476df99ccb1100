"""Addresses: named by their owner, confirmed by a mailed link or an issuer, erased at any time.

An address is never who somebody is: nothing is looked up by it, and two people may have the same.
No address is in the audit log, which nobody can erase anything from.
"""

import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.controlplane.changes import Tag, locked, record_event
from gateway.controlplane.contact_schemas import AddressOut
from gateway.controlplane.organisations import get_organisation
from gateway.controlplane.people import get_person
from gateway.errors import ConflictError, NotFoundError
from gateway.notices.keys import NoticeKeys
from gateway.notices.outbox import To, put
from gateway.notices.recipients import moment_text
from gateway.policy.notices import Event
from gateway.settings import Settings
from gateway.tables import Address

LINK_LASTS = timedelta(days=1)
ASK_AGAIN_AFTER = timedelta(minutes=10)
"""Or else anybody could fill somebody else's mailbox from here."""


@dataclass(frozen=True)
class Owner:
    """Whose address it is: a person's, or the contact's of an organisation."""

    person_id: str | None = None
    organisation_id: str | None = None

    @property
    def id(self) -> str:
        """Return the owner's id, whichever it is."""
        return self.person_id or self.organisation_id or ""

    def to(self) -> To:
        """Return the owner as one who is told."""
        if self.person_id is not None:
            return To(frozenset({self.person_id}))
        return To(organisations=frozenset({self.id}))


async def get_address(session: AsyncSession, owner: Owner) -> Address | None:
    """Return somebody's address; None where there was never one.

    Raises:
        NotFoundError: There is no such person or organisation.
    """
    await _check_owner(session, owner)
    return await _find(session, owner)


def check_mail_is_sent(settings: Settings) -> None:
    """Raise where a link could not be mailed.

    Raises:
        ConflictError: Something is not set; it says what.
    """
    if settings.mail_host is None or settings.public_url is None:
        raise ConflictError("No mail is sent here: AIRLOCK_MAIL_HOST or _PUBLIC_URL is not set.")


async def ask_to_confirm(
    session: AsyncSession,
    owner: Owner,
    email: str,
    *,
    settings: Settings,
    actor: str,
    now: datetime,
) -> Address:
    """Mail a link to an address; it is the owner's once somebody has opened that.

    Raises:
        NotFoundError: There is no such person or organisation.
        ConflictError: No mail is sent here, or one was a moment ago.
    """
    check_mail_is_sent(settings)
    await _check_owner(session, owner, to_change=True)
    address = await _find(session, owner, to_change=True)
    if address is None:
        address = _new(owner)
        session.add(address)
    if address.asked_at is not None and now < address.asked_at + ASK_AGAIN_AFTER:
        raise ConflictError("A mail was sent less than ten minutes ago; wait for it.", "email")
    if address.email is not None and address.email != email:
        await put(session, Event.ADDRESS_CHANGING, owner.id, owner.to(), {}, now=now)
    address.pending_email, address.nonce = email, secrets.token_urlsafe(32)
    address.pending_until, address.asked_at = now + LINK_LASTS, now
    data = {"asked_at": moment_text(address)}
    await put(session, Event.ADDRESS_TO_CONFIRM, owner.id, owner.to(), data, now=now)
    await record_event(session, Tag.ADDRESS_ASKED, owner.id, actor=actor, now=now)
    return address


async def confirm(
    session: AsyncSession, address_id: str, code: str, *, keys: NoticeKeys, now: datetime
) -> None:
    """Take an address as its reader's, who has opened the link; the link is good once.

    Raises:
        NotFoundError: The link is not good, or not any more.
    """
    address = await locked(session, Address, address_id)
    if address is None or not is_good(address, code, keys, now):
        raise NotFoundError("The link is not good, or not any more; ask for another one.")
    address.email, address.verified_at, address.verified_by = address.pending_email, now, "mail"
    address.pending_email = address.nonce = address.pending_until = address.erased_at = None
    owner = address.person_id or address.organisation_id or ""
    await record_event(session, Tag.ADDRESS_CONFIRMED, owner, actor="link", now=now, by="mail")


def is_good(address: Address, code: str, keys: NoticeKeys, now: datetime) -> bool:
    """Whether a code confirms an address now."""
    if address.pending_email is None or address.nonce is None or address.pending_until is None:
        return False
    is_code = keys.is_code(code, address.id, address.pending_email, address.nonce)
    return is_code and now < address.pending_until


async def take_from_issuer(
    session: AsyncSession, person_id: str, email: str, issuer: str, now: datetime
) -> None:
    """Take an address that an issuer has verified, unless its owner has confirmed or erased one."""
    owner = Owner(person_id)
    if not _gives_way(await _find(session, owner), email):
        return  # As most logins do, which wait for nobody who is changing the person.
    await _check_owner(session, owner, to_change=True)
    address = await _find(session, owner, to_change=True)
    if not _gives_way(address, email):
        return
    if address is None:
        address = _new(owner)
        session.add(address)
    by = f"issuer:{issuer}"[:200]
    address.email, address.verified_at, address.verified_by = email, now, by
    await record_event(session, Tag.ADDRESS_CONFIRMED, person_id, actor=by, now=now, by=by)


def _gives_way(address: Address | None, email: str) -> bool:
    """Whether another address of an issuer's takes this one's place; its owner's word stays."""
    if address is None:
        return True
    is_owners_word = address.verified_by == "mail" or address.erased_at is not None
    return address.email != email and not is_owners_word


async def erase(session: AsyncSession, owner: Owner, *, actor: str, now: datetime) -> None:
    """Forget an address; what waits to be sent to it is not sent any more.

    Raises:
        NotFoundError: There is no such person or organisation, or no address.
    """
    await _check_owner(session, owner, to_change=True)
    address = await _find(session, owner, to_change=True)
    if address is None or (address.email is None and address.pending_email is None):
        raise NotFoundError("There is no address.")
    # The row stays, to say so to the next login, and when a mail was last asked for.
    address.email = address.verified_at = address.verified_by = None
    address.pending_email = address.nonce = address.pending_until = None
    address.erased_at = now
    await record_event(session, Tag.ADDRESS_ERASED, owner.id, actor=actor, now=now)


async def _check_owner(session: AsyncSession, owner: Owner, *, to_change: bool = False) -> None:
    if owner.person_id is not None:
        await get_person(session, owner.person_id, to_change=to_change)
    else:
        await get_organisation(session, owner.id, to_change=to_change)


async def _find(session: AsyncSession, owner: Owner, *, to_change: bool = False) -> Address | None:
    column = Address.organisation_id if owner.person_id is None else Address.person_id
    query = select(Address).where(column == owner.id)
    # What was read before the owner was locked may be old.
    found = await session.scalar(query.execution_options(populate_existing=True))
    if found is None or not to_change:
        return found
    # Who opens the link holds the address alone, whose owner they need not be.
    return await locked(session, Address, found.id)


def _new(owner: Owner) -> Address:
    return Address(
        id=str(uuid.uuid4()), person_id=owner.person_id, organisation_id=owner.organisation_id
    )


def shown(address: Address | None) -> AddressOut:
    """Return an address as its owner sees it."""
    if address is not None:
        return AddressOut.model_validate(address)
    return AddressOut(
        email=None, verified_at=None, verified_by=None, pending_email=None, pending_until=None
    )
