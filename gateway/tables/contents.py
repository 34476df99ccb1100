"""Contents of base requests, sealed; the keys they are sealed to; who opened or destroyed them."""

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class ContentKey(Base):
    """The key of contents that rest on the same grants; without its private half they are gone."""

    __tablename__ = "content_keys"
    __table_args__ = (
        CheckConstraint("(sealed_private IS NULL) = (destroyed_at IS NOT NULL)", name="destroyed"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    grants: Mapped[list[str]] = mapped_column(JSON)
    public: Mapped[bytes] = mapped_column(LargeBinary(32))
    sealed_private: Mapped[bytes | None] = mapped_column(LargeBinary)
    made_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment, index=True)
    destroyed_at: Mapped[datetime | None] = mapped_column(Moment)


class KeptContent(Base):
    """A request or an answer."""

    __tablename__ = "kept_contents"
    __table_args__ = (CheckConstraint("part IN ('request', 'answer')", name="part"),)

    request_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    part: Mapped[str] = mapped_column(String(10), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("content_keys.id"), index=True)
    at: Mapped[datetime] = mapped_column(Moment)
    nonce: Mapped[bytes] = mapped_column(LargeBinary(12))
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_key: Mapped[bytes] = mapped_column(LargeBinary)


class ContentOpening(Base):
    """What one person asks to read, who else has agreed, and whether it was handed out."""

    __tablename__ = "content_openings"
    __table_args__ = (
        CheckConstraint("approved_by <> asked_by", name="two_people"),
        CheckConstraint("(approved_by IS NULL) = (approved_at IS NULL)", name="approved"),
        CheckConstraint("released_at IS NULL OR approved_at IS NOT NULL", name="released"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    request_id: Mapped[str] = mapped_column(String(100), index=True)
    about: Mapped[str] = mapped_column(ForeignKey("people.id"))
    reason: Mapped[str] = mapped_column(String(1000))
    asked_by: Mapped[str] = mapped_column(ForeignKey("people.id"))
    asked_at: Mapped[datetime] = mapped_column(Moment)
    approved_by: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    approved_at: Mapped[datetime | None] = mapped_column(Moment)
    released_at: Mapped[datetime | None] = mapped_column(Moment)


class ContentDestruction(Base):
    """Contents that one person asks to be destroyed before their time, and who else has agreed."""

    __tablename__ = "content_destructions"
    __table_args__ = (
        CheckConstraint("(request_id IS NULL) <> (grant_id IS NULL)", name="one"),
        CheckConstraint("approved_by <> asked_by", name="two_people"),
        CheckConstraint("(approved_by IS NULL) = (approved_at IS NULL)", name="approved"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    request_id: Mapped[str | None] = mapped_column(String(100))
    grant_id: Mapped[str | None] = mapped_column(ForeignKey("grants.id"))
    about: Mapped[str] = mapped_column(ForeignKey("people.id"))
    reason: Mapped[str] = mapped_column(String(1000))
    asked_by: Mapped[str] = mapped_column(ForeignKey("people.id"))
    asked_at: Mapped[datetime] = mapped_column(Moment)
    approved_by: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    approved_at: Mapped[datetime | None] = mapped_column(Moment)
