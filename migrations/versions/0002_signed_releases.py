"""Signed releases: their profile, expiry, fingerprint and end; revocations; engines' side-cars.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def added() -> tuple[sa.Column[object], ...]:
    """Return new columns of `promotions`; an upgrade needs its own ones."""
    return (
        sa.Column("profile", sa.JSON(), nullable=False),
        sa.Column("profile_digest", sa.String(length=71), nullable=False),
        sa.Column("waived", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.JSON(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_reason", sa.String(length=1000), nullable=True),
    )


def upgrade() -> None:
    """Apply the change."""
    # Releases of before were not signed: they count no longer, and must be promoted again.
    op.execute("DELETE FROM promotions")
    op.execute("UPDATE authorization_version SET version = version + 1")
    with op.batch_alter_table("promotions") as table:
        for column in added():
            table.add_column(column)
    with op.batch_alter_table("engines") as table:
        table.add_column(sa.Column("attest_url", sa.String(length=300), nullable=True))
    op.create_table(
        "revocations",
        sa.Column("checkpoint", sa.String(length=71), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("checkpoint", name=op.f("pk_revocations")),
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("revocations")
    op.execute("DELETE FROM promotions")
    op.execute("UPDATE authorization_version SET version = version + 1")
    with op.batch_alter_table("engines") as table:
        table.drop_column("attest_url")
    with op.batch_alter_table("promotions") as table:
        for column in reversed(added()):
            table.drop_column(column.name)
