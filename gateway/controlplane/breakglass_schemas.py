"""The shapes of break-glass: closures, and openings by two people."""

from datetime import datetime

from pydantic import Field

from gateway.controlplane.schemas import Id, In, Name, Out, Reason


class ClosureIn(In):
    """A door to close, at once."""

    domain: Name | None = Field(None, description="None: every domain that grants open.")
    reason: Reason


class ClosureOut(Out):
    """A closed door."""

    id: str
    domain: str | None
    reason: str
    closed_by: str
    closed_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None


class LiftIn(In):
    """Why a closure should end."""

    reason: Reason


class EmergencyIn(In):
    """A grant that somebody else needs at once."""

    person_id: Id
    domain: Name
    minutes: int = Field(ge=1, le=60)
    reason: Reason


class OpeningOut(Out):
    """What one person asked to open, and whether another has confirmed it."""

    id: str
    closure_id: str | None
    person_id: str | None
    domain: str | None
    minutes: int | None
    reason: str
    requested_by: str
    requested_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None
    grant_id: str | None
