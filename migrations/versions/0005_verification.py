"""Verification: organisations, roles, applications, evidence, terms; what grants rest on.

Revision ID: 0005
Revises: 0004
"""

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def moment(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    """Return a column of moments."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def text(name: str, length: int, *, nullable: bool = False) -> sa.Column[str]:
    """Return a column of short texts."""
    return sa.Column(name, sa.String(length=length), nullable=nullable)


def refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    """Return a foreign key, named as the convention has it."""
    other_table, other_column = other.split(".")
    return sa.ForeignKeyConstraint(
        [column],
        [f"{other_table}.{other_column}"],
        name=op.f(f"fk_{table}_{column}_{other_table}"),
    )


def upgrade() -> None:
    """Apply the change."""
    _create_organisations()
    _create_applications()
    _create_verification()
    with op.batch_alter_table("api_keys") as table:
        table.drop_constraint(op.f("ck_api_keys_kind"), type_="check")
        table.drop_constraint(op.f("ck_api_keys_owner"), type_="check")
        table.create_check_constraint(
            op.f("ck_api_keys_kind"), "kind IN ('key', 'workflow', 'admin')"
        )
        table.create_check_constraint(
            op.f("ck_api_keys_owner"), "(kind = 'admin') = (person_id IS NULL)"
        )
    with op.batch_alter_table("grants") as table:
        table.add_column(text("application_id", 36, nullable=True))
        table.add_column(moment("usage_review_due_at", nullable=True))
        table.add_column(moment("suspended_at", nullable=True))
        table.add_column(text("suspended_by", 200, nullable=True))
        table.add_column(text("suspended_reason", 1000, nullable=True))
        table.create_foreign_key(
            op.f("fk_grants_application_id_applications"),
            "applications",
            ["application_id"],
            ["id"],
        )
        table.create_index(op.f("ix_grants_application_id"), ["application_id"])
        table.create_check_constraint(
            op.f("ck_grants_usage_review"),
            "(application_id IS NULL) = (usage_review_due_at IS NULL)",
        )
    _create_breakglass()


def _create_breakglass() -> None:
    op.create_table(
        "closures",
        text("id", 36),
        text("domain", 63, nullable=True),
        text("reason", 1000),
        text("closed_by", 200),
        moment("closed_at"),
        text("lifted_by", 200, nullable=True),
        moment("lifted_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closures")),
    )
    op.create_table(
        "openings",
        text("id", 36),
        text("closure_id", 36, nullable=True),
        text("person_id", 36, nullable=True),
        text("domain", 63, nullable=True),
        sa.Column("minutes", sa.Integer(), nullable=True),
        text("reason", 1000),
        text("requested_by", 36),
        moment("requested_at"),
        text("confirmed_by", 36, nullable=True),
        moment("confirmed_at", nullable=True),
        text("grant_id", 36, nullable=True),
        sa.CheckConstraint(
            "(closure_id IS NULL) = (person_id IS NOT NULL)", name=op.f("ck_openings_one_thing")
        ),
        sa.CheckConstraint(
            "(person_id IS NULL) = (minutes IS NULL)", name=op.f("ck_openings_has_minutes")
        ),
        sa.CheckConstraint("minutes BETWEEN 1 AND 60", name=op.f("ck_openings_minutes")),
        sa.CheckConstraint("confirmed_by <> requested_by", name=op.f("ck_openings_two_people")),
        refers("openings", "closure_id", "closures.id"),
        refers("openings", "person_id", "people.id"),
        refers("openings", "requested_by", "people.id"),
        refers("openings", "confirmed_by", "people.id"),
        refers("openings", "grant_id", "grants.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_openings")),
    )


def _create_organisations() -> None:
    op.create_table(
        "organisations",
        text("id", 36),
        text("name", 200),
        text("name_key", 600),
        text("ror_id", 9, nullable=True),
        text("state", 20),
        moment("created_at"),
        sa.CheckConstraint(
            "state IN ('unverified', 'verified', 'suspended')",
            name=op.f("ck_organisations_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
        sa.UniqueConstraint("name", name=op.f("uq_organisations_name")),
        sa.UniqueConstraint("name_key", name=op.f("uq_organisations_name_key")),
        sa.UniqueConstraint("ror_id", name=op.f("uq_organisations_ror_id")),
    )
    _name_organisations()
    with op.batch_alter_table("people") as table:
        table.create_foreign_key(
            op.f("fk_people_organisation_organisations"),
            "organisations",
            ["organisation"],
            ["name"],
        )
        table.create_index(op.f("ix_people_organisation"), ["organisation"])
    op.create_table(
        "person_roles",
        text("person_id", 36),
        text("duty", 20),
        text("domain", 63),
        sa.CheckConstraint(
            "duty IN ('identity_reviewer', 'domain_reviewer', 'approver', 'auditor')",
            name=op.f("ck_person_roles_duty"),
        ),
        sa.CheckConstraint(
            "(duty = 'domain_reviewer') = (domain <> '')", name=op.f("ck_person_roles_domain")
        ),
        refers("person_roles", "person_id", "people.id"),
        sa.PrimaryKeyConstraint("person_id", "duty", "domain", name=op.f("pk_person_roles")),
    )


def _name_organisations() -> None:
    """Make an organisation of each name that people have; spellings of one are brought together."""
    people = sa.table("people", sa.column("organisation", sa.String()))
    organisations = sa.table(
        "organisations",
        *(sa.column(name, sa.String()) for name in ("id", "name", "name_key", "state")),
        sa.column("created_at", sa.DateTime(timezone=True)),
    )
    first: dict[str, str] = {}
    rows = op.get_bind().execute(sa.select(people.c.organisation).distinct())
    for name in sorted(name for (name,) in rows):
        key = " ".join(name.split()).casefold()
        if key in first:
            op.execute(
                people.update().where(people.c.organisation == name).values(organisation=first[key])
            )
            continue
        first[key] = name
        op.execute(
            organisations.insert().values(
                id=str(uuid.uuid4()),
                name=name,
                name_key=key,
                state="unverified",
                created_at=datetime.now(UTC),
            )
        )


def _create_applications() -> None:
    op.create_table(
        "applications",
        text("id", 36),
        text("person_id", 36),
        text("state", 20),
        moment("since"),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        moment("created_at"),
        sa.CheckConstraint("round IN (1, 2)", name=op.f("ck_applications_round")),
        refers("applications", "person_id", "people.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_applications")),
    )
    op.create_index(op.f("ix_applications_person_id"), "applications", ["person_id"])
    op.create_index(op.f("ix_applications_state"), "applications", ["state"])
    op.create_table(
        "application_versions",
        text("application_id", 36),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        text("digest", 71),
        text("organisation", 200),
        sa.Column("domains", sa.JSON(), nullable=False),
        text("purpose", 4000),
        text("project", 200),
        text("oversight_ref", 200),
        sa.Column("days", sa.Integer(), nullable=False),
        moment("created_at"),
        sa.CheckConstraint("days > 0", name=op.f("ck_application_versions_days")),
        refers("application_versions", "application_id", "applications.id"),
        sa.PrimaryKeyConstraint("application_id", "number", name=op.f("pk_application_versions")),
    )
    op.create_table(
        "application_statements",
        text("id", 36),
        text("application_id", 36),
        text("person_id", 36),
        text("organisation", 200),
        text("kind", 10),
        text("domain", 63, nullable=True),
        text("decision", 10),
        text("digest", 71),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("expert", sa.Boolean(), nullable=False),
        text("rationale", 4000),
        moment("created_at"),
        sa.CheckConstraint(
            "kind IN ('identity', 'domain', 'approval')",
            name=op.f("ck_application_statements_kind"),
        ),
        sa.CheckConstraint(
            "decision IN ('pass', 'approve', 'return', 'reject')",
            name=op.f("ck_application_statements_decision"),
        ),
        refers("application_statements", "application_id", "applications.id"),
        refers("application_statements", "person_id", "people.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_statements")),
    )
    op.create_index(
        op.f("ix_application_statements_application_id"),
        "application_statements",
        ["application_id"],
    )


def _create_verification() -> None:
    op.create_table(
        "evidence",
        text("id", 36),
        text("person_id", 36),
        text("kind", 20),
        text("domain", 63, nullable=True),
        text("source", 300),
        text("document_digest", 71, nullable=True),
        moment("created_at"),
        text("asserted_by", 10),
        moment("asserted_at", nullable=True),
        text("accepted_by", 36, nullable=True),
        moment("accepted_at", nullable=True),
        moment("expires_at", nullable=True),
        text("retracted_by", 200, nullable=True),
        moment("retracted_at", nullable=True),
        sa.CheckConstraint(
            "(accepted_at IS NULL) = (accepted_by IS NULL)"
            " AND (accepted_at IS NULL) = (expires_at IS NULL)",
            name=op.f("ck_evidence_accepted"),
        ),
        refers("evidence", "person_id", "people.id"),
        refers("evidence", "accepted_by", "people.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
    )
    op.create_index(op.f("ix_evidence_person_id"), "evidence", ["person_id"])
    op.create_table(
        "terms",
        text("digest", 71),
        sa.Column("text", sa.Text(), nullable=False),
        moment("mandatory_from"),
        text("actor", 200),
        moment("created_at"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_terms")),
    )
    op.create_table(
        "terms_acceptances",
        text("person_id", 36),
        text("digest", 71),
        moment("accepted_at"),
        refers("terms_acceptances", "person_id", "people.id"),
        refers("terms_acceptances", "digest", "terms.digest"),
        sa.PrimaryKeyConstraint("person_id", "digest", name=op.f("pk_terms_acceptances")),
    )


def downgrade() -> None:
    """Undo the change; grants of the workflow end, since what they rest on is no longer known."""
    # What a closure keeps shut must not open because closures are no longer known.
    op.execute(
        "DELETE FROM grants WHERE EXISTS (SELECT 1 FROM closures WHERE lifted_at IS NULL"
        " AND (closures.domain IS NULL OR closures.domain = grants.domain))"
    )
    op.drop_table("openings")
    op.drop_table("closures")
    op.execute("DELETE FROM grants WHERE application_id IS NOT NULL OR suspended_at IS NOT NULL")
    op.execute("DELETE FROM api_keys WHERE kind = 'workflow'")
    op.execute("UPDATE authorization_version SET version = version + 1")
    with op.batch_alter_table("grants") as table:
        table.drop_constraint(op.f("ck_grants_usage_review"), type_="check")
        table.drop_constraint(op.f("fk_grants_application_id_applications"), type_="foreignkey")
        table.drop_index(op.f("ix_grants_application_id"))
        for name in ("suspended_reason", "suspended_by", "suspended_at"):
            table.drop_column(name)
        table.drop_column("usage_review_due_at")
        table.drop_column("application_id")
    with op.batch_alter_table("api_keys") as table:
        table.drop_constraint(op.f("ck_api_keys_kind"), type_="check")
        table.drop_constraint(op.f("ck_api_keys_owner"), type_="check")
        table.create_check_constraint(op.f("ck_api_keys_kind"), "kind IN ('key', 'admin')")
        table.create_check_constraint(
            op.f("ck_api_keys_owner"), "(kind = 'key') = (person_id IS NOT NULL)"
        )
    op.drop_table("terms_acceptances")
    op.drop_table("terms")
    op.drop_index(op.f("ix_evidence_person_id"), "evidence")
    op.drop_table("evidence")
    op.drop_index(op.f("ix_application_statements_application_id"), "application_statements")
    op.drop_table("application_statements")
    op.drop_table("application_versions")
    op.drop_index(op.f("ix_applications_state"), "applications")
    op.drop_index(op.f("ix_applications_person_id"), "applications")
    op.drop_table("applications")
    op.drop_table("person_roles")
    with op.batch_alter_table("people") as table:
        table.drop_constraint(op.f("fk_people_organisation_organisations"), type_="foreignkey")
        table.drop_index(op.f("ix_people_organisation"))
    op.drop_table("organisations")
