"""Who a request comes from, as the directory knows it."""

from dataclasses import dataclass
from datetime import datetime

from gateway.policy.grants import GrantTerms, Standing, TierTerms, live_domains


@dataclass(frozen=True, slots=True)
class Principal:
    """The person behind a key."""

    key_id: str
    person_id: str
    standing: Standing
    grants: tuple[GrantTerms, ...]

    @property
    def tier(self) -> TierTerms:
        """The person's access tier."""
        return self.standing.tier

    def domains(self, now: datetime) -> frozenset[str]:
        """Return the hazard domains that are open to the person at `now`."""
        return live_domains(self.standing, self.grants, now)


@dataclass(frozen=True, slots=True)
class Member:
    """A person who acts in the verification workflow, with a key of their own."""

    key_id: str
    person_id: str

    @property
    def actor(self) -> str:
        """The name in the audit trail."""
        return f"person:{self.person_id}"


@dataclass(frozen=True, slots=True)
class Administrator:
    """An administrator, known by key; `actor` names it in the audit trail."""

    key_id: str

    @property
    def actor(self) -> str:
        """The name in the audit trail."""
        return f"admin:{self.key_id}"
