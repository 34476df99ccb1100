"""The shapes of webhooks, notices and what people do not want to be told."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from gateway.controlplane.schemas import In, Out
from gateway.policy.notices import MAIL_ONLY, SECURITY, Event

State = Literal["waiting", "sent", "dropped", "dead"]


class WebhookIn(In):
    """A program that is told of events."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=500)]
    events: list[Event] = Field(
        default_factory=list, max_length=64, description="What it is told of; empty for all."
    )

    @field_validator("events")
    @classmethod
    def _are_for_programs(cls, value: list[Event]) -> list[Event]:
        if MAIL_ONLY & set(value):
            raise ValueError("these concern the reader of one address alone")
        return sorted(set(value))


class WebhookRotation(In):
    """How a webhook's secret is replaced."""

    overlap_hours: float = Field(
        24, ge=0, le=168, description="How long both secrets sign; 0 when the old one has leaked."
    )


class WebhookOut(Out):
    """A webhook, without its secrets."""

    id: str
    url: str
    events: list[str]
    created_by: str
    created_at: datetime
    old_until: datetime | None = Field(description="Until when the old secret signs as well.")
    ended_at: datetime | None


class NewWebhookOut(WebhookOut):
    """A webhook with the secret that is shown this once."""

    secret: str


class WebhookRemovalOut(Out):
    """What taking a webhook away would do."""

    id: str
    url: str
    would_drop: int


class NoticeOut(Out):
    """One notice for one recipient; where it goes is not in it."""

    id: str
    event: str
    subject: str
    person_id: str | None
    organisation_id: str | None
    webhook_id: str | None
    created_at: datetime
    state: str
    next_at: datetime
    attempts: int
    problem: str | None
    ended_at: datetime | None


class UnwantedIn(In):
    """What a person does not want to be told of; replaces what was before."""

    unwanted: list[Event] = Field(max_length=64)

    @field_validator("unwanted")
    @classmethod
    def _leave_security(cls, value: list[Event]) -> list[Event]:
        if kept := sorted(SECURITY & set(value)):
            raise ValueError(f"nobody turns these off: {', '.join(kept)}")
        return sorted(set(value))


class UnwantedOut(Out):
    """What a person does not want to be told of, and what they could turn off."""

    unwanted: list[str]
    may_be_unwanted: list[str]
