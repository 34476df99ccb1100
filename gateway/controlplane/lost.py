"""What an earlier database does not know any more, from an export of the log that was taken later.

What one person may do alone, because it only takes away, is done again: keys and grants that were
revoked, suspensions that stood, evidence that was retracted, contents that were destroyed.
Everything that happened is listed, for people to do again or to leave.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, cast

from sqlalchemy import Delete, Update, delete, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.entry import Leaf, read_leaf
from gateway.controlplane.changes import Tag, record_change, record_event
from gateway.controlplane.contents import destroy_key
from gateway.controlplane.restored import ACTOR
from gateway.policy.applications import State
from gateway.policy.key_terms import widened
from gateway.tables import (
    ApiKey,
    Application,
    ContentKey,
    EvidenceItem,
    Grant,
    Identity,
    KeptContent,
    Organisation,
    Person,
)
from gateway.tables.keys import LIMITS

REQUESTS = "dataplane:"
SUSPENDED = "suspended"
NARROWED = ("endpoints", "domains", "addresses", "scopes", "expires_at", *LIMITS)


class Lost(NamedTuple):
    """What happened after the backup."""

    changes: list[Leaf]
    requests: Counter[str]
    """How many entries of each tag are about requests."""


def lost_entries(lines: Iterable[bytes], size: int) -> Lost:
    """Return what an export holds beyond the first `size` entries; the export must be verified."""
    changes, requests = [], Counter[str]()
    for line in lines:
        if line.startswith(b'{"checkpoint"') or not line.strip():
            continue
        leaf = read_leaf(line.rstrip(b"\n"))
        if leaf.seq < size:
            continue
        if leaf.entry.tag.startswith(REQUESTS):
            requests[leaf.entry.tag] += 1
        else:
            changes.append(leaf)
    return Lost(changes, requests)


async def end_again(session: AsyncSession, changes: Sequence[Leaf], now: datetime) -> list[str]:
    """Take away again what was taken away; return a line for each.

    Args:
        session: The transaction.
        changes: What happened after the backup.
        now: The moment.
    """
    standing = {leaf.entry.subject: leaf.seq for leaf in changes if _has_state(leaf)}
    granted = {
        leaf.entry.subject: leaf.entry.detail.get("application")
        for leaf in changes
        if leaf.entry.tag == Tag.GRANT_CREATED
    }
    done = []
    for leaf in changes:
        entry = leaf.entry
        again = AGAIN.get(entry.tag)
        if again is None or (_has_state(leaf) and standing[entry.subject] != leaf.seq):
            continue
        if await again(session, leaf):
            done.append(f"{entry.tag} {entry.subject}")
            if entry.tag != Tag.CONTENTS_KEY_DESTROYED:  # It leaves its own entry.
                await _record(session, Tag(entry.tag), entry.subject, leaf, now)
        elif entry.tag == Tag.GRANT_REVOKED and await _use_up(session, granted.get(entry.subject)):
            done.append(f"{entry.tag} {entry.subject}, of an application that granted it")
    return done


async def _record(session: AsyncSession, tag: Tag, subject: str, leaf: Leaf, now: datetime) -> None:
    record = record_event if tag == Tag.DESTRUCTION_APPROVED else record_change
    await record(session, tag, subject, actor=ACTOR, now=now, lost_entry=leaf.seq)


def _has_state(leaf: Leaf) -> bool:
    """Whether an entry says that something is suspended, or is not any more."""
    if leaf.entry.tag in (Tag.GRANT_SUSPENDED, Tag.GRANT_RESUMED):
        return True
    is_of_state = leaf.entry.tag in (Tag.PERSON_CHANGED, Tag.ORGANISATION_CHANGED)
    return is_of_state and "state" in leaf.entry.detail


async def _key(session: AsyncSession, leaf: Leaf) -> bool:
    at = leaf.entry.at
    ends = update(ApiKey).where(ApiKey.id == leaf.entry.subject)
    ends = ends.where(ApiKey.revoked_at.is_(None) | (ApiKey.revoked_at > at))
    return await _did(session, ends.values(revoked_at=at))


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


async def _use_up(session: AsyncSession, application: object) -> bool:
    """Let nobody take a grant anew that was made of an approval after the backup, and revoked."""
    ends = update(Application).where(
        Application.id == application, Application.state == str(State.APPROVED)
    )
    return await _did(session, ends.values(state=str(State.GRANTED)))


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


async def _identity(session: AsyncSession, leaf: Leaf) -> bool:
    return await _did(session, delete(Identity).where(Identity.id == leaf.entry.subject))


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
    Tag.IDENTITY_UNBOUND: _identity,
    Tag.CONTENTS_KEY_DESTROYED: _contents_key,
    Tag.DESTRUCTION_APPROVED: _contents,
}
"""What takes away, by its tag; each says whether there was something to take."""
