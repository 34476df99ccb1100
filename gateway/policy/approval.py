"""Reviews and approvals: who may give one, and when a domain has enough of them. Pure.

Two distinct people approve each domain, neither the applicant nor of the applicant's organisation,
at least one of them a reviewer of that domain. What was said counts for the version that it was
said of, and only in the round in which it was said: an edit voids it, and so does an appeal. An
approval counts for as long as who gave it may give one: a role may be taken away for a reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from models.names import name_key

NEEDED_APPROVERS = 2


class Duty(StrEnum):
    """What a person is trusted to do; a reviewer of a domain is one for that domain alone."""

    IDENTITY_REVIEWER = "identity_reviewer"
    DOMAIN_REVIEWER = "domain_reviewer"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"


@dataclass(frozen=True, order=True)
class Role:
    """A duty, for a domain where it is one of a domain."""

    duty: Duty
    domain: str | None = None

    def __post_init__(self) -> None:
        if (self.duty is Duty.DOMAIN_REVIEWER) != (self.domain is not None):
            raise ValueError("a reviewer of domains names one, and nobody else does")


@dataclass(frozen=True)
class Party:
    """A person as the workflow sees them."""

    id: str
    organisation: str
    organisation_state: Literal["unverified", "verified", "suspended"]
    is_active: bool = True
    roles: frozenset[Role] = frozenset()

    def has(self, duty: Duty, domain: str | None = None) -> bool:
        """Whether the person has a duty, for a domain where it is one of a domain."""
        return Role(duty, domain) in self.roles

    def reviewed_domains(self, domains: frozenset[str]) -> frozenset[str]:
        """Return those of the domains that the person is a reviewer of."""
        return frozenset(name for name in domains if self.has(Duty.DOMAIN_REVIEWER, name))


Kind = Literal["identity", "domain", "approval"]


@dataclass(frozen=True)
class Statement:
    """One person's word on one version of an application, for one domain where it is about one."""

    by: str
    organisation: str
    kind: Kind
    domain: str | None
    version: str
    """Digest of what was looked at."""
    round: int
    expert: bool = False
    """Of an approval: whether it was given as a reviewer of the domain."""


def is_same_organisation(one: str, other: str) -> bool:
    """Whether two names are one organisation's, in whatever spelling."""
    return name_key(one) == name_key(other)


def conflict(applicant: Party, reviewer: Party) -> str | None:
    """Return why a person may not judge an applicant; None when they may."""
    if reviewer.id == applicant.id:
        return "nobody reviews or approves for themselves"
    if not reviewer.is_active or reviewer.organisation_state != "verified":
        return "a reviewer is active and of a verified organisation"
    if is_same_organisation(reviewer.organisation, applicant.organisation):
        return "a reviewer is not of the applicant's organisation"
    return None


def current(
    statements: Iterable[Statement], kind: Kind, version: str, turn: int
) -> tuple[Statement, ...]:
    """Return the statements of a kind that still count."""
    return tuple(
        statement
        for statement in statements
        if (statement.kind, statement.version, statement.round) == (kind, version, turn)
    )


def approvals(
    statements: Iterable[Statement],
    applicant: Party,
    version: str,
    turn: int,
    people: Mapping[str, Party],
) -> tuple[Statement, ...]:
    """Return the approvals of a version that count.

    Args:
        statements: All that was said.
        applicant: Whose application it is.
        version: Its digest.
        turn: Its round.
        people: Who has said something, by id, as they are now; who is not there counts no more.
    """
    counted = []
    for said in current(statements, "approval", version, turn):
        by = people.get(said.by)
        was_colleague = is_same_organisation(said.organisation, applicant.organisation)
        if by is None or was_colleague or conflict(applicant, by):
            continue
        is_expert = by.has(Duty.DOMAIN_REVIEWER, said.domain)
        if is_expert or by.has(Duty.APPROVER):
            counted.append(replace(said, expert=said.expert and is_expert))
    return tuple(counted)


def approved_domains(counted: Iterable[Statement]) -> frozenset[str]:
    """Return the domains with enough of the approvals that count."""
    counted = tuple(counted)
    return frozenset(
        domain
        for domain in {statement.domain for statement in counted}
        if domain is not None
        and len({s.by for s in counted if s.domain == domain}) >= NEEDED_APPROVERS
        and any(s.expert for s in counted if s.domain == domain)
    )
