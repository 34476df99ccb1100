"""An address that was erased is not taken over from an issuer again.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the moment, which nobody knows of addresses that were erased before."""
    op.add_column("addresses", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Drop."""
    op.drop_column("addresses", "erased_at")
