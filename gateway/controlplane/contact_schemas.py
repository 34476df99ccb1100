"""The shapes of addresses and sponsors."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, model_validator

from gateway.controlplane.schemas import Id, In, Out
from gateway.policy.mail_domains import is_relayed, normal_email
from gateway.setting_types import MailAddress

ADDRESS = TypeAdapter(MailAddress)


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


def _normal(value: str) -> str:
    try:
        email = ADDRESS.validate_python(normal_email(value))
    except ValueError as error:
        raise ValueError("this is no e-mail address") from error
    if is_relayed(email):
        raise ValueError("an address with % or ! may be another mailbox's")
    return email


class InstitutionMailIn(In):
    """An address at one's institution."""

    email: Annotated[str, StringConstraints(max_length=254), AfterValidator(_normal)]


class InstitutionMailOut(Out):
    """That a mail is on its way, unless too many went there; nothing is said of the address."""

    id: str
    email: str
    asked_at: datetime
    expires_at: datetime


class InstitutionCodeIn(In):
    """What the mail holds."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,100}$")]


class SponsorIn(In):
    """Who answers for a grant beside its holder: a person, or an organisation's contact."""

    person_id: Id | None = None
    organisation_id: Id | None = None

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
