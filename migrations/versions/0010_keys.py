"""What narrows a key, what its owner had proven when it was made, and when it was last used.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

LISTS = ("endpoints", "domains", "addresses", "scopes")
LIMITS = ("requests_per_minute", "tokens_per_minute", "tokens_per_day", "max_concurrent")
MOMENTS = ("proven_at", "last_used_at")
SCOPES = {
    "workflow": [
        "admin:read",
        "admin:restrict",
        "workflow:apply",
        "workflow:emergency",
        "workflow:review",
        "workflow:tiers",
    ],
    "admin": [
        "admin:grants",
        "admin:keys",
        "admin:people",
        "admin:read",
        "admin:restrict",
        "admin:serving",
        "workflow:tiers",
    ],
}
"""What keys of before get. Nothing is known to have been proven when they were made."""


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("api_keys") as table:
        for name in LISTS:
            table.add_column(sa.Column(name, sa.JSON(), nullable=True))
        for name in LIMITS:
            table.add_column(sa.Column(name, sa.Integer(), nullable=True))
        table.add_column(sa.Column("proven_by", sa.String(length=500), nullable=True))
        table.add_column(sa.Column("proven_acr", sa.String(length=255), nullable=True))
        for name in MOMENTS:
            table.add_column(sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    keys = sa.table("api_keys", sa.column("kind", sa.String()), sa.column("scopes", sa.JSON()))
    for kind, scopes in SCOPES.items():
        op.execute(keys.update().where(keys.c.kind == kind).values(scopes=scopes))
    with op.batch_alter_table("api_keys") as table:
        table.create_check_constraint(op.f("ck_api_keys_scopes"), "kind <> 'key' OR scopes IS NULL")
        table.create_check_constraint(
            op.f("ck_api_keys_proven"), "(proven_by IS NULL) = (proven_at IS NULL)"
        )
        for name in LIMITS:
            table.create_check_constraint(op.f(f"ck_api_keys_{name}"), f"{name} > 0")
    op.execute("UPDATE authorization_version SET version = version + 1")


def downgrade() -> None:
    """Undo the change; a key that was narrowed ends, since it would be whole again."""
    narrowed = " OR ".join(f"{name} IS NOT NULL" for name in (*LISTS, *LIMITS))
    live = "revoked_at IS NULL OR revoked_at > CURRENT_TIMESTAMP"
    op.execute(
        f"UPDATE api_keys SET revoked_at = CURRENT_TIMESTAMP WHERE ({narrowed}) AND ({live})"  # noqa: S608
    )
    with op.batch_alter_table("api_keys") as table:
        for name in ("scopes", "proven", *LIMITS):
            table.drop_constraint(op.f(f"ck_api_keys_{name}"), type_="check")
        for name in (*LISTS, *LIMITS, "proven_by", "proven_acr", *MOMENTS):
            table.drop_column(name)
    op.execute("UPDATE authorization_version SET version = version + 1")
