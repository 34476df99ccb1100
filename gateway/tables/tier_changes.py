"""Changes of tiers: what one person proposed, and what another one approved."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class TierChange(Base):
    """A whole new version of a tier; in force once it has a number.

    `tier` is no foreign key, since the first version of a tier is proposed before there is one.
    """

    __tablename__ = "tier_changes"
    __table_args__ = (
        UniqueConstraint("tier", "version"),
        CheckConstraint("approved_by <> proposed_by", name="two_people"),
        CheckConstraint("(version IS NULL) = (in_force_at IS NULL)", name="in_force"),
        CheckConstraint("version IS NULL OR withdrawn_at IS NULL", name="not_withdrawn"),
        CheckConstraint(
            "version IS NULL OR approved_by IS NOT NULL OR NOT takes_two", name="approved"
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tier: Mapped[str] = mapped_column(String(63), index=True)
    base_version: Mapped[int]
    terms: Mapped[dict[str, Any]] = mapped_column(JSON)
    digest: Mapped[str] = mapped_column(String(71))
    takes_two: Mapped[bool]
    reason: Mapped[str] = mapped_column(String(1000))
    proposed_by: Mapped[str] = mapped_column(String(200))
    proposed_at: Mapped[datetime] = mapped_column(Moment)
    approved_by: Mapped[str | None] = mapped_column(String(200))
    withdrawn_by: Mapped[str | None] = mapped_column(String(200))
    withdrawn_at: Mapped[datetime | None] = mapped_column(Moment)
    version: Mapped[int | None]
    in_force_at: Mapped[datetime | None] = mapped_column(Moment)
