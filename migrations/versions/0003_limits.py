"""Limits of tiers: tokens per minute and day, requests at a time, and organisations' multiple.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ADDED = {
    "tokens_per_minute": "100000",
    "tokens_per_day": "10000000",
    "max_concurrent": "64",
    "organisation_multiple": "10",
}
"""The new columns, and what tiers of before get."""


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("tiers") as table:
        for name, value in ADDED.items():
            table.add_column(sa.Column(name, sa.Integer(), nullable=False, server_default=value))
    with op.batch_alter_table("tiers") as table:
        for name in ADDED:
            table.alter_column(name, server_default=None)
            table.create_check_constraint(op.f(f"ck_tiers_{name}"), f"{name} > 0")


def downgrade() -> None:
    """Undo the change."""
    with op.batch_alter_table("tiers") as table:
        for name in ADDED:
            table.drop_constraint(op.f(f"ck_tiers_{name}"), type_="check")
            table.drop_column(name)
