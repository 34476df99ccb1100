"""The shapes of openings of kept contents, and of their destruction by hand."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from gateway.controlplane.schemas import In, Out, Reason

RequestId = Annotated[str, StringConstraints(pattern=r"^req_[0-9a-f]{32}$")]


class ContentsIn(In):
    """Contents to be opened, and why."""

    request_id: RequestId = Field(description="`x-request-id` of the answer.")
    reason: Reason


class ContentsOut(Out):
    """An opening of contents."""

    id: str
    request_id: str
    about: str = Field(description="Whose contents they are.")
    reason: str
    asked_by: str
    asked_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    released_at: datetime | None = Field(description="They are handed out once.")


class DestructionIn(In):
    """Contents to be destroyed before their time: of one request, or of a grant; and why."""

    request_id: RequestId | None = None
    grant_id: Annotated[str, StringConstraints(max_length=36)] | None = None
    reason: Reason

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.request_id is None) == (self.grant_id is None):
            raise ValueError("name a request or a grant")
        return self


class DestructionOut(Out):
    """A destruction of contents: asked for, or done."""

    id: str
    request_id: str | None
    grant_id: str | None
    about: str = Field(description="Whose contents they are.")
    reason: str
    asked_by: str
    asked_at: datetime
    approved_by: str | None
    approved_at: datetime | None = Field(description="Since then they are gone.")


class DestroyedOut(Out):
    """How much a destruction concerns."""

    requests: int
    parts: int = Field(description="Requests and answers, with their keys.")
    keys: int = Field(description="Of grants, that serve no new request any more.")


class DestructionStepOut(Out):
    """A step of a destruction; `destruction` is null where it was a dry run."""

    concerned: DestroyedOut
    destruction: DestructionOut | None
