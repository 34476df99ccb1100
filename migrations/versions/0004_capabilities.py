"""Capabilities and a priority for each tier, instead of one word for all of its levers.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

RAW = ["raw_completions"]
EVERY = [
    "allowed_token_ids",
    "echo",
    "guided_decoding",
    "logit_bias",
    "logprob_token_ids",
    "prefill",
    "prompt_logprobs",
    "raw_completions",
]


def tiers() -> sa.TableClause:
    """Return the columns that rows are filled through."""
    return sa.table(
        "tiers",
        sa.column("elevated", sa.Boolean()),
        sa.column("capabilities", sa.JSON()),
        sa.column("priority", sa.Integer()),
    )


def upgrade() -> None:
    """Apply the change; column by column, since SQLite cannot rebuild a table that others name."""
    # What an older gateway adds meanwhile gets the defaults: no capability.
    op.add_column(
        "tiers", sa.Column("capabilities", sa.JSON(), nullable=False, server_default="[]")
    )
    op.add_column("tiers", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    rows = tiers()
    for elevated, names, priority in ((True, EVERY, 10), (False, RAW, 0)):
        op.execute(
            rows.update()
            .where(rows.c.elevated == sa.literal(elevated))
            .values(capabilities=names, priority=priority)
        )
    op.drop_column("tiers", "elevated")
    op.execute("UPDATE authorization_version SET version = version + 1")


def downgrade() -> None:
    """Undo the change; what was elevated came before the others."""
    op.add_column(
        "tiers", sa.Column("elevated", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    rows = tiers()
    op.execute(rows.update().where(rows.c.priority > 0).values(elevated=sa.literal(True)))
    op.drop_column("tiers", "priority")
    op.drop_column("tiers", "capabilities")
    op.execute("UPDATE authorization_version SET version = version + 1")
