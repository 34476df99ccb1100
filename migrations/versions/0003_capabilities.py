"""Capabilities and a priority for each tier, instead of one word for all of its levers.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
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
    """Apply the change."""
    with op.batch_alter_table("tiers") as table:
        table.add_column(sa.Column("capabilities", sa.JSON(), nullable=True))
        table.add_column(sa.Column("priority", sa.Integer(), nullable=True))
    rows = tiers()
    for elevated, names, priority in ((True, EVERY, 10), (False, RAW, 0)):
        op.execute(
            rows.update()
            .where(rows.c.elevated == sa.literal(elevated))
            .values(capabilities=names, priority=priority)
        )
    with op.batch_alter_table("tiers") as table:
        table.alter_column("capabilities", existing_type=sa.JSON(), nullable=False)
        table.alter_column("priority", existing_type=sa.Integer(), nullable=False)
        table.drop_column("elevated")
    op.execute("UPDATE authorization_version SET version = version + 1")


def downgrade() -> None:
    """Undo the change; what was elevated came before the others."""
    with op.batch_alter_table("tiers") as table:
        table.add_column(sa.Column("elevated", sa.Boolean(), nullable=True))
    rows = tiers()
    op.execute(rows.update().values(elevated=sa.literal(False)))
    op.execute(rows.update().where(rows.c.priority > 0).values(elevated=sa.literal(True)))
    with op.batch_alter_table("tiers") as table:
        table.alter_column("elevated", existing_type=sa.Boolean(), nullable=False)
        table.drop_column("priority")
        table.drop_column("capabilities")
    op.execute("UPDATE authorization_version SET version = version + 1")
