"""Requests that came with an idempotency key, and what was answered."""

from datetime import datetime

from sqlalchemy import CheckConstraint, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class IdempotentRequest(Base):
    """One request; without an answer it is being done. An answer cannot be read without its key."""

    __tablename__ = "idempotent_requests"
    __table_args__ = (CheckConstraint("(answer IS NULL) = (status IS NULL)", name="answered"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    token: Mapped[str] = mapped_column(String(36))
    fingerprint: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(Moment, index=True)
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    status: Mapped[int | None]
