"""Closures of doors, and what two people have opened in an emergency."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class Closure(Base):
    """A hazard domain, or every one, that nobody's grants open until it is lifted."""

    __tablename__ = "closures"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    domain: Mapped[str | None] = mapped_column(String(63))
    reason: Mapped[str] = mapped_column(String(1000))
    closed_by: Mapped[str] = mapped_column(String(200))
    closed_at: Mapped[datetime] = mapped_column(Moment)
    lifted_by: Mapped[str | None] = mapped_column(String(200))
    lifted_at: Mapped[datetime | None] = mapped_column(Moment)


class Opening(Base):
    """What one person asks to open at once, and who else has confirmed it."""

    __tablename__ = "openings"
    __table_args__ = (
        CheckConstraint("(closure_id IS NULL) = (person_id IS NOT NULL)", name="one_thing"),
        CheckConstraint("(person_id IS NULL) = (minutes IS NULL)", name="has_minutes"),
        CheckConstraint("minutes BETWEEN 1 AND 60", name="minutes"),
        CheckConstraint("confirmed_by <> requested_by", name="two_people"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    closure_id: Mapped[str | None] = mapped_column(ForeignKey("closures.id"))
    person_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    domain: Mapped[str | None] = mapped_column(String(63))
    minutes: Mapped[int | None]
    reason: Mapped[str] = mapped_column(String(1000))
    requested_by: Mapped[str] = mapped_column(ForeignKey("people.id"))
    requested_at: Mapped[datetime] = mapped_column(Moment)
    confirmed_by: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    confirmed_at: Mapped[datetime | None] = mapped_column(Moment)
    grant_id: Mapped[str | None] = mapped_column(ForeignKey("grants.id"))
