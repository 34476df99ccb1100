"""The shapes of keys: what is asked for, what is shown, what a leak report says."""

import ipaddress
from datetime import datetime
from typing import Annotated

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    StringConstraints,
    field_validator,
)

from gateway.controlplane.schemas import Id, In, Name, Out, Text
from gateway.policy.key_terms import PATHS
from gateway.policy.scopes import Scope

MOST = 2**31 - 1
EndpointPath = Annotated[str, Field(json_schema_extra={"enum": list(PATHS)})]
Amount = Annotated[int, Field(ge=1, le=MOST)]


class KeyTermsIn(In):
    """How a new key is narrowed; what is left out does not narrow it."""

    label: Text = "key"
    endpoints: list[EndpointPath] | None = Field(
        None, min_length=1, max_length=32, description="Of a caller's key: what it may ask."
    )
    domains: list[Name] | None = Field(
        None,
        max_length=32,
        description="Of a caller's key: the only domains whose grants count; [] for none.",
    )
    addresses: list[Annotated[str, Field(max_length=50)]] | None = Field(
        None, min_length=1, max_length=64, description="Networks that it may be used from."
    )
    scopes: list[Scope] | None = Field(
        None, min_length=1, description="Of a workflow or administrator's key: what it is for."
    )
    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    tokens_per_day: Amount | None = None
    max_concurrent: Amount | None = None

    @field_validator("endpoints")
    @classmethod
    def _are_served(cls, given: list[str] | None) -> list[str] | None:
        for path in given or ():
            if path not in PATHS:
                raise ValueError(f"an endpoint is one of {', '.join(PATHS)}")
        return given

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, given: list[str] | None) -> list[str] | None:
        """Write each as CIDR; one that has bits beyond its prefix says two things at once."""
        if given is None:
            return None
        networks = [ipaddress.ip_network(text) for text in given]
        for network in networks:
            if isinstance(network.network_address, ipaddress.IPv6Address) and (
                network.network_address.ipv4_mapped is not None
            ):
                raise ValueError(f"write {network} as IPv4")
        return [str(network) for network in networks]


class KeyIn(KeyTermsIn):
    """A new key: a person's (with `person_id`) or an administrator's (with `admin`)."""

    person_id: Id | None = None
    admin: bool = False
    workflow: bool = Field(
        False, description="Of a person: to apply, review and approve with, not to ask models."
    )
    days: int | None = Field(
        None,
        ge=1,
        le=3660,
        description="Until it expires. None: with the first grant that it uses, or never; a "
        "workflow or administrator's key after a day.",
    )


class OwnKeyIn(KeyTermsIn):
    """A key of one's own."""

    workflow: bool = Field(False, description="To apply and review with, not to ask models.")
    days: int | None = Field(
        None,
        ge=1,
        le=366,
        description="Until it expires. None: 90, but no longer than the first grant that it uses; "
        "a workflow key after one.",
    )


class KeyNarrowing(KeyTermsIn):
    """What a key is to lose; what is left out stays as it is."""

    expires_at: AwareDatetime | None = Field(None, description="Sooner than it would end anyway.")


class KeyRotation(In):
    """How a key is rotated."""

    overlap_hours: float = Field(
        0, ge=0, le=168, description="How long the old key still works; 0 when it has leaked."
    )


class KeyOut(Out):
    """A key, without its secret."""

    id: str
    kind: str
    person_id: str | None
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None
    last_used_at: datetime | None = Field(description="To the minute; a minute late.")
    endpoints: list[str] | None
    domains: list[str] | None
    addresses: list[str] | None
    scopes: list[str] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    tokens_per_day: int | None
    max_concurrent: int | None
    pepper_version: int = Field(description="Of the pepper that its secret is hashed with.")
    proven_by: str | None = Field(description="The issuer by whose login it was made.")
    proven_at: datetime | None

    def lasting(self) -> "KeyOut":
        """Return the key without what every use of it changes, for its ETag."""
        return self.model_copy(update={"last_used_at": None})


class KeyLine(Out):
    """A key in a line of a table."""

    id: str
    kind: str
    person_id: str | None
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKeyOut(KeyOut):
    """A new key, with the text that is shown this once."""

    key: str


class LeakIn(BaseModel):
    """A key that was found where it should not be; the other fields of a report are not kept."""

    model_config = ConfigDict(extra="ignore")

    token: Annotated[str, StringConstraints(max_length=200)]


class LeaksIn(RootModel[Annotated[list[LeakIn], Field(min_length=1, max_length=100)]]):
    """A report, in the form of GitHub's secret scanning."""
