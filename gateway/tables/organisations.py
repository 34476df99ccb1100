"""Organisations that people belong to, and what people are trusted to do for the workflow."""

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment

KEY_AT_MOST = 600
"""Signs of the key of a name: one of a name can become eighteen when case and width go."""


class Organisation(Base):
    """An organisation; `name_key` is its name as it looks, so that it exists once."""

    __tablename__ = "organisations"
    __table_args__ = (
        CheckConstraint("state IN ('unverified', 'verified', 'suspended')", name="state"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    name_key: Mapped[str] = mapped_column(String(KEY_AT_MOST), unique=True)
    ror_id: Mapped[str | None] = mapped_column(String(9), unique=True)
    state: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(Moment)
    mail_domains: Mapped[list[str]] = mapped_column(JSON, default=list, server_default="[]")
    """Of its people's addresses, as an administrator has found; in ASCII, letter for letter."""


class PersonRole(Base):
    """A duty that a person has; `domain` is empty where it is not one of a domain."""

    __tablename__ = "person_roles"
    __table_args__ = (
        CheckConstraint(
            "duty IN ('identity_reviewer', 'domain_reviewer', 'approver', 'auditor', "
            "'administrator', 'operator')",
            name="duty",
        ),
        CheckConstraint("(duty = 'domain_reviewer') = (domain <> '')", name="domain"),
    )

    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), primary_key=True)
    duty: Mapped[str] = mapped_column(String(20), primary_key=True)
    domain: Mapped[str] = mapped_column(String(63), primary_key=True)
