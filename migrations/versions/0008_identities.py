"""Whom identity providers' subjects are.

Revision ID: 0008
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None

DUTIES = "'identity_reviewer', 'domain_reviewer', 'approver', 'auditor'"


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "identities",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("domains", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_identities_person_id_people")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_identities_issuer_subject")),
    )
    op.create_index(op.f("ix_identities_person_id"), "identities", ["person_id"])
    _allow_duties(f"{DUTIES}, 'administrator'")


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("identities")
    op.execute("DELETE FROM person_roles WHERE duty = 'administrator'")
    _allow_duties(DUTIES)


def _allow_duties(duties: str) -> None:
    with op.batch_alter_table("person_roles") as table:
        table.drop_constraint(op.f("ck_person_roles_duty"), type_="check")
        table.create_check_constraint(op.f("ck_person_roles_duty"), f"duty IN ({duties})")
