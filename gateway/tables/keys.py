"""API keys, and what narrows them."""

from datetime import datetime

from sqlalchemy import JSON, CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.tables.metadata import Base, Moment

LIMITS = ("requests_per_minute", "tokens_per_minute", "tokens_per_day", "max_concurrent")


class ApiKey(Base):
    """A key that asks models (`key`), applies and reviews (`workflow`), or administers (`admin`).

    The first two belong to a person, and never change hands. Only a keyed hash is kept. What is
    null does not narrow it. `proven_…` says how and when whoever made it had proven who they are;
    null for a key that takes no step which asks for that.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("kind IN ('key', 'workflow', 'admin')", name="kind"),
        CheckConstraint("(kind = 'admin') = (person_id IS NULL)", name="owner"),
        CheckConstraint("kind <> 'key' OR scopes IS NULL", name="scopes"),
        CheckConstraint("(proven_by IS NULL) = (proven_at IS NULL)", name="proven"),
        *(CheckConstraint(f"{name} > 0", name=name) for name in LIMITS),
    )

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    person_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"), index=True)
    label: Mapped[str] = mapped_column(String(200))
    secret_hmac: Mapped[bytes] = mapped_column(LargeBinary(32))
    pepper_version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime | None] = mapped_column(Moment)
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)
    replaced_by: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    endpoints: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    domains: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    addresses: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    scopes: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    tokens_per_day: Mapped[int | None]
    max_concurrent: Mapped[int | None]
    proven_by: Mapped[str | None] = mapped_column(String(500))
    proven_acr: Mapped[str | None] = mapped_column(String(255))
    proven_at: Mapped[datetime | None] = mapped_column(Moment)
    last_used_at: Mapped[datetime | None] = mapped_column(Moment)
