"""When a grant counts: its terms, judged against facts and a moment.

A grant that the workflow made ends with the first of what it rests on: its own term, the person's
verifications, the accepted terms of use, the review of its use. Suspended by hand it does not
count until somebody resumes it; revoked it never counts again.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from gateway.policy.breakglass import NOTHING_CLOSED, Closures
from gateway.policy.capabilities import Capability
from gateway.policy.evidence import Requirements

NEVER = datetime.min.replace(tzinfo=UTC)
ALWAYS = datetime.max.replace(tzinfo=UTC)

USAGE_REVIEW_EVERY = timedelta(days=45)

GrantState = Literal["active", "pending", "suspended", "expired", "revoked"]


@dataclass(frozen=True)
class GrantTerms:
    """One domain granted to one person for a time."""

    domain: str
    not_before: datetime
    expires_at: datetime
    revoked_at: datetime | None
    id: str = ""
    suspended: bool = False
    """Whether somebody has suspended it."""
    basis: "Basis | None" = None
    """What it rests on besides its term; None for one that an administrator made."""

    @property
    def ends_at(self) -> datetime:
        """The first moment at which it no longer counts, as things are."""
        return self.expires_at if self.basis is None else min(self.expires_at, self.basis.ends_at)

    def state(self, now: datetime) -> GrantState:
        """Return the state at `now`; revocation is for ever, also before its moment."""
        if self.revoked_at is not None:
            return "revoked"
        if now >= self.expires_at:
            return "expired"
        if self.suspended or now >= self.ends_at:
            return "suspended"
        return "pending" if now < self.not_before else "active"

    def is_live(self, now: datetime) -> bool:
        """Whether the grant counts at `now`."""
        return self.state(now) == "active"


@dataclass(frozen=True)
class Basis:
    """What a grant of the workflow rests on; a part that is missing is `NEVER`."""

    verified_until: datetime
    terms_until: datetime
    usage_review_due_at: datetime

    @property
    def ends_at(self) -> datetime:
        """When the first part of it ends."""
        return min(self.verified_until, self.terms_until, self.usage_review_due_at)

    def lapsed(self, now: datetime) -> tuple[str, ...]:
        """Return which parts no longer hold at a moment."""
        parts = {
            "a verification has lapsed or is missing": self.verified_until,
            "the terms of use in force are not accepted": self.terms_until,
            "the review of its use is overdue": self.usage_review_due_at,
        }
        return tuple(reason for reason, until in parts.items() if until <= now)


@dataclass(frozen=True)
class GrantRules:
    """What a tier asks of its members' grants."""

    longest: timedelta
    """However long a grant was made for, it counts no longer than this."""
    needed: Requirements
    """What has to be verified for a grant of the workflow."""


@dataclass(frozen=True)
class StepUp:
    """How strongly and how recently a person must have logged in for what weighs more."""

    acr: tuple[str, ...]
    """Authentication contexts, any one of which will do; empty for whichever."""
    max_age: int
    """Seconds since the login, at most; below zero for a demand that nothing meets."""


UNMET = StepUp((), -1)


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
    version: int = 1
    log_level: str = "base"
    """Whose requests the audit log has one by one: those to a base checkpoint, or `all`; `contents`
    has the contents of base requests kept as well."""
    step_up: StepUp | None = None

    @property
    def logs_every_request(self) -> bool:
        """Whether no request is answered unless the audit log has it."""
        return self.log_level != "base"  # A level that is unknown here logs more, not less.

    @property
    def keeps_contents(self) -> bool:
        """Whether no base request is answered unless its contents are kept."""
        return self.log_level not in ("base", "all")


@dataclass(frozen=True)
class Standing:
    """A person's tier and state."""

    tier: TierTerms
    is_active: bool
    organisation: str = ""
    organisation_active: bool = True
    """Whether the person's organisation is not suspended; a suspended one suspends its grants."""
    closures: Closures = NOTHING_CLOSED
    """What nobody's grants open now."""


def live_domains(
    standing: Standing, grants: tuple[GrantTerms, ...], now: datetime
) -> frozenset[str]:
    """Return the domains that a person's grants open at `now`.

    None for a suspended person or organisation, or a tier whose members hold no grants, whatever
    the rows say.
    """
    if not (standing.is_active and standing.organisation_active and standing.tier.grantable):
        return frozenset()
    if not grants:
        return frozenset()
    live = frozenset(grant.domain for grant in grants if grant.is_live(now))
    return standing.closures.still_open(live)
