"""What changed at each version of access, so that gateways read only that.

Revision ID: 0012
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create."""
    op.add_column(
        "authorization_version",
        sa.Column("mark", sa.String(32), nullable=False, server_default=""),
    )
    with op.batch_alter_table("authorization_version") as table:
        table.alter_column("mark", existing_type=sa.String(32), server_default=None)
    op.create_table(
        "authorization_changes",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mark", sa.String(32), nullable=False),
        sa.Column("tag", sa.String(60), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("person_id", sa.String(36), nullable=True),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_authorization_changes")),
    )


def downgrade() -> None:
    """Drop."""
    op.drop_table("authorization_changes")
    with op.batch_alter_table("authorization_version") as table:
        table.drop_column("mark")
