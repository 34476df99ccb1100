"""Mails to addresses at institutions, and the domains of organisations.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
REFERS = (
    ("person_id", "people"),
    ("organisation_id", "organisations"),
    ("evidence_id", "evidence"),
)


def upgrade() -> None:
    """Apply the change."""
    # The default stays: a release that does not know the column adds organisations, too.
    op.add_column(
        "organisations", sa.Column("mail_domains", sa.JSON(), nullable=False, server_default="[]")
    )
    table = "institution_mails"
    op.create_table(
        table,
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("person_id", sa.String(36), nullable=False),
        sa.Column("organisation_id", sa.String(36), nullable=False),
        sa.Column("email", sa.String(254), nullable=True),
        sa.Column("mailbox", sa.LargeBinary(32), nullable=False),
        sa.Column("nonce", sa.String(43), nullable=True),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("evidence_id", sa.String(36), nullable=True),
        sa.CheckConstraint(
            "(email IS NULL) = (ended_at IS NOT NULL) AND (email IS NULL) = (nonce IS NULL)",
            name=op.f(f"ck_{table}_ended"),
        ),
        sa.CheckConstraint(
            "evidence_id IS NULL OR ended_at IS NOT NULL", name=op.f(f"ck_{table}_used")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f(f"ck_{table}_attempts")),
        *(
            sa.ForeignKeyConstraint([name], [f"{to}.id"], name=op.f(f"fk_{table}_{name}_{to}"))
            for name, to in REFERS
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("evidence_id", name=op.f(f"uq_{table}_evidence_id")),
    )
    for column in ("person_id", "mailbox"):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("institution_mails")
    op.drop_column("organisations", "mail_domains")
