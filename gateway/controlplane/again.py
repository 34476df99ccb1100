"""What one person may take away, or two have had destroyed, taken away again by the log's entries.

Nothing here gives anybody anything. What a restored database does not hold is passed over.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import cast

from sqlalchemy import Update, delete, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import Delete

from gateway.audit.entry import Leaf
from gateway.controlplane.changes import Tag
from gateway.controlplane.contents import destroy_key
from gateway.controlplane.organisations import role_text, roles_of
from gateway.controlplane.restored import ACTOR
from gateway.controlplane.serving import revoke_checkpoint
from gateway.policy.applications import OPEN, State
from gateway.policy.key_terms import widened
from gateway.tables import (
    Address,
    ApiKey,
    Application,
    Closure,
    ContentKey,
    Engine,
    EvidenceItem,
    Grant,
    Identity,
    KeptContent,
    Organisation,
    Person,
    PersonRole,
    Revocation,
    Webhook,
)
from gateway.tables.keys import LIMITS

SUSPENDED = "suspended"
NARROWED = ("endpoints", "domains", "addresses", "scopes", "expires_at", *LIMITS)
OWN_ENTRY = frozenset({Tag.CONTENTS_KEY_DESTROYED, Tag.CHECKPOINT_REVOKED})
"""What leaves an entry by itself when it is done again."""


async def _key(session: AsyncSession, leaf: Leaf) -> bool:
    at = leaf.entry.at
    ends = update(ApiKey).where(ApiKey.id == leaf.entry.subject)
    ends = ends.where(ApiKey.revoked_at.is_(None) | (ApiKey.revoked_at > at))
    return await _did(session, ends.values(revoked_at=at, replaced_by=None))


async def _narrowed_key(session: AsyncSession, leaf: Leaf) -> bool:
    """Narrow a key as it was; what would widen it, because more was lost, is left out."""
    key, to = await session.get(ApiKey, leaf.entry.subject), leaf.entry.detail.get("to")
    if key is None or not isinstance(to, dict):
        return False
    new = {
        name: datetime.fromisoformat(value) if name == "expires_at" else value
        for name, value in to.items()
        if name in NARROWED
    }
    narrower = {
        name: value
        for name, value in new.items()
        if value != getattr(key, name)
        and widened({name: getattr(key, name)}, {name: value}) is None
    }
    for name, value in narrower.items():
        setattr(key, name, value)
    return bool(narrower)


async def _grant(session: AsyncSession, leaf: Leaf) -> bool:
    ends = update(Grant).where(Grant.id == leaf.entry.subject, Grant.revoked_at.is_(None))
    values = {"revoked_at": leaf.entry.at, "revoked_by": leaf.entry.actor}
    return await _did(session, ends.values(**values))


async def _application(session: AsyncSession, leaf: Leaf) -> bool:
    """End an application that its applicant has withdrawn, or a reviewer rejected."""
    state = State.REJECTED if leaf.entry.tag == Tag.APPLICATION_REJECTED else State.WITHDRAWN
    ends = update(Application).where(
        Application.id == leaf.entry.subject, Application.state.in_(map(str, OPEN))
    )
    return await _did(session, ends.values(state=str(state), since=leaf.entry.at))


async def use_up(session: AsyncSession, application: object, now: datetime) -> bool:
    """End an approved application of which a grant was made, and revoked, after the backup."""
    ends = update(Application).where(
        Application.id == application, Application.state == str(State.APPROVED)
    )
    return await _did(session, ends.values(state=str(State.WITHDRAWN), since=now))


async def _suspended_grant(session: AsyncSession, leaf: Leaf) -> bool:
    entry = leaf.entry
    ends = update(Grant).where(Grant.id == entry.subject, Grant.suspended_at.is_(None))
    reason = str(entry.detail.get("reason", ""))
    values = {"suspended_at": entry.at, "suspended_by": entry.actor, "suspended_reason": reason}
    return await _did(session, ends.values(**values))


async def _evidence(session: AsyncSession, leaf: Leaf) -> bool:
    ends = update(EvidenceItem).where(
        EvidenceItem.id == leaf.entry.subject, EvidenceItem.retracted_at.is_(None)
    )
    values = {"retracted_at": leaf.entry.at, "retracted_by": leaf.entry.actor}
    return await _did(session, ends.values(**values))


async def _suspended(session: AsyncSession, leaf: Leaf) -> bool:
    """Suspend a person or an organisation."""
    kind = Person if leaf.entry.tag == Tag.PERSON_CHANGED else Organisation
    if leaf.entry.detail.get("state") != SUSPENDED:
        return False
    ends = update(kind).where(kind.id == leaf.entry.subject, kind.state != SUSPENDED)
    return await _did(session, ends.values(state=SUSPENDED))


async def _roles(session: AsyncSession, leaf: Leaf) -> bool:
    """Take the roles that were not left to a person; none is given."""
    held, left = await roles_of(session, leaf.entry.subject), leaf.entry.detail.get("roles")
    gone = [
        role for role in held if role_text(role) not in (left if isinstance(left, list) else ())
    ]
    for role in gone:
        mine = (PersonRole.person_id == leaf.entry.subject, PersonRole.duty == str(role.duty))
        await session.execute(
            delete(PersonRole).where(*mine, PersonRole.domain == (role.domain or ""))
        )
    return bool(gone)


async def _identity(session: AsyncSession, leaf: Leaf) -> bool:
    return await _did(session, delete(Identity).where(Identity.id == leaf.entry.subject))


async def _engine(session: AsyncSession, leaf: Leaf) -> bool:
    return await _did(session, delete(Engine).where(Engine.id == leaf.entry.subject))


async def _checkpoint(session: AsyncSession, leaf: Leaf) -> bool:
    if await session.get(Revocation, leaf.entry.subject) is not None:
        return False
    reason = str(leaf.entry.detail.get("reason"))
    await revoke_checkpoint(session, leaf.entry.subject, reason, actor=ACTOR, now=leaf.entry.at)
    return True


async def _closure(session: AsyncSession, leaf: Leaf) -> bool:
    """Close a door that was closed; not as an earlier restore did, since this one does so."""
    entry = leaf.entry
    if entry.actor == ACTOR or await session.get(Closure, entry.subject) is not None:
        return False
    domain = entry.detail.get("domain")
    closure = Closure(
        id=entry.subject,
        domain=domain if isinstance(domain, str) else None,
        reason=str(entry.detail.get("reason")),
        closed_by=entry.actor,
        closed_at=entry.at,
    )
    session.add(closure)
    return True


async def _webhook(session: AsyncSession, leaf: Leaf) -> bool:
    ends = update(Webhook).where(Webhook.id == leaf.entry.subject, Webhook.ended_at.is_(None))
    return await _did(session, ends.values(ended_at=leaf.entry.at))


async def _address(session: AsyncSession, leaf: Leaf) -> bool:
    """Forget an address of a person or of an organisation's contact."""
    owner = leaf.entry.subject
    mine = (Address.person_id == owner) | (Address.organisation_id == owner)
    ends = update(Address).where(mine, Address.email.is_not(None))
    gone = {"email": None, "verified_at": None, "verified_by": None}
    return await _did(session, ends.values(**gone, erased_at=leaf.entry.at))


async def _contents_key(session: AsyncSession, leaf: Leaf) -> bool:
    key = await session.get(ContentKey, leaf.entry.subject)
    if key is None or key.destroyed_at is not None:
        return False
    await destroy_key(session, key.id, actor=ACTOR, now=leaf.entry.at, lost_entry=leaf.seq)
    return True


async def _contents(session: AsyncSession, leaf: Leaf) -> bool:
    """Delete the parts that two people had destroyed; their keys have entries of their own."""
    detail = leaf.entry.detail
    gone = delete(KeptContent)
    if detail.get("grant") is None:
        return await _did(session, gone.where(KeptContent.request_id == detail.get("request")))
    keys = [
        key.id for key in await session.scalars(select(ContentKey)) if detail["grant"] in key.grants
    ]
    of_then = (KeptContent.key_id.in_(keys), KeptContent.at <= leaf.entry.at)
    return await _did(session, gone.where(*of_then))


async def _did(session: AsyncSession, statement: Update | Delete) -> bool:
    quiet = statement.execution_options(synchronize_session=False)
    return cast("CursorResult[object]", await session.execute(quiet)).rowcount > 0


AGAIN: Mapping[str, Callable[[AsyncSession, Leaf], Awaitable[bool]]] = {
    Tag.KEY_REVOKED: _key,
    Tag.KEY_LEAKED: _key,
    Tag.KEY_NARROWED: _narrowed_key,
    Tag.GRANT_REVOKED: _grant,
    Tag.GRANT_SUSPENDED: _suspended_grant,
    Tag.EVIDENCE_RETRACTED: _evidence,
    Tag.PERSON_CHANGED: _suspended,
    Tag.ORGANISATION_CHANGED: _suspended,
    Tag.ROLES_CHANGED: _roles,
    Tag.APPLICATION_REJECTED: _application,
    Tag.APPLICATION_WITHDRAWN: _application,
    Tag.IDENTITY_UNBOUND: _identity,
    Tag.ENGINE_REMOVED: _engine,
    Tag.CHECKPOINT_REVOKED: _checkpoint,
    Tag.DOOR_CLOSED: _closure,
    Tag.WEBHOOK_REMOVED: _webhook,
    Tag.WEBHOOK_GONE: _webhook,
    Tag.ADDRESS_ERASED: _address,
    Tag.CONTENTS_KEY_DESTROYED: _contents_key,
    Tag.DESTRUCTION_APPROVED: _contents,
}
"""What takes away, by its tag; each says whether there was something to take."""
