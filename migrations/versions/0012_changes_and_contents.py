"""What changed at each version of access; contents of base requests, sealed; their openings.

Revision ID: 0012
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


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
    _create_contents()
    _create_openings()


def _create_contents() -> None:
    op.create_table(
        "content_keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("grants", sa.JSON(), nullable=False),
        sa.Column("public", sa.LargeBinary(32), nullable=False),
        sa.Column("sealed_private", sa.LargeBinary(), nullable=True),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("destroyed_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "(sealed_private IS NULL) = (destroyed_at IS NOT NULL)",
            name=op.f("ck_content_keys_destroyed"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_content_keys")),
    )
    op.create_index(op.f("ix_content_keys_expires_at"), "content_keys", ["expires_at"])
    op.create_table(
        "kept_contents",
        sa.Column("request_id", sa.String(100), nullable=False),
        sa.Column("part", sa.String(10), nullable=False),
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("nonce", sa.LargeBinary(12), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("part IN ('request', 'answer')", name=op.f("ck_kept_contents_part")),
        sa.ForeignKeyConstraint(
            ["key_id"], ["content_keys.id"], name=op.f("fk_kept_contents_key_id_content_keys")
        ),
        sa.PrimaryKeyConstraint("request_id", "part", name=op.f("pk_kept_contents")),
    )
    op.create_index(op.f("ix_kept_contents_key_id"), "kept_contents", ["key_id"])


def _create_openings() -> None:
    people = [
        sa.ForeignKeyConstraint(
            [column], ["people.id"], name=op.f(f"fk_content_openings_{column}_people")
        )
        for column in ("about", "asked_by", "approved_by")
    ]
    op.create_table(
        "content_openings",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(100), nullable=False),
        sa.Column("about", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("asked_by", sa.String(36), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("approved_by", sa.String(36), nullable=True),
        sa.Column("approved_at", MOMENT, nullable=True),
        sa.Column("released_at", MOMENT, nullable=True),
        sa.CheckConstraint("approved_by <> asked_by", name=op.f("ck_content_openings_two_people")),
        sa.CheckConstraint(
            "(approved_by IS NULL) = (approved_at IS NULL)",
            name=op.f("ck_content_openings_approved"),
        ),
        sa.CheckConstraint(
            "released_at IS NULL OR approved_at IS NOT NULL",
            name=op.f("ck_content_openings_released"),
        ),
        *people,
        sa.PrimaryKeyConstraint("id", name=op.f("pk_content_openings")),
    )
    op.create_index(op.f("ix_content_openings_request_id"), "content_openings", ["request_id"])


def downgrade() -> None:
    """Drop."""
    op.drop_table("content_openings")
    op.drop_table("kept_contents")
    op.drop_table("content_keys")
    op.drop_table("authorization_changes")
    with op.batch_alter_table("authorization_version") as table:
        table.drop_column("mark")
