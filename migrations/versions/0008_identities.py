"""Whom identity providers' subjects are, their logins, and the first administrator's code.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
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
    _add_sessions()
    op.create_table(
        "first_administrator_codes",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("code_hmac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_first_administrator_codes_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_first_administrator_codes")),
    )


def downgrade() -> None:
    """Undo the change."""
    for table in ("first_administrator_codes", "login_sessions", "identities"):
        op.drop_table(table)
    op.execute("DELETE FROM person_roles WHERE duty = 'administrator'")
    _allow_duties(DUTIES)


def _add_sessions() -> None:
    op.create_table(
        "login_sessions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("secret_hmac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("provider_session", sa.String(length=255), nullable=True),
        sa.Column("acr", sa.String(length=255), nullable=True),
        sa.Column("authenticated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_login_sessions_person_id_people")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_sessions")),
        sa.UniqueConstraint("secret_hmac", name=op.f("uq_login_sessions_secret_hmac")),
    )
    for column in ("person_id", "provider_session"):
        op.create_index(op.f(f"ix_login_sessions_{column}"), "login_sessions", [column])


def _allow_duties(duties: str) -> None:
    with op.batch_alter_table("person_roles") as table:
        table.drop_constraint(op.f("ck_person_roles_duty"), type_="check")
        table.create_check_constraint(op.f("ck_person_roles_duty"), f"duty IN ({duties})")
