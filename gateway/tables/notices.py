"""Notices: the outbox, the programs that are told, and what people do not want to be told."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class Webhook(Base):
    """An address of a program that is told of events; its secrets are kept encrypted.

    `events` lists what it is told of; empty for everything.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("(old_secret IS NULL) = (old_until IS NULL)", name="old_secret"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    url: Mapped[str] = mapped_column(String(500))
    events: Mapped[list[str]] = mapped_column(JSON)
    secret: Mapped[str] = mapped_column(String(300))
    old_secret: Mapped[str | None] = mapped_column(String(300))
    old_until: Mapped[datetime | None] = mapped_column(Moment)
    created_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)


class Notice(Base):
    """One event for one recipient, written in the transaction of the event itself.

    No address is in it: where it goes is looked up when it is sent. `once` names what is told once
    only; `claim` counts the attempts, and whoever writes with an older number has lost the row to
    another gateway.
    """

    __tablename__ = "notices"
    __table_args__ = (
        CheckConstraint(
            "(CASE WHEN person_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN organisation_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN webhook_id IS NULL THEN 0 ELSE 1 END) = 1",
            name="one_recipient",
        ),
        CheckConstraint("state IN ('waiting', 'sent', 'dropped', 'dead')", name="state"),
        CheckConstraint("(state = 'waiting') = (ended_at IS NULL)", name="ended"),
        Index(None, "state", "next_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    event: Mapped[str] = mapped_column(String(40), index=True)
    subject: Mapped[str] = mapped_column(String(200))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    person_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"), index=True)
    organisation_id: Mapped[str | None] = mapped_column(ForeignKey("organisations.id"))
    webhook_id: Mapped[str | None] = mapped_column(ForeignKey("webhooks.id"), index=True)
    once: Mapped[str | None] = mapped_column(String(300), unique=True)
    created_at: Mapped[datetime] = mapped_column(Moment)
    state: Mapped[str] = mapped_column(String(10))
    next_at: Mapped[datetime] = mapped_column(Moment)
    claim: Mapped[int]
    attempts: Mapped[int]
    problem: Mapped[str | None] = mapped_column(String(200))
    ended_at: Mapped[datetime | None] = mapped_column(Moment, index=True)


class UnwantedNotice(Base):
    """An event that a person does not want to be told of."""

    __tablename__ = "unwanted_notices"

    person_id: Mapped[str] = mapped_column(ForeignKey("people.id"), primary_key=True)
    event: Mapped[str] = mapped_column(String(40), primary_key=True)
