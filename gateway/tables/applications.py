"""Applications: their versions, and what reviewers and approvers said of them."""

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class Application(Base):
    """Where an application is; what is applied for is in its versions."""

    __tablename__ = "applications"
    __table_args__ = (CheckConstraint("round IN (1, 2)", name="round"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    state: Mapped[str] = mapped_column(String(20), index=True)
    since: Mapped[datetime] = mapped_column(Moment)
    version: Mapped[int]
    round: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Moment)


class ApplicationVersion(Base):
    """What was applied for; every edit adds one, none is changed."""

    __tablename__ = "application_versions"
    __table_args__ = (CheckConstraint("days > 0", name="days"),)

    application_id: Mapped[str] = mapped_column(ForeignKey("applications.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(71))
    organisation: Mapped[str] = mapped_column(String(200))
    domains: Mapped[list[str]] = mapped_column(JSON)
    purpose: Mapped[str] = mapped_column(String(4000))
    project: Mapped[str] = mapped_column(String(200))
    oversight_ref: Mapped[str] = mapped_column(String(200))
    days: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Moment)


class ApplicationStatement(Base):
    """One reviewer's or approver's word on one version, for one domain where it is about one."""

    __tablename__ = "application_statements"
    __table_args__ = (
        CheckConstraint("kind IN ('identity', 'domain', 'approval')", name="kind"),
        CheckConstraint("decision IN ('pass', 'approve', 'return', 'reject')", name="decision"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    application_id: Mapped[str] = mapped_column(ForeignKey("applications.id"), index=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"))
    organisation: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(10))
    domain: Mapped[str | None] = mapped_column(String(63))
    decision: Mapped[str] = mapped_column(String(10))
    digest: Mapped[str] = mapped_column(String(71))
    round: Mapped[int]
    expert: Mapped[bool]
    rationale: Mapped[str] = mapped_column(String(4000))
    created_at: Mapped[datetime] = mapped_column(Moment)
