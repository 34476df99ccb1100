"""What is served: promotions, engines, and the version that every change of access raises."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment


class Promotion(Base):
    """One version of an alias, as the gateway took it from the registry."""

    __tablename__ = "promotions"
    __table_args__ = (UniqueConstraint("family", "label", "version"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    family: Mapped[str] = mapped_column(String(63))
    label: Mapped[str] = mapped_column(String(63))
    version: Mapped[int]
    checkpoint: Mapped[str] = mapped_column(String(71))
    hazards: Mapped[list[str]] = mapped_column(JSON)
    forgets: Mapped[list[str]] = mapped_column(JSON)
    release_digest: Mapped[str] = mapped_column(String(71))
    profile: Mapped[dict[str, object]] = mapped_column(JSON)
    profile_digest: Mapped[str] = mapped_column(String(71))
    waived: Mapped[list[str]] = mapped_column(JSON)
    fingerprint: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    actor: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment)
    withdrawn_at: Mapped[datetime | None] = mapped_column(Moment)
    withdrawn_reason: Mapped[str | None] = mapped_column(String(1000))


class Revocation(Base):
    """A checkpoint that is not served any more, whatever the registry's files say later."""

    __tablename__ = "revocations"

    checkpoint: Mapped[str] = mapped_column(String(71), primary_key=True)
    reason: Mapped[str] = mapped_column(String(1000))
    actor: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(Moment)


class Engine(Base):
    """An engine that was added through the admin API; settings can name others."""

    __tablename__ = "engines"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    url: Mapped[str] = mapped_column(String(300), unique=True)
    digest: Mapped[str] = mapped_column(String(71))
    attest_url: Mapped[str | None] = mapped_column(String(300))
    api_key_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(Moment)


class AuthorizationVersion(Base):
    """One row; raised in the transaction of every change that can open or close a door."""

    __tablename__ = "authorization_version"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int]
    mark: Mapped[str] = mapped_column(String(32))
    """Drawn with each version: a database that came back from a backup has others."""


class AuthorizationChange(Base):
    """What raised a version, so that gateways read again only what it concerns."""

    __tablename__ = "authorization_changes"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    mark: Mapped[str] = mapped_column(String(32))
    tag: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(200))
    person_id: Mapped[str | None] = mapped_column(String(36))
    """Whom it is about, where the change itself says so."""
