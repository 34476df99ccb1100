"""What grants rest on: evidence about people, and the terms of use that they have accepted."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class EvidenceItem(Base):
    """One assertion about a person; it counts once a reviewer has accepted it."""

    __tablename__ = "evidence"
    __table_args__ = (
        CheckConstraint(
            "(accepted_at IS NULL) = (accepted_by IS NULL)"
            " AND (accepted_at IS NULL) = (expires_at IS NULL)",
            name="accepted",
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    domain: Mapped[str | None] = mapped_column(String(63))
    source: Mapped[str] = mapped_column(String(300))
    document_digest: Mapped[str | None] = mapped_column(String(71))
    created_at: Mapped[datetime] = mapped_column(Moment)
    asserted_by: Mapped[str] = mapped_column(String(10))
    asserted_at: Mapped[datetime | None] = mapped_column(Moment)
    accepted_by: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    accepted_at: Mapped[datetime | None] = mapped_column(Moment)
    expires_at: Mapped[datetime | None] = mapped_column(Moment)
    retracted_by: Mapped[str | None] = mapped_column(String(200))
    retracted_at: Mapped[datetime | None] = mapped_column(Moment)
    not_after: Mapped[datetime | None] = mapped_column(Moment)
    """The end that its own source has set; it is accepted for no longer."""


class Terms(Base):
    """One version of the terms of use."""

    __tablename__ = "terms"

    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    mandatory_from: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(Moment)


class TermsAcceptance(Base):
    """That a person has accepted a version."""

    __tablename__ = "terms_acceptances"

    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("terms.digest"), primary_key=True)
    accepted_at: Mapped[datetime] = mapped_column(Moment)
