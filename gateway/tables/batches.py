"""Files that people have uploaded or been written, and batches; a batch's row is the job itself."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class StoredFile(Base):
    """A file; its content is on the shelf, under its id."""

    __tablename__ = "files"
    __table_args__ = (CheckConstraint("purpose IN ('batch', 'batch_output')", name="purpose"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    purpose: Mapped[str] = mapped_column(String(20))
    filename: Mapped[str] = mapped_column(String(255))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    domains: Mapped[list[str]] = mapped_column(JSON)
    """The hazard domains that the checkpoints know which have answered what is in it."""
    created_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment, index=True)


class Batch(Base):
    """A batch: what is to be done, how far it is, and which gateway is at work on it.

    `claim` counts the gateways that have taken it up; whoever writes with an older number has lost
    it to another.
    """

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint(
            "status IN ('validating', 'failed', 'in_progress', 'finalizing', 'completed',"
            " 'expired', 'cancelling', 'cancelled')",
            name="status",
        ),
        CheckConstraint(
            "(status IN ('failed', 'completed', 'expired', 'cancelled')) = (ended_at IS NOT NULL)",
            name="ended",
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), index=True)
    key_id: Mapped[str] = mapped_column(String(36))
    """Of the key, or of the identity behind a token, that it was made with."""
    endpoint: Mapped[str] = mapped_column(String(40))
    input_file_id: Mapped[str] = mapped_column(String(40), index=True)
    output_file_id: Mapped[str | None] = mapped_column(String(40))
    error_file_id: Mapped[str | None] = mapped_column(String(40))
    output_seconds: Mapped[int | None]
    """For how long its files are kept, when its owner has said so."""
    labels: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """OpenAI's `metadata`."""
    model: Mapped[str | None] = mapped_column(String(200))
    door: Mapped[str | None] = mapped_column(String(200))
    """The alias that the model's name led its owner to when the batch was made. A line is answered
    there or not at all: to lose a grant must not mean to get answers from elsewhere."""
    status: Mapped[str] = mapped_column(String(20), index=True)
    errors: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    total: Mapped[int]
    completed: Mapped[int]
    failed: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Moment)
    in_progress_at: Mapped[datetime | None] = mapped_column(Moment)
    cancelling_at: Mapped[datetime | None] = mapped_column(Moment)
    finalizing_at: Mapped[datetime | None] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    claim: Mapped[int]
    leased_until: Mapped[datetime | None] = mapped_column(Moment)
