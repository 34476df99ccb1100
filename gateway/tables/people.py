"""Tiers, people, whom identity providers mean by them, and their grants."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class Tier(Base):
    """An access tier as it is in force: what its members may use, how much, on what conditions.

    How it came to be so is in its changes (`TierChange`), of which every one has its version.
    """

    __tablename__ = "tiers"
    __table_args__ = (
        CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
        CheckConstraint("tokens_per_minute > 0", name="tokens_per_minute"),
        CheckConstraint("tokens_per_day > 0", name="tokens_per_day"),
        CheckConstraint("max_concurrent > 0", name="max_concurrent"),
        CheckConstraint("organisation_multiple > 0", name="organisation_multiple"),
        CheckConstraint("max_grant_days > 0", name="max_grant_days"),
    )

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    description: Mapped[str] = mapped_column(String(500))
    grantable: Mapped[bool]
    capabilities: Mapped[list[str]] = mapped_column(JSON)
    priority: Mapped[int]
    max_grant_days: Mapped[int]
    requests_per_minute: Mapped[int]
    tokens_per_minute: Mapped[int]
    tokens_per_day: Mapped[int]
    max_concurrent: Mapped[int]
    organisation_multiple: Mapped[int]
    version: Mapped[int]
    verifications: Mapped[dict[str, list[str]]] = mapped_column(JSON)
    log_level: Mapped[str] = mapped_column(String(20))
    step_up: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Person(Base):
    """A human who holds keys."""

    __tablename__ = "people"
    __table_args__ = (CheckConstraint("state IN ('active', 'suspended')", name="state"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.name"), index=True)
    tier: Mapped[str] = mapped_column(ForeignKey("tiers.name"), index=True)
    state: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(Moment)


class Identity(Base):
    """Whom an identity provider means by a subject: a person, or a service of theirs.

    `domains` is null for the person as such; a service opens no domain that is not listed, and none
    that its person has no grant for.
    """

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    issuer: Mapped[str] = mapped_column(String(500))
    subject: Mapped[str] = mapped_column(String(255))
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    label: Mapped[str] = mapped_column(String(200))
    domains: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(Moment)


class Grant(Base):
    """One hazard domain, opened to one person for a time."""

    __tablename__ = "grants"
    __table_args__ = (
        CheckConstraint("not_before < expires_at", name="period"),
        CheckConstraint(
            "(application_id IS NULL) = (usage_review_due_at IS NULL)", name="usage_review"
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    domain: Mapped[str] = mapped_column(String(63))
    reason: Mapped[str] = mapped_column(String(1000))
    approved_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(Moment)
    not_before: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)
    revoked_by: Mapped[str | None] = mapped_column(String(200))
    application_id: Mapped[str | None] = mapped_column(ForeignKey("applications.id"), index=True)
    usage_review_due_at: Mapped[datetime | None] = mapped_column(Moment)
    suspended_at: Mapped[datetime | None] = mapped_column(Moment)
    suspended_by: Mapped[str | None] = mapped_column(String(200))
    suspended_reason: Mapped[str | None] = mapped_column(String(1000))
    first_used_at: Mapped[datetime | None] = mapped_column(Moment)
    """When a request first rested on it, so that its sponsor is told once."""
