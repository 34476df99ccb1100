"""Versions of tiers, changed by two people; operators; requests with an idempotency key.

Revision ID: 0009
Revises: 0008
"""

import hashlib
import json
import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

DUTIES = "'identity_reviewer', 'domain_reviewer', 'approver', 'auditor', 'administrator'"
VERIFICATIONS = {
    "affiliation": ["peer", "so", "system"],
    "identity": ["dac", "system"],
    "oversight": ["so"],
    "training": ["so", "system"],
}
"""Whose word counted for everybody until now."""
TIERS = sa.table(
    "tiers",
    sa.column("name", sa.String()),
    sa.column("description", sa.String()),
    sa.column("grantable", sa.Boolean()),
    sa.column("capabilities", sa.JSON()),
    sa.column("priority", sa.Integer()),
    sa.column("max_grant_days", sa.Integer()),
    sa.column("requests_per_minute", sa.Integer()),
    sa.column("tokens_per_minute", sa.Integer()),
    sa.column("tokens_per_day", sa.Integer()),
    sa.column("max_concurrent", sa.Integer()),
    sa.column("organisation_multiple", sa.Integer()),
    sa.column("verifications", sa.JSON()),
    sa.column("log_level", sa.String()),
    sa.column("step_up", sa.JSON(none_as_null=True)),
    sa.column("version", sa.Integer()),
)
OPERATOR = {
    "name": "operator",
    "description": "People who run the gateway: the unlearned checkpoints, every request logged.",
    "grantable": False,
    "capabilities": ["raw_completions"],
    "priority": 20,
    "max_grant_days": 1,
    "requests_per_minute": 600,
    "tokens_per_minute": 100_000,
    "tokens_per_day": 10_000_000,
    "max_concurrent": 64,
    "organisation_multiple": 10,
    "verifications": VERIFICATIONS,
    "log_level": "all",
    "step_up": None,
    "version": 1,
}


def upgrade() -> None:
    """Apply the change; column by column, since SQLite cannot rebuild a table that others name."""
    for column in (
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column(
            "verifications", sa.JSON(), nullable=False, server_default=json.dumps(VERIFICATIONS)
        ),
        sa.Column("log_level", sa.String(length=20), nullable=False, server_default="base"),
        sa.Column("step_up", sa.JSON(), nullable=True),
    ):
        op.add_column("tiers", column)
    changes = _create_changes()
    bind = op.get_bind()
    if not bind.execute(sa.select(TIERS.c.name).where(TIERS.c.name == "operator")).first():
        bind.execute(TIERS.insert().values(**OPERATOR))
    _record_first_versions(changes)
    _create_idempotent_requests()
    _allow_duties(f"{DUTIES}, 'operator'")
    op.execute("UPDATE authorization_version SET version = version + 1")


def downgrade() -> None:
    """Undo the change; the operators' tier stays where it has members."""
    op.execute("DELETE FROM person_roles WHERE duty = 'operator'")
    _allow_duties(DUTIES)
    op.drop_table("idempotent_requests")
    op.drop_table("tier_changes")
    for name in ("step_up", "log_level", "verifications", "version"):
        op.drop_column("tiers", name)
    op.execute(
        "DELETE FROM tiers WHERE name = 'operator' "
        "AND NOT EXISTS (SELECT 1 FROM people WHERE people.tier = 'operator')"
    )
    op.execute("UPDATE authorization_version SET version = version + 1")


def _create_changes() -> sa.Table:
    table = op.create_table(
        "tier_changes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tier", sa.String(length=63), nullable=False),
        sa.Column("base_version", sa.Integer(), nullable=False),
        sa.Column("terms", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("takes_two", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("proposed_by", sa.String(length=200), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved_by", sa.String(length=200), nullable=True),
        sa.Column("withdrawn_by", sa.String(length=200), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("in_force_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("approved_by <> proposed_by", name=op.f("ck_tier_changes_two_people")),
        sa.CheckConstraint(
            "(version IS NULL) = (in_force_at IS NULL)", name=op.f("ck_tier_changes_in_force")
        ),
        sa.CheckConstraint(
            "version IS NULL OR withdrawn_at IS NULL", name=op.f("ck_tier_changes_not_withdrawn")
        ),
        sa.CheckConstraint(
            "version IS NULL OR approved_by IS NOT NULL OR NOT takes_two",
            name=op.f("ck_tier_changes_approved"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tier_changes")),
        sa.UniqueConstraint("tier", "version", name=op.f("uq_tier_changes_tier_version")),
    )
    op.create_index(op.f("ix_tier_changes_tier"), "tier_changes", ["tier"])
    return table


def _record_first_versions(changes: sa.Table) -> None:
    """Let every tier's history begin with what it is now."""
    bind, now = op.get_bind(), datetime.now(UTC)
    for row in bind.execute(sa.select(TIERS)).mappings().all():
        terms = {name: value for name, value in row.items() if name not in ("name", "version")}
        named = json.dumps({"tier": row["name"], "base_version": 0, "terms": terms}, sort_keys=True)
        bind.execute(
            changes.insert().values(
                id=str(uuid.uuid4()),
                tier=row["name"],
                base_version=0,
                terms=terms,
                digest="sha256:" + hashlib.sha256(named.encode()).hexdigest(),
                takes_two=False,
                reason="as it was when tiers got versions",
                proposed_by="migration",
                proposed_at=now,
                version=1,
                in_force_at=now,
            )
        )


def _create_idempotent_requests() -> None:
    op.create_table(
        "idempotent_requests",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("token", sa.String(length=36), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "(answer IS NULL) = (status IS NULL)", name=op.f("ck_idempotent_requests_answered")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotent_requests")),
    )
    op.create_index(
        op.f("ix_idempotent_requests_started_at"), "idempotent_requests", ["started_at"]
    )


def _allow_duties(duties: str) -> None:
    with op.batch_alter_table("person_roles") as table:
        table.drop_constraint(op.f("ck_person_roles_duty"), type_="check")
        table.create_check_constraint(op.f("ck_person_roles_duty"), f"duty IN ({duties})")
