"""How people and organisations are reached, and who answers for a grant beside its holder."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class Address(Base):
    """The e-mail address of a person, or of an organisation's contact; it identifies nobody.

    `email` was verified; `pending_email` waits for whoever reads it to open a link, whose code is
    made of `nonce` and the gateway's secret, so that the row alone confirms nothing. Erased, the
    row says only that it was, and when a mail was last asked for.
    """

    __tablename__ = "addresses"
    __table_args__ = (
        CheckConstraint("(person_id IS NULL) <> (organisation_id IS NULL)", name="one_owner"),
        CheckConstraint(
            "(email IS NULL) = (verified_at IS NULL) AND (email IS NULL) = (verified_by IS NULL)",
            name="verified",
        ),
        CheckConstraint(
            "(pending_email IS NULL) = (nonce IS NULL)"
            " AND (pending_email IS NULL) = (pending_until IS NULL)",
            name="pending",
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"), unique=True)
    organisation_id: Mapped[str | None] = mapped_column(ForeignKey("organisations.id"), unique=True)
    email: Mapped[str | None] = mapped_column(String(254))
    verified_at: Mapped[datetime | None] = mapped_column(Moment)
    verified_by: Mapped[str | None] = mapped_column(String(200))
    """`mail`, or the issuer that says so."""
    pending_email: Mapped[str | None] = mapped_column(String(254))
    nonce: Mapped[str | None] = mapped_column(String(43))
    pending_until: Mapped[datetime | None] = mapped_column(Moment)
    asked_at: Mapped[datetime | None] = mapped_column(Moment)
    erased_at: Mapped[datetime | None] = mapped_column(Moment)
    """From then on none is taken over from an issuer, until its owner confirms one."""


class InstitutionMail(Base):
    """One mail to an address at a person's institution, whose code makes evidence once.

    The code is made of everything here and the gateway's secret, and kept nowhere. Ended, the row
    has no address any more: `mailbox` is a keyed digest of it, to count mails by and to see that
    two people do not show the same one.
    """

    __tablename__ = "institution_mails"
    __table_args__ = (
        CheckConstraint(
            "(email IS NULL) = (ended_at IS NOT NULL) AND (email IS NULL) = (nonce IS NULL)",
            name="ended",
        ),
        CheckConstraint("evidence_id IS NULL OR ended_at IS NOT NULL", name="used"),
        CheckConstraint("attempts >= 0", name="attempts"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    email: Mapped[str | None] = mapped_column(String(254))
    mailbox: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    nonce: Mapped[str | None] = mapped_column(String(43))
    asked_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    attempts: Mapped[int]
    """How many wrong codes were shown."""
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
    evidence_id: Mapped[str | None] = mapped_column(ForeignKey("evidence.id"), unique=True)


class Sponsor(Base):
    """Who answers for a grant beside its holder: a person, or an organisation's contact."""

    __tablename__ = "sponsors"
    __table_args__ = (
        CheckConstraint("(person_id IS NULL) <> (organisation_id IS NULL)", name="one_sponsor"),
    )

    grant_id: Mapped[str] = mapped_column(ForeignKey("grants.id"), primary_key=True)
    person_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    organisation_id: Mapped[str | None] = mapped_column(ForeignKey("organisations.id"))
    set_by: Mapped[str] = mapped_column(String(200))
    set_at: Mapped[datetime] = mapped_column(Moment)
