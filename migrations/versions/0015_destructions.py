"""Kept contents are destroyed by hand, by two people.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create."""
    people = [
        sa.ForeignKeyConstraint(
            [column], ["people.id"], name=op.f(f"fk_content_destructions_{column}_people")
        )
        for column in ("about", "asked_by", "approved_by")
    ]
    op.create_table(
        "content_destructions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(100), nullable=True),
        sa.Column("grant_id", sa.String(36), nullable=True),
        sa.Column("about", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("asked_by", sa.String(36), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("approved_by", sa.String(36), nullable=True),
        sa.Column("approved_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "(request_id IS NULL) <> (grant_id IS NULL)", name=op.f("ck_content_destructions_one")
        ),
        sa.CheckConstraint(
            "approved_by <> asked_by", name=op.f("ck_content_destructions_two_people")
        ),
        sa.CheckConstraint(
            "(approved_by IS NULL) = (approved_at IS NULL)",
            name=op.f("ck_content_destructions_approved"),
        ),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["grants.id"], name=op.f("fk_content_destructions_grant_id_grants")
        ),
        *people,
        sa.PrimaryKeyConstraint("id", name=op.f("pk_content_destructions")),
    )


def downgrade() -> None:
    """Drop."""
    op.drop_table("content_destructions")
