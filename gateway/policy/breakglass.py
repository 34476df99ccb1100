"""Break-glass: closing takes one person, at once; opening takes two, for an hour at most. Pure.

What is opened is a grant or the end of a closure, never more: which checkpoints are released is
another rule's question, and a closure closes emergency grants as it closes all others.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.policy.approval import Duty, Party, Role, conflict

LONGEST_EMERGENCY = timedelta(minutes=60)
REQUEST_LAPSES_AFTER = timedelta(minutes=60)


@dataclass(frozen=True)
class Closures:
    """What nobody's grants open now."""

    everything: bool = False
    domains: frozenset[str] = frozenset()

    def still_open(self, granted: frozenset[str]) -> frozenset[str]:
        """Return those of the granted domains that are not closed."""
        return frozenset() if self.everything else granted - self.domains


NOTHING_CLOSED = Closures()


@dataclass(frozen=True)
class Request:
    """What one person wants to open."""

    by: str
    at: datetime
    domain: str | None
    """None for everything, which is for the end of a closure only."""


def may_close(party: Party) -> bool:
    """Whether a person may close a door: whoever has a part in the workflow beyond reading."""
    return party.is_active and bool(party.roles - {Role(Duty.AUDITOR)})


def refusal(party: Party, domain: str | None, beneficiary: Party | None) -> str | None:
    """Return why a person may not be one of the two who open; None when they may."""
    is_reviewer = domain is not None and party.has(Duty.DOMAIN_REVIEWER, domain)
    if not (party.has(Duty.APPROVER) or is_reviewer):
        return "this takes an approver, or a reviewer of the domain"
    if not party.is_active or party.organisation_state != "verified":
        return "it takes somebody active, of a verified organisation"
    return None if beneficiary is None else conflict(beneficiary, party)


def confirmation_refusal(
    request: Request, party: Party, beneficiary: Party | None, now: datetime
) -> str | None:
    """Return why a person may not be the second; None when they may."""
    if party.id == request.by:
        return "opening takes two people"
    if now >= request.at + REQUEST_LAPSES_AFTER:
        return "the request has lapsed"
    return refusal(party, request.domain, beneficiary)
