"""The log in the database: appending, reading, proving; every function works in a transaction.

Appending locks the head's row until the transaction ends, on every database and replica: that is
what makes the numbers gapless. So it comes late in a transaction, and its transaction is short.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.checkpoint import Checkpoint, Note, SignerKey, parse_note
from gateway.audit.entry import Entry, make_leaf
from gateway.audit.tree import (
    Frontier,
    Node,
    Range,
    consistency_ranges,
    fold,
    inclusion_ranges,
    leaf_hash,
    root_of,
    subtrees,
)
from gateway.errors import NotReadyError
from gateway.tables import AuditCheckpoint, AuditEntry, AuditHead, AuditNode

NODE_LEVELS = 8
"""Of the inner nodes only every eighth level is kept: 1/255 of the entries, 128 rows for a hash."""


class Proven(NamedTuple):
    """A leaf, its place, and the hashes that lead from it to a checkpoint's root."""

    seq: int
    leaf: bytes
    proof: list[bytes]


async def append(session: AsyncSession, entries: Sequence[Entry]) -> int:
    """Append entries and return the number of the first; durable when the transaction commits.

    Raises:
        NotReadyError: The log has no head: the schema is not as it should be.
    """
    bodies = [entry.body for entry in entries]
    # An update, so that SQLite too takes its lock before it reads.
    locked = await session.execute(
        update(AuditHead)
        .values(size=AuditHead.size)
        .returning(AuditHead.size, AuditHead.frontier)
        .execution_options(synchronize_session=False)
    )
    head = locked.one_or_none()
    if head is None:
        raise NotReadyError("The audit log has no head")
    first: int = head.size
    frontier = Frontier(first, head.frontier)
    nodes: list[dict[str, object]] = []

    def keep(node: Node, value: bytes) -> None:
        if node.level % NODE_LEVELS == 0:
            nodes.append({"level": node.level, "position": node.position, "hash": value})

    rows = []
    for entry, body in zip(entries, bodies, strict=True):
        leaf = make_leaf(body, frontier.size)
        value = leaf_hash(leaf)
        rows.append(
            {
                "seq": frontier.size,
                "at": entry.at,
                "actor": entry.actor,
                "tag": entry.tag,
                "subject": entry.subject,
                "leaf": leaf,
                "hash": value,
            }
        )
        frontier.append(value, keep)
    await session.execute(insert(AuditEntry), rows)
    if nodes:
        await session.execute(insert(AuditNode), nodes)
    await session.execute(
        update(AuditHead)
        .values(size=frontier.size, frontier=frontier.packed)
        .execution_options(synchronize_session=False)
    )
    return first


async def read_head(session: AsyncSession, origin: str) -> Checkpoint:
    """Return the log's state, unsigned.

    Raises:
        NotReadyError: The log has no head.
    """
    row = (await session.execute(select(AuditHead.size, AuditHead.frontier))).one_or_none()
    if row is None:
        raise NotReadyError("The audit log has no head")
    return Checkpoint(origin, row.size, Frontier(row.size, row.frontier).root)


async def sign_head(session: AsyncSession, signer: SignerKey, now: datetime) -> Note:
    """Return the newest checkpoint, signed; keep it if it is new.

    Replicas that sign the same state make the same bytes, so it does not matter who is first.
    """
    head = await read_head(session, signer.name)
    kept = await session.get(AuditCheckpoint, head.size)
    if kept is not None:
        return parse_note(kept.note)
    note = Note(head, (signer.sign(head),))
    try:
        async with session.begin_nested():
            session.add(AuditCheckpoint(size=head.size, at=now, note=note.text))
    except IntegrityError:
        pass  # Another replica was first, with the same bytes.
    return note


async def list_checkpoints(session: AsyncSession, up_to: int) -> list[str]:
    """Return the kept checkpoints of at most that many entries, the oldest first."""
    query = (
        select(AuditCheckpoint.note)
        .where(AuditCheckpoint.size <= up_to)
        .order_by(AuditCheckpoint.size)
    )
    return list(await session.scalars(query))


async def prove_inclusion(session: AsyncSession, seq: int, size: int) -> Proven:
    """Return an entry with the proof that it is in the tree of `size` entries.

    Raises:
        ValueError: That tree has no such entry.
    """
    ranges = inclusion_ranges(seq, size)
    leaf = await session.scalar(select(AuditEntry.leaf).where(AuditEntry.seq == seq))
    return Proven(seq, leaf or b"", [await _hash(session, each) for each in ranges])


async def prove_consistency(session: AsyncSession, old: int, size: int) -> list[bytes]:
    """Return the proof that the tree of `old` entries grew into that of `size`; empty from 0."""
    if old == 0:
        return []
    return [await _hash(session, each) for each in consistency_ranges(old, size)]


async def _hash(session: AsyncSession, leaves: Range) -> bytes:
    return fold([await _node_hash(session, node) for node in subtrees(leaves)])


async def _node_hash(session: AsyncSession, node: Node) -> bytes:
    above = node.level % NODE_LEVELS
    base, start = node.level - above, node.position << above
    end = start + (1 << above)
    query = (
        select(AuditEntry.hash)
        .where(AuditEntry.seq >= start, AuditEntry.seq < end)
        .order_by(AuditEntry.seq)
        if base == 0
        else select(AuditNode.hash)
        .where(AuditNode.level == base, AuditNode.position >= start, AuditNode.position < end)
        .order_by(AuditNode.position)
    )
    return root_of(list(await session.scalars(query)))


async def list_entries(
    session: AsyncSession, *, tag: str | None, subject: str | None, limit: int, offset: int
) -> list[AuditEntry]:
    """Return entries, the newest first; `tag` may be the beginning of one, up to a colon."""
    query = select(AuditEntry).order_by(AuditEntry.seq.desc()).limit(limit).offset(offset)
    if tag is not None:
        query = query.where(
            (AuditEntry.tag == tag) | (func.substr(AuditEntry.tag, 1, len(tag) + 1) == f"{tag}:")
        )
    if subject is not None:
        query = query.where(AuditEntry.subject == subject)
    return list(await session.scalars(query))
