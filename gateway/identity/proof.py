"""What an identity provider vouches for: who somebody is, and how and when they proved it."""

from dataclasses import dataclass

CLOCK_SECONDS = 30.0
"""By how much a provider's clock may be ahead of or behind ours."""

TERMINAL = "terminal"
"""Stands for an issuer where somebody has the server's own terminal, and so the secret itself."""


@dataclass(frozen=True, slots=True)
class Assurance:
    """How and when somebody proved to a provider who they are, as far as it says."""

    issuer: str
    acr: str | None = None
    """The authentication context, by the provider's own names."""
    authenticated_at: float | None = None
    """Seconds since the epoch."""

    def meets(self, acr_values: tuple[str, ...], max_age_seconds: float, now: float) -> bool:
        """Whether it is strong and fresh enough; what the provider does not say, is not.

        Args:
            acr_values: The contexts that will do; empty for any.
            max_age_seconds: How long ago it may have been; below zero for never.
            now: In seconds since the epoch.
        """
        if max_age_seconds < 0 or (acr_values and self.acr not in acr_values):
            return False  # Clocks may differ; what nothing meets is not met by a new login either.
        at = self.authenticated_at
        return at is not None and now - max_age_seconds - CLOCK_SECONDS <= at <= now + CLOCK_SECONDS


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified statement of a provider; a person here is (issuer, subject), never an address."""

    issuer: str
    subject: str
    expires_at: float
    """Seconds since the epoch."""
    assurance: Assurance
