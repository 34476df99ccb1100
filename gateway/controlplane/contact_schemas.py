"""The shapes of addresses and sponsors."""

from datetime import datetime
from typing import Self

from pydantic import Field, model_validator

from gateway.controlplane.schemas import In, Out
from gateway.setting_types import MailAddress


class AddressIn(In):
    """An address that is to be confirmed by whoever reads it."""

    email: MailAddress


class AddressOut(Out):
    """An address, for its owner and for administrators."""

    email: str | None = Field(description="The confirmed one, to which notices go.")
    verified_at: datetime | None
    verified_by: str | None = Field(description="`mail`, or the issuer that says so.")
    pending_email: str | None = Field(description="One that nobody has confirmed yet.")
    pending_until: datetime | None


class SponsorIn(In):
    """Who answers for a grant beside its holder: a person, or an organisation's contact."""

    person_id: str | None = None
    organisation_id: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.person_id is None) == (self.organisation_id is None):
            raise ValueError("name a person or an organisation")
        return self


class SponsorOut(Out):
    """Who answers for a grant."""

    grant_id: str
    person_id: str | None
    organisation_id: str | None
    set_by: str
    set_at: datetime
