"""The shapes of openings of kept contents."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

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
