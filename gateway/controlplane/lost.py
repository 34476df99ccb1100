"""What an earlier database does not know any more, from an export of the log that was taken later.

Keys and grants that were revoked meanwhile are revoked again; everything else that happened is
listed, for people to do again or to leave.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.entry import Leaf, read_leaf
from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.restored import ACTOR
from gateway.tables import ApiKey, Grant

REQUESTS = "dataplane:"


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


async def end_again(session: AsyncSession, changes: Iterable[Leaf], now: datetime) -> list[str]:
    """Revoke again what was revoked; return a line for each.

    Args:
        session: The transaction.
        changes: What happened after the backup.
        now: The moment.
    """
    done = []
    for leaf in changes:
        entry, statement = leaf.entry, None
        if entry.tag in (Tag.KEY_REVOKED, Tag.KEY_LEAKED):
            ends = update(ApiKey).where(ApiKey.id == entry.subject)
            statement = ends.where(ApiKey.revoked_at.is_(None) | (ApiKey.revoked_at > entry.at))
            statement = statement.values(revoked_at=entry.at).returning(ApiKey.id)
        elif entry.tag == Tag.GRANT_REVOKED:
            ends = update(Grant).where(Grant.id == entry.subject, Grant.revoked_at.is_(None))
            statement = ends.values(revoked_at=entry.at, revoked_by=entry.actor).returning(Grant.id)
        if statement is None or (await session.scalars(statement)).first() is None:
            continue
        await record_change(
            session, Tag(entry.tag), entry.subject, actor=ACTOR, now=now, lost_entry=leaf.seq
        )
        done.append(f"{entry.tag} {entry.subject}")
    return done
