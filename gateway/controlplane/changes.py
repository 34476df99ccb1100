"""What every change does in its own transaction: leave entry and notices, raise the version."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import delete, insert, inspect, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.announcements import CHANGES, announce
from gateway.audit.entry import Entry
from gateway.audit.intents import KEY_REFUSED
from gateway.audit.log import append
from gateway.notices.occasions import tell
from gateway.tables import AuthorizationChange, AuthorizationVersion, Base

KEPT_CHANGES = 10_000
"""A gateway that is further behind reads everything."""
Row = TypeVar("Row", bound=Base)


class Tag(StrEnum):
    """What happened: `source:subject:action`."""

    TIER_CREATED = "admin:tier:created"
    TIER_CHANGED = "admin:tier:changed"
    TIER_PROPOSED = "admin:tier:proposed"
    TIER_WITHDRAWN = "admin:tier:withdrawn"
    PERSON_ADDED = "admin:person:added"
    PERSON_CHANGED = "admin:person:changed"
    PERSON_MOVED = "admin:person:moved"
    KEY_CREATED = "admin:key:created"
    KEY_ROTATED = "admin:key:rotated"
    KEY_NARROWED = "admin:key:narrowed"
    KEY_REVOKED = "admin:key:revoked"
    KEY_REFUSED = KEY_REFUSED
    KEY_LEAKED = "identity:key:leaked"
    GRANT_CREATED = "admin:grant:created"
    GRANT_REVOKED = "admin:grant:revoked"
    ENGINE_ADDED = "admin:engine:added"
    ENGINE_REMOVED = "admin:engine:removed"
    ALIAS_PROMOTED = "registry:alias:promoted"
    ALIAS_WITHDRAWN = "registry:alias:withdrawn"
    ALIAS_RESTORED = "registry:alias:restored"
    CHECKPOINT_REVOKED = "registry:checkpoint:revoked"
    IDENTITY_BOUND = "identity:subject:bound"
    IDENTITY_UNBOUND = "identity:subject:unbound"
    SESSION_BEGUN = "identity:session:begun"
    SESSION_ENDED = "identity:session:ended"
    FIRST_ADMINISTRATOR_MADE = "identity:administrator:made"
    ORGANISATION_CHANGED = "workflow:organisation:changed"
    ROLES_CHANGED = "workflow:roles:changed"
    TERMS_PUBLISHED = "workflow:terms:published"
    TERMS_ACCEPTED = "workflow:terms:accepted"
    EVIDENCE_ADDED = "workflow:evidence:added"
    EVIDENCE_ACCEPTED = "workflow:evidence:accepted"
    EVIDENCE_RETRACTED = "workflow:evidence:retracted"
    APPLICATION_CREATED = "workflow:application:create"
    APPLICATION_EDITED = "workflow:application:edit"
    APPLICATION_SUBMITTED = "workflow:application:submit"
    APPLICATION_TAKEN_UP = "workflow:application:take_up"
    APPLICATION_PASSED = "workflow:application:pass"
    APPLICATION_RETURNED = "workflow:application:return"
    APPLICATION_REJECTED = "workflow:application:reject"
    APPLICATION_APPROVED = "workflow:application:approve"
    APPLICATION_APPEALED = "workflow:application:appeal"
    APPLICATION_GRANTED = "workflow:application:accept_terms"
    APPLICATION_WITHDRAWN = "workflow:application:withdraw"
    GRANT_SUSPENDED = "workflow:grant:suspended"
    GRANT_RESUMED = "workflow:grant:resumed"
    DOOR_CLOSED = "workflow:door:closed"
    OPENING_REQUESTED = "workflow:opening:requested"
    OPENING_CONFIRMED = "workflow:opening:confirmed"
    USAGE_REVIEWED = "workflow:grant:usage_reviewed"
    ADDRESS_ASKED = "contact:address:asked"
    ADDRESS_CONFIRMED = "contact:address:confirmed"
    ADDRESS_ERASED = "contact:address:erased"
    INSTITUTION_MAIL_ASKED = "contact:institution_mail:asked"
    INSTITUTION_MAIL_REFUSED = "contact:institution_mail:refused"
    SPONSOR_SET = "contact:sponsor:set"
    SPONSOR_REMOVED = "contact:sponsor:removed"
    WEBHOOK_ADDED = "contact:webhook:added"
    WEBHOOK_ROTATED = "contact:webhook:rotated"
    WEBHOOK_REMOVED = "contact:webhook:removed"
    WEBHOOK_GONE = "contact:webhook:gone"
    PEOPLE_EXPORTED = "transfer:people:exported"
    PEOPLE_IMPORTED = "transfer:people:imported"
    VISAS_IMPORTED = "transfer:visas:imported"
    VISAS_ISSUED = "transfer:visas:issued"
    NOTICE_RESENT = "contact:notice:resent"
    CONTENTS_ASKED = "contents:opening:asked"
    CONTENTS_APPROVED = "contents:opening:approved"
    CONTENTS_RELEASED = "contents:opening:released"
    DESTRUCTION_ASKED = "contents:destruction:asked"
    DESTRUCTION_APPROVED = "contents:destruction:approved"
    CONTENTS_KEY_DESTROYED = "contents:key:destroyed"
    BACKUP_MADE = "operator:backup:made"
    BACKUP_VERIFIED = "operator:backup:verified"


async def locked(session: AsyncSession, kind: type[Row], row_id: str | int) -> Row | None:
    """Return a row that nobody else changes before this transaction ends; None if there is none.

    `SELECT … FOR UPDATE` is no lock on SQLite, where what is read before the first write may be
    old by the time of that write; a write that changes nothing locks on both databases.

    Args:
        session: The transaction.
        kind: The row's class, with one column as its key.
        row_id: The key.
    """
    (key,) = inspect(kind).primary_key
    await session.execute(update(kind).where(key == row_id).values({key.name: key}))
    return await session.get(kind, row_id, populate_existing=True)


async def record_change(
    session: AsyncSession,
    tag: Tag,
    subject: str,
    *,
    actor: str,
    now: datetime,
    **detail: object,
) -> None:
    """Append to the audit log and raise the authorization version.

    Args:
        session: The transaction of the change itself.
        tag: What happened.
        subject: The id of what it happened to.
        actor: Who did it.
        now: When.
        detail: JSON values that say more; never a secret.
    """
    # The log's head first, always: a transaction that records an event before a change holds it
    # already, and would wait for one that had locked the version first.
    await record_event(session, tag, subject, actor=actor, now=now, **detail)
    await _raise_version(session, tag, subject, detail.get("person"))


async def _raise_version(session: AsyncSession, tag: Tag, subject: str, person: object) -> None:
    mark = uuid.uuid4().hex
    raised = await session.execute(
        update(AuthorizationVersion)
        .values(version=AuthorizationVersion.version + 1, mark=mark)
        .returning(AuthorizationVersion.version)
        .execution_options(synchronize_session=False)
    )
    version = raised.scalar_one()
    person_id = person if isinstance(person, str) else None
    row = {"mark": mark, "tag": str(tag), "subject": subject, "person_id": person_id}
    # Rows of this number and above are of another history: somebody has put the version back.
    gone = ~AuthorizationChange.version.between(version - KEPT_CHANGES + 1, version - 1)
    await session.execute(
        delete(AuthorizationChange).where(gone).execution_options(synchronize_session=False)
    )
    await session.execute(insert(AuthorizationChange), [{"version": version, **row}])
    await announce(session, CHANGES)


async def record_event(
    session: AsyncSession,
    tag: Tag,
    subject: str,
    *,
    actor: str,
    now: datetime,
    **detail: object,
) -> None:
    """Append to the audit log what changes nobody's access; arguments as above."""
    await tell(session, str(tag), subject, now)
    await append(session, [Entry(now, actor, str(tag), subject, detail)])
