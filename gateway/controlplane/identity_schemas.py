"""The shapes of identities, sessions and what a person sees of themselves."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gateway.controlplane.schemas import In, Name, Out, Text

Subject = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class IdentityIn(In):
    """Whom an issuer's subject is here."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=40)] = Field(
        description="The issuer's name in the settings."
    )
    subject: Subject = Field(description="The `sub` of its tokens.")
    person_id: str = Field(max_length=36, description="The person; of a service, its sponsor.")
    label: Text = "login"
    domains: list[Name] | None = Field(
        None,
        max_length=32,
        description="Of a service: the only domains whose grants it may use; [] for none.",
    )


class IdentityOut(Out):
    """Whom an issuer's subject is here."""

    id: str
    issuer: str
    subject: str
    person_id: str
    label: str
    domains: list[str] | None
    created_at: datetime


class SessionOut(Out):
    """A person's login with a browser."""

    id: str
    person_id: str
    issuer: str
    acr: str | None
    authenticated_at: datetime | None
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class MeOut(Out):
    """Who is calling."""

    person_id: str
    name: str
    organisation: str
    tier: str
    roles: list[str]
    by: Literal["key", "token", "session"]
    acr: str | None = Field(description="How the provider knew the caller, by its own names.")
    authenticated_at: float | None = Field(description="When it did, since the epoch.")
    csrf_token: str | None = Field(
        description="By session: what the header `x-csrf-token` of a change must hold."
    )


class FirstAdministratorIn(In):
    """The code that `airlock bootstrap` has printed."""

    code: str = Field(max_length=100)
