"""Addresses, sponsors, notices and the programs that are told.

Revision ID: 0011
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
RECIPIENTS = " + ".join(
    f"(CASE WHEN {name} IS NULL THEN 0 ELSE 1 END)"
    for name in ("person_id", "organisation_id", "webhook_id")
)


def upgrade() -> None:
    """Apply the change."""
    op.add_column("grants", sa.Column("first_used_at", MOMENT, nullable=True))
    # Who has used a grant before today is not told of now as if it were news.
    op.execute("UPDATE grants SET first_used_at = created_at")
    op.add_column("evidence", sa.Column("not_after", MOMENT, nullable=True))
    _add_contacts()
    _add_webhooks()
    _add_notices()
    op.create_table(
        "unwanted_notices",
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        _people("unwanted_notices"),
        sa.PrimaryKeyConstraint("person_id", "event", name=op.f("pk_unwanted_notices")),
    )


def downgrade() -> None:
    """Undo the change."""
    for table in ("unwanted_notices", "notices", "webhooks", "sponsors", "addresses"):
        op.drop_table(table)
    op.drop_column("evidence", "not_after")
    op.drop_column("grants", "first_used_at")


def _people(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_person_id_people")
    return sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=name)


def _organisations(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_organisation_id_organisations")
    return sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=name)


def _add_contacts() -> None:
    op.create_table(
        "addresses",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=True),
        sa.Column("organisation_id", sa.String(length=36), nullable=True),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("verified_at", MOMENT, nullable=True),
        sa.Column("verified_by", sa.String(length=200), nullable=True),
        sa.Column("pending_email", sa.String(length=254), nullable=True),
        sa.Column("nonce", sa.String(length=43), nullable=True),
        sa.Column("pending_until", MOMENT, nullable=True),
        sa.Column("asked_at", MOMENT, nullable=True),
        _people("addresses"),
        _organisations("addresses"),
        sa.CheckConstraint(
            "(person_id IS NULL) <> (organisation_id IS NULL)", name=op.f("ck_addresses_one_owner")
        ),
        sa.CheckConstraint(
            "(email IS NULL) = (verified_at IS NULL) AND (email IS NULL) = (verified_by IS NULL)",
            name=op.f("ck_addresses_verified"),
        ),
        sa.CheckConstraint(
            "(pending_email IS NULL) = (nonce IS NULL)"
            " AND (pending_email IS NULL) = (pending_until IS NULL)",
            name=op.f("ck_addresses_pending"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_addresses")),
        sa.UniqueConstraint("person_id", name=op.f("uq_addresses_person_id")),
        sa.UniqueConstraint("organisation_id", name=op.f("uq_addresses_organisation_id")),
    )
    op.create_table(
        "sponsors",
        sa.Column("grant_id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=True),
        sa.Column("organisation_id", sa.String(length=36), nullable=True),
        sa.Column("set_by", sa.String(length=200), nullable=False),
        sa.Column("set_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["grants.id"], name=op.f("fk_sponsors_grant_id_grants")
        ),
        _people("sponsors"),
        _organisations("sponsors"),
        sa.CheckConstraint(
            "(person_id IS NULL) <> (organisation_id IS NULL)", name=op.f("ck_sponsors_one_sponsor")
        ),
        sa.PrimaryKeyConstraint("grant_id", name=op.f("pk_sponsors")),
    )


def _add_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("secret", sa.String(length=300), nullable=False),
        sa.Column("old_secret", sa.String(length=300), nullable=True),
        sa.Column("old_until", MOMENT, nullable=True),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "(old_secret IS NULL) = (old_until IS NULL)", name=op.f("ck_webhooks_old_secret")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )


def _add_notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=True),
        sa.Column("organisation_id", sa.String(length=36), nullable=True),
        sa.Column("webhook_id", sa.String(length=36), nullable=True),
        sa.Column("once", sa.String(length=300), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(length=200), nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        _people("notices"),
        _organisations("notices"),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_notices_webhook_id_webhooks")
        ),
        sa.CheckConstraint(f"{RECIPIENTS} = 1", name=op.f("ck_notices_one_recipient")),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'dropped', 'dead')", name=op.f("ck_notices_state")
        ),
        sa.CheckConstraint(
            "(state = 'waiting') = (ended_at IS NULL)", name=op.f("ck_notices_ended")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("once", name=op.f("uq_notices_once")),
    )
    for column in ("event", "person_id", "webhook_id", "ended_at"):
        op.create_index(op.f(f"ix_notices_{column}"), "notices", [column])
    op.create_index(op.f("ix_notices_state_next_at"), "notices", ["state", "next_at"])
