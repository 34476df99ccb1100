"""What an identity provider vouches for: who somebody is, and how and when they proved it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Assurance:
    """How and when somebody proved to a provider who they are, as far as it says."""

    issuer: str
    acr: str | None = None
    """The authentication context, by the provider's own names."""
    authenticated_at: float | None = None
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified statement of a provider; a person here is (issuer, subject), never an address."""

    issuer: str
    subject: str
    expires_at: float
    """Seconds since the epoch."""
    assurance: Assurance
