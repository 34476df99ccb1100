"""The forms of single settings: engines, issuers, addresses, hosts."""

from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import idna
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)


def _no_encoded_word(value: str) -> str:
    # Python's mail package decodes such words (RFC 2047) where it reads addresses, so that the
    # text would be one mailbox here and another one in a mail's header.
    if "=?" in value:
        raise ValueError("this is no e-mail address")
    return value


MailAddress = Annotated[
    str,
    StringConstraints(
        max_length=254,
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
        r"@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
        r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+$",
    ),
    AfterValidator(_no_encoded_word),
]
"""An e-mail address, as HTML has it: https://html.spec.whatwg.org/#valid-e-mail-address"""


def _with_a_port(url: str) -> str:
    """Return an address whose port, if any, is a number: reading it says so otherwise."""
    _ = urlsplit(url).port
    return url


RedisUrl = Annotated[
    str, StringConstraints(pattern=r"^(redis|rediss|unix)://"), AfterValidator(_with_a_port)
]
MAX_DAYS = 36_500
"""The calendar ends as well."""
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

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

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


class EngineSetting(BaseModel):
    """One engine that the gateway may send requests to."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/]+$")]
    """The engine's root address, without a path."""
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    """The checkpoint that it must serve; checked before the first request and ever after."""
    api_key_file: Path
    """A file with the engine's API key."""
    attest_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/]+$")] | None = None
    """Its side-car's root address; it says, signed, what the engine was started on."""


DEFAULT_PORTS = {"http": 80, "https": 443}


def _as_browsers_write(value: str) -> str:
    """Return an origin; refused is a spelling that is never in a browser's `Origin` header."""
    parts = urlsplit(value)
    host = parts.hostname or ""
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode()
    if ":" in host:
        host = f"[{IPv6Address(host).compressed}]"
    port = "" if parts.port in (None, DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    if value != (right := f"{parts.scheme}://{host}{port}"):
        raise ValueError(f"browsers write it '{right}', and so must the gateway")
    return value


PublicUrl = Annotated[
    str,
    StringConstraints(pattern=r"^(https://[^/\s?#]+|http://(127\.0\.0\.1|localhost)(:[0-9]+)?)$"),
    AfterValidator(_as_browsers_write),
]
"""Browsers keep the session's cookie only where its way is protected."""
Algorithm = Literal["RS256", "PS256", "ES256", "ES384", "Ed25519"]


class IssuerSetting(BaseModel):
    """One identity provider whose word for who somebody is counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    """What it is called here, in addresses and metrics."""
    issuer: Annotated[
        str, StringConstraints(pattern=r"^(https://|http://(127\.0\.0\.1|localhost)[:/])[^\s?#]+$")
    ]
    """Its identifier, letter for letter; keys and endpoints are found below it by discovery."""
    audience: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """What access tokens for this gateway name as their audience; without, it takes none."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("ES256", "RS256")
    """What it signs with; no other algorithm is verified."""
    token_types: Annotated[tuple[str, ...], Field(min_length=1)] = ("at+jwt",)
    """The `typ` of its access tokens; `JWT` for a provider that sets no better one."""
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """The gateway's own name at the issuer, for logins and introspection."""
    client_secret_file: Path | None = None
    """A file with the secret that goes with it."""
    introspection: bool = False
    """Whether its access tokens are opaque, and it is asked what they are."""
    organisation: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "Unaffiliated"
    """The organisation that people are of whom it logs in for the first time."""
    email: bool = False
    """Whether the e-mail address that it has verified is taken over, for notices."""
    step_up_acr: tuple[str, ...] = ()
    """The authentication contexts that are strong enough for a reviewer's or keyholder's step."""
    step_up_max_age_seconds: int = Field(900, ge=30, le=86_400)
    """How long ago somebody may have proven who they are, for such a step."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.introspection and (self.client_secret_file is None or self.audience is None):
            raise ValueError("introspection takes audience, client_id and client_secret_file")
        if self.client_secret_file is not None and self.client_id is None:
            raise ValueError("client_secret_file takes client_id")
        if self.audience is not None and self.audience == self.client_id:
            raise ValueError("audience must not be client_id: an ID token would be a key")
        return self
