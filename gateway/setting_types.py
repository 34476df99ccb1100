"""The forms of single settings that other modules check as well: addresses, hosts, visa issuers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MailAddress = Annotated[
    str,
    StringConstraints(
        max_length=254,
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
        r"@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
        r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+$",
    ),
]
"""An e-mail address, as HTML has it: https://html.spec.whatwg.org/#valid-e-mail-address"""
WebhookHost = Annotated[
    str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251})(:[0-9]{1,5})?$")
]
Domain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Url = Annotated[
    str,
    StringConstraints(
        max_length=255, pattern=r"^(https://|http://(127\.0\.0\.1|localhost)[:/])[^\s#]+$"
    ),
]


class VisaIssuerSetting(BaseModel):
    """One issuer of GA4GH visas whose word is taken as evidence, for reviewers to accept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Url
    """Its identifier, letter for letter."""
    jwks_url: Url
    """Where its keys are; what a visa says of that must be the same."""
    algorithms: Annotated[tuple[Literal["ES256", "RS256"], ...], Field(min_length=1)] = (
        "ES256",
        "RS256",
    )
    """What it signs with."""
    domains: dict[str, Domain] = Field(default_factory=dict)
    """Which hazard domain the value of a controlled access grant means."""
