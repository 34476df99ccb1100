"""Who a request comes from, as the directory knows it."""

from dataclasses import dataclass
from datetime import datetime

from gateway.identity.proof import Assurance
from gateway.policy.grants import GrantTerms, Standing, TierTerms, live_domains
from gateway.policy.key_terms import NOT_NARROWED, KeyTerms
from gateway.policy.scopes import Scope


@dataclass(frozen=True, slots=True)
class KeyRights:
    """What a key may do at the admin API, and what its maker had proven."""

    scopes: frozenset[Scope]
    proof: Assurance | None
    """How and when whoever made it had proven who they are; None if they had not."""
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes a key: what it can be given is not more than they have."""

    actor: str
    proof: Assurance | None
    rights: KeyRights | None = None
    """Of the key that they came with; None for a login, and for the server's own terminal."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The person behind a key."""

    key_id: str
    person_id: str
    standing: Standing
    grants: tuple[GrantTerms, ...]
    """Those that count for the key or identity."""
    terms: KeyTerms = NOT_NARROWED
    """How the key is narrowed."""

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
    rights: KeyRights | None = None
    """What the key may do that they came with; None without one."""

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
    rights: KeyRights | None = None
    """What the key may do that they came with; None without one."""

    @property
    def actor(self) -> str:
        """The name in the audit trail."""
        return f"admin:{self.key_id}" if self.person_id is None else f"person:{self.person_id}"


def maker_of(caller: Administrator | Member) -> Maker:
    """Return somebody who is calling as one who makes a key."""
    proof = caller.assurance
    if proof is None and caller.rights is not None:
        proof = caller.rights.proof
    return Maker(caller.actor, proof, caller.rights)
