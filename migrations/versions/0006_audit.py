"""One audit log, as a Merkle tree; the events of before become its first entries.

Revision ID: 0006
Revises: 0005
"""

import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from gateway.audit.entry import Entry, make_leaf
from gateway.audit.tree import Frontier, Node, leaf_hash

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ENTRIES = sa.table(
    "audit_entries",
    sa.column("seq", sa.BigInteger),
    sa.column("at", sa.DateTime(timezone=True)),
    sa.column("actor", sa.String),
    sa.column("tag", sa.String),
    sa.column("subject", sa.String),
    sa.column("leaf", sa.LargeBinary),
    sa.column("hash", sa.LargeBinary),
)
EVENTS = sa.table(
    "audit_events",
    sa.column("id", sa.Integer),
    sa.column("at", sa.DateTime(timezone=True)),
    sa.column("actor", sa.String),
    sa.column("tag", sa.String),
    sa.column("subject", sa.String),
    sa.column("detail", sa.JSON),
)
NODES = sa.table(
    "audit_nodes",
    sa.column("level", sa.Integer),
    sa.column("position", sa.BigInteger),
    sa.column("hash", sa.LargeBinary),
)
NODE_LEVELS = 8


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "audit_entries",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("tag", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entries")),
    )
    op.create_index(op.f("ix_audit_entries_tag"), "audit_entries", ["tag"])
    op.create_index(op.f("ix_audit_entries_subject"), "audit_entries", ["subject"])
    op.create_table(
        "audit_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_audit_nodes")),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_checkpoints")),
    )
    frontier = _take_over_events()
    op.bulk_insert(head, [{"id": 1, "size": frontier.size, "frontier": frontier.packed}])
    _forbid_changes()
    op.drop_table("audit_events")


def downgrade() -> None:
    """Undo the change; entries become events again, without their proofs."""
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("tag", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index(op.f("ix_audit_events_at"), "audit_events", ["at"])
    op.create_index(op.f("ix_audit_events_tag"), "audit_events", ["tag"])
    bind = op.get_bind()
    for row in bind.execute(sa.select(ENTRIES).order_by(ENTRIES.c.seq)).all():
        detail = json.loads(row.leaf)["entry"]["detail"]
        values = {"at": row.at, "actor": row.actor, "tag": row.tag, "subject": row.subject}
        bind.execute(EVENTS.insert().values(**values, detail=detail))
    for table in ("audit_checkpoints", "audit_head", "audit_nodes", "audit_entries"):
        op.drop_table(table)
    if bind.dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_entries_stay")


def _take_over_events() -> Frontier:
    """Copy the events of before, in their order, and return the tree's edge after them."""
    bind, frontier = op.get_bind(), Frontier()

    def keep(node: Node, value: bytes) -> None:
        if node.level % NODE_LEVELS == 0:
            row = {"level": node.level, "position": node.position, "hash": value}
            bind.execute(NODES.insert().values(**row))

    for event in bind.execute(sa.select(EVENTS).order_by(EVENTS.c.id)).all():
        at: datetime = event.at if event.at.tzinfo else event.at.replace(tzinfo=UTC)
        entry = Entry(at, event.actor, event.tag, event.subject, event.detail)
        leaf = make_leaf(entry.body, frontier.size)
        values = {"actor": entry.actor, "tag": entry.tag, "subject": entry.subject, "leaf": leaf}
        bind.execute(
            ENTRIES.insert().values(seq=frontier.size, at=event.at, hash=leaf_hash(leaf), **values)
        )
        frontier.append(leaf_hash(leaf), keep)
    return frontier


def _forbid_changes() -> None:
    """Let the database refuse to change or remove an entry, whoever asks."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_entries_stay() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_entries_stay BEFORE UPDATE OR DELETE OR TRUNCATE "
            "ON audit_entries EXECUTE FUNCTION audit_entries_stay()"
        )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_entries_stay_{action.lower()} BEFORE {action} "
            "ON audit_entries BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
