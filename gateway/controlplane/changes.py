"""What every change of access does in its own transaction: raise the version, leave an entry."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.entry import Entry
from gateway.audit.log import append
from gateway.tables import AuthorizationVersion


class Tag(StrEnum):
    """What happened: `source:subject:action`."""

    TIER_CREATED = "admin:tier:created"
    TIER_CHANGED = "admin:tier:changed"
    PERSON_ADDED = "admin:person:added"
    PERSON_CHANGED = "admin:person:changed"
    KEY_CREATED = "admin:key:created"
    KEY_ROTATED = "admin:key:rotated"
    KEY_REVOKED = "admin:key:revoked"
    GRANT_CREATED = "admin:grant:created"
    GRANT_REVOKED = "admin:grant:revoked"
    ENGINE_ADDED = "admin:engine:added"
    ENGINE_REMOVED = "admin:engine:removed"
    ALIAS_PROMOTED = "registry:alias:promoted"
    ALIAS_WITHDRAWN = "registry:alias:withdrawn"
    ALIAS_RESTORED = "registry:alias:restored"
    CHECKPOINT_REVOKED = "registry:checkpoint:revoked"


async def record_change(
    session: AsyncSession,
    tag: Tag,
    subject: str,
    *,
    actor: str,
    now: datetime,
    **detail: object,
) -> None:
    """Raise the authorization version and append to the audit log.

    Args:
        session: The transaction of the change itself.
        tag: What happened.
        subject: The id of what it happened to.
        actor: Who did it.
        now: When.
        detail: JSON values that say more; never a secret.
    """
    await session.execute(
        update(AuthorizationVersion).values(version=AuthorizationVersion.version + 1)
    )
    await append(session, [Entry(now, actor, str(tag), subject, detail)])
