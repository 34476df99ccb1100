"""What an earlier database does not know any more, from an export of the log that was taken later.

What was taken away meanwhile is taken away again (`again`); everything that happened is listed, for
people to do again or to leave.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.entry import Leaf, read_leaf
from gateway.controlplane.again import AGAIN, OWN_ENTRY, use_up
from gateway.controlplane.changes import Tag, record_change
from gateway.controlplane.restored import ACTOR

REQUESTS = "dataplane:"
OF_APPLICATIONS = "workflow:application:"
TO_AND_FRO: Mapping[str, str] = {
    Tag.GRANT_SUSPENDED: "grant",
    Tag.GRANT_RESUMED: "grant",
    Tag.PERSON_CHANGED: "state",
    Tag.ORGANISATION_CHANGED: "state",
    Tag.ROLES_CHANGED: "roles",
}
"""What can be given back: of each subject the last word counts."""


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
    """Take away again what was taken away and not given back; return a line for each.

    Args:
        session: The transaction.
        changes: What happened after the backup.
        now: The moment.
    """
    last = {_said_of(leaf): leaf.seq for leaf in changes}
    lifted = set(_named(changes, Tag.OPENING_CONFIRMED, "closure").values())
    applications = _named(changes, Tag.GRANT_CREATED, "application")
    done = []
    for leaf in changes:
        tag, subject = leaf.entry.tag, leaf.entry.subject
        again = AGAIN.get(tag)
        can_be = tag in TO_AND_FRO or tag.startswith(OF_APPLICATIONS)
        is_undone = can_be and last[_said_of(leaf)] != leaf.seq
        if again is None or is_undone or subject in lifted:
            continue
        if await again(session, leaf):
            done.append(f"{tag} {subject}")
        elif tag == Tag.GRANT_REVOKED and await use_up(session, applications.get(subject), now):
            # The grant is not there, and would only have to be taken once more.
            tag, subject = Tag.APPLICATION_WITHDRAWN, str(applications[subject])
            done.append(f"{tag} {subject}")
        else:
            continue
        if tag not in OWN_ENTRY:
            await record_change(
                session, Tag(tag), subject, actor=ACTOR, now=now, lost_entry=leaf.seq
            )
    return done


def _said_of(leaf: Leaf) -> tuple[str, str]:
    """Return what an entry has the last word of, for the time being."""
    kind = TO_AND_FRO.get(leaf.entry.tag, "")
    if leaf.entry.tag.startswith(OF_APPLICATIONS):
        kind = "application"
    if kind == "state" and "state" not in leaf.entry.detail:
        kind = "other"
    return kind, leaf.entry.subject


def _named(changes: Iterable[Leaf], tag: Tag, name: str) -> dict[str, object]:
    """Return what the entries of a tag name beside their subjects, by those."""
    entries = [leaf.entry for leaf in changes]
    return {one.subject: one.detail.get(name) for one in entries if one.tag == tag}
