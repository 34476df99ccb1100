"""First schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("tag", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index(op.f("ix_audit_events_at"), "audit_events", ["at"])
    op.create_index(op.f("ix_audit_events_tag"), "audit_events", ["tag"])

    op.create_table(
        "authorization_version",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_authorization_version_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authorization_version")),
    )
    op.create_table(
        "engines",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.String(length=300), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("api_key_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_engines")),
        sa.UniqueConstraint("url", name=op.f("uq_engines_url")),
    )
    op.create_table(
        "promotions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("family", sa.String(length=63), nullable=False),
        sa.Column("label", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("checkpoint", sa.String(length=71), nullable=False),
        sa.Column("hazards", sa.JSON(), nullable=False),
        sa.Column("forgets", sa.JSON(), nullable=False),
        sa.Column("release_digest", sa.String(length=71), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
        sa.UniqueConstraint(
            "family", "label", "version", name=op.f("uq_promotions_family_label_version")
        ),
    )
    op.create_table(
        "tiers",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("description", sa.String(length=500), nullable=False),
        sa.Column("grantable", sa.Boolean(), nullable=False),
        sa.Column("elevated", sa.Boolean(), nullable=False),
        sa.Column("max_grant_days", sa.Integer(), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=False),
        sa.CheckConstraint("max_grant_days > 0", name=op.f("ck_tiers_max_grant_days")),
        sa.CheckConstraint("requests_per_minute > 0", name=op.f("ck_tiers_requests_per_minute")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tiers")),
    )
    op.create_table(
        "people",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("organisation", sa.String(length=200), nullable=False),
        sa.Column("tier", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('active', 'suspended')", name=op.f("ck_people_state")),
        sa.ForeignKeyConstraint(["tier"], ["tiers.name"], name=op.f("fk_people_tier_tiers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
    )
    op.create_index(op.f("ix_people_tier"), "people", ["tier"])

    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=True),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("secret_hmac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("pepper_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replaced_by", sa.String(length=12), nullable=True),
        sa.CheckConstraint(
            "(kind = 'key') = (person_id IS NOT NULL)", name=op.f("ck_api_keys_owner")
        ),
        sa.CheckConstraint("kind IN ('key', 'admin')", name=op.f("ck_api_keys_kind")),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_api_keys_person_id_people")
        ),
        sa.ForeignKeyConstraint(
            ["replaced_by"], ["api_keys.id"], name=op.f("fk_api_keys_replaced_by_api_keys")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_person_id"), "api_keys", ["person_id"])

    op.create_table(
        "grants",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("domain", sa.String(length=63), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("approved_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.String(length=200), nullable=True),
        sa.CheckConstraint("not_before < expires_at", name=op.f("ck_grants_period")),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_grants_person_id_people")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_person_id"), "grants", ["person_id"])

    op.execute("INSERT INTO authorization_version (id, version) VALUES (1, 1)")
    tiers = sa.table(
        "tiers",
        sa.column("name", sa.String),
        sa.column("description", sa.String),
        sa.column("grantable", sa.Boolean),
        sa.column("elevated", sa.Boolean),
        sa.column("max_grant_days", sa.Integer),
        sa.column("requests_per_minute", sa.Integer),
    )
    op.bulk_insert(
        tiers,
        [
            {
                "name": "public",
                "description": "Everyone: the unlearned checkpoints.",
                "grantable": False,
                "elevated": False,
                "max_grant_days": 1,
                "requests_per_minute": 120,
            },
            {
                "name": "researcher",
                "description": "Verified researchers: what their grants cover.",
                "grantable": True,
                "elevated": True,
                "max_grant_days": 180,
                "requests_per_minute": 600,
            },
        ],
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_index(op.f("ix_grants_person_id"), "grants")

    op.drop_table("grants")
    op.drop_index(op.f("ix_api_keys_person_id"), "api_keys")

    op.drop_table("api_keys")
    op.drop_index(op.f("ix_people_tier"), "people")

    op.drop_table("people")
    op.drop_table("tiers")
    op.drop_table("promotions")
    op.drop_table("engines")
    op.drop_table("authorization_version")
    op.drop_index(op.f("ix_audit_events_tag"), "audit_events")
    op.drop_index(op.f("ix_audit_events_at"), "audit_events")

    op.drop_table("audit_events")
