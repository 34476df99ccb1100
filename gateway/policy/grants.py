"""When a grant counts: its terms, judged against facts and a moment."""

from dataclasses import dataclass
from datetime import datetime

from gateway.policy.capabilities import Capability


@dataclass(frozen=True)
class GrantTerms:
    """One domain granted to one person for a time."""

    domain: str
    not_before: datetime
    expires_at: datetime
    revoked_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether the grant counts at `now`; revocation is for ever, also before its moment."""
        return self.revoked_at is None and self.not_before <= now < self.expires_at


@dataclass(frozen=True)
class TierTerms:
    """What an access tier allows."""

    name: str
    grantable: bool
    """Whether grants count for its members."""
    requests_per_minute: int
    capabilities: frozenset[Capability]
    """What its members may ask for beyond a plain answer."""
    priority: int = 0
    """Whose requests an engine takes first, when it cannot take all: the higher, the sooner."""
    tokens_per_minute: int = 100_000
    tokens_per_day: int = 10_000_000
    max_concurrent: int = 64
    """Requests at a time."""
    organisation_multiple: int = 10
    """All members of an organisation together may use so many times what one of them may."""


@dataclass(frozen=True)
class Standing:
    """A person's tier and state."""

    tier: TierTerms
    is_active: bool
    organisation: str = ""


def live_domains(
    standing: Standing, grants: tuple[GrantTerms, ...], now: datetime
) -> frozenset[str]:
    """Return the domains that a person's grants open at `now`.

    None for a suspended person or a tier whose members hold no grants, whatever the rows say.
    """
    if not (standing.is_active and standing.tier.grantable):
        return frozenset()
    return frozenset(grant.domain for grant in grants if grant.is_live(now))
