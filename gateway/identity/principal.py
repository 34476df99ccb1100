"""Who a request comes from, as the directory knows it."""

from dataclasses import dataclass
from datetime import datetime

from gateway.identity.proof import Assurance
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
    """A person who acts in the verification workflow: by a key of their own, or logged in."""

    key_id: str
    person_id: str
    assurance: Assurance | None = None
    """How a provider knew them; None with a key."""
    session_id: str | None = None
    """The login's session; None with a key or a token."""

    @property
    def actor(self) -> str:
        """The name in the audit trail."""
        return f"person:{self.person_id}"


@dataclass(frozen=True, slots=True)
class Administrator:
    """An administrator: a key that is nobody's in particular, or a person who has the duty."""

    key_id: str
    person_id: str | None = None
    assurance: Assurance | None = None
    """How a provider knew the person; None with a key."""

    @property
    def actor(self) -> str:
        """The name in the audit trail."""
        return f"admin:{self.key_id}" if self.person_id is None else f"person:{self.person_id}"
