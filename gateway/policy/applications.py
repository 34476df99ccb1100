"""An application for access: its states, and who may move it how. Pure.

    draft -> submitted -> identity_review -> domain_review -> approval -> approved -> granted
      ^          |              |                  |             |           |
      +- edit ---+--------------+------------------+-------------+-----------+   (voids reviews)
                                +------------------+-------------+-> returned -> draft
                                +------------------+-------------+-> rejected -> appealed, once
                                                                                (other reviewers)

`withdrawn` ends every open state, `lapsed` one in which nothing has happened for LAPSES_AFTER.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple

from gateway.policy.approval import (
    Duty,
    Party,
    Statement,
    approvals,
    approved_domains,
    conflict,
    current,
    is_same_organisation,
)
from gateway.policy.evidence import (
    EVERYTHING,
    OF_THE_PERSON,
    Evidence,
    Requirements,
    unverified,
)

LAPSES_AFTER = timedelta(days=30)
UNAPPROVED = "a domain has not two approvals by people who may still give them"


class State(StrEnum):
    """Where an application is."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    IDENTITY_REVIEW = "identity_review"
    DOMAIN_REVIEW = "domain_review"
    APPROVAL = "approval"
    APPROVED = "approved"
    GRANTED = "granted"
    RETURNED = "returned"
    REJECTED = "rejected"
    APPEALED = "appealed"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"


class Action(StrEnum):
    """What moves it."""

    EDIT = "edit"
    SUBMIT = "submit"
    TAKE_UP = "take_up"
    PASS = "pass"  # noqa: S105 - a review's decision
    RETURN = "return"
    REJECT = "reject"
    APPROVE = "approve"
    APPEAL = "appeal"
    ACCEPT_TERMS = "accept_terms"
    WITHDRAW = "withdraw"


Actor = Literal["applicant", "identity", "domain", "approver"]


class Rule(NamedTuple):
    """Who may do it, and where it leads when nothing else is waited for."""

    by: Actor
    to: State


REVIEWS: Mapping[State, Actor] = {
    State.IDENTITY_REVIEW: "identity",
    State.DOMAIN_REVIEW: "domain",
    State.APPROVAL: "approver",
}
OPEN = frozenset(
    {State.DRAFT, State.SUBMITTED, State.RETURNED, State.APPEALED, State.APPROVED, *REVIEWS}
)
WAITING = OPEN - {State.DRAFT, State.RETURNED}
"""Open ones that are with others, or approved; the rest is with the applicant."""
FORWARD = frozenset(
    {Action.SUBMIT, Action.TAKE_UP, Action.PASS, Action.APPROVE, Action.ACCEPT_TERMS}
)
"""What brings an application nearer to a grant."""
RULES: Mapping[tuple[State, Action], Rule] = {
    (State.DRAFT, Action.SUBMIT): Rule("applicant", State.SUBMITTED),
    (State.SUBMITTED, Action.TAKE_UP): Rule("identity", State.IDENTITY_REVIEW),
    (State.APPEALED, Action.TAKE_UP): Rule("identity", State.IDENTITY_REVIEW),
    (State.IDENTITY_REVIEW, Action.PASS): Rule("identity", State.DOMAIN_REVIEW),
    (State.DOMAIN_REVIEW, Action.PASS): Rule("domain", State.APPROVAL),
    (State.APPROVAL, Action.APPROVE): Rule("approver", State.APPROVED),
    (State.APPROVED, Action.ACCEPT_TERMS): Rule("applicant", State.GRANTED),
    (State.REJECTED, Action.APPEAL): Rule("applicant", State.APPEALED),
    **{(state, Action.EDIT): Rule("applicant", State.DRAFT) for state in OPEN},
    **{(state, Action.WITHDRAW): Rule("applicant", State.WITHDRAWN) for state in OPEN},
    **{(state, Action.RETURN): Rule(by, State.RETURNED) for state, by in REVIEWS.items()},
    **{(state, Action.REJECT): Rule(by, State.REJECTED) for state, by in REVIEWS.items()},
}


@dataclass(frozen=True)
class Application:
    """An application as far as its course depends on it."""

    applicant: Party
    domains: frozenset[str]
    state: State
    since: datetime
    """When it came to this state."""
    version: str
    """Digest of what is applied for; another one after every edit."""
    organisation: str
    """Of the applicant, as that version says; every review of it was of that."""
    round: int = 1
    """2 after the appeal."""
    statements: tuple[Statement, ...] = ()
    needed: Requirements = field(default_factory=lambda: EVERYTHING)
    """What the applicant's tier requires to be verified."""
    people: Mapping[str, Party] = field(default_factory=dict, compare=False)
    """Who has said something of it, by id, as they are now."""

    def state_at(self, now: datetime) -> State:
        """Return the state at a moment."""
        return state_at(self.state, self.since, now)

    def approvals(self) -> tuple[Statement, ...]:
        """Return the approvals that count."""
        return approvals(self.statements, self.applicant, self.version, self.round, self.people)

    def is_approved(self) -> bool:
        """Whether each domain has enough of the approvals that count."""
        return self.domains <= approved_domains(self.approvals())


def state_at(state: State, since: datetime, now: datetime) -> State:
    """Return what a state is at a moment: an open one lapses by itself."""
    return State.LAPSED if state in OPEN and now >= since + LAPSES_AFTER else state


@dataclass(frozen=True)
class Refused:
    """Why a step is not taken."""

    reason: str
    is_about_who: bool = False
    """Whether somebody else could take it, as things are."""


@dataclass(frozen=True)
class Step:
    """What somebody wants to do.

    `version` is the digest of what they looked at: a step on another version is refused, so that
    nobody approves what they have not read.
    """

    action: Action
    by: Party
    version: str


def take(
    application: Application, step: Step, held: tuple[Evidence, ...], now: datetime
) -> Application | Refused:
    """Return the application after a step, or why it is refused.

    An edit's new version is the caller's to put in; its statements are void by having another.
    """
    people = {**application.people, step.by.id: step.by}
    application, state = replace(application, people=people), application.state_at(now)
    rule = RULES.get((state, step.action))
    if rule is None:
        return Refused(f"the application's state is '{state}', which takes no '{step.action}'")
    if step.version != application.version:
        return Refused("the application was edited meanwhile; look at it again")
    reason = _may(application, step, rule)
    if reason is not None:
        return Refused(reason, is_about_who=True)
    reason = _lacks(application, step, held, now)
    if reason is not None:
        return Refused(reason)
    said = application.statements + _statements(application, step)
    if step.action is Action.APPEAL:
        return replace(
            application, state=rule.to, since=now, round=application.round + 1, statements=said
        )
    after = replace(application, statements=said)
    if not _is_complete(after, step.action):
        return after
    return replace(after, state=rule.to, since=now)


def _may(application: Application, step: Step, rule: Rule) -> str | None:
    """Return why a person may not take a step."""
    if rule.by == "applicant":
        if step.by.id != application.applicant.id:
            return "only the applicant does this"
        if not step.by.is_active:
            return "the applicant is suspended"
        if step.action is Action.APPEAL and application.round > 1:
            return "an application is appealed once"
        return None
    covered = _covered(application, step.by, rule.by)
    if not covered:
        return f"this takes the role of a reviewer: {rule.by}"
    earlier = {said.by for said in application.statements if said.round < application.round}
    if step.by.id in earlier:
        return "an appeal is heard by other reviewers"
    return conflict(application.applicant, step.by)


def _covered(application: Application, by: Party, actor: Actor) -> frozenset[str]:
    """Return the domains that a reviewer's word is about; none when they have no such role."""
    if actor == "identity":
        return application.domains if by.has(Duty.IDENTITY_REVIEWER) else frozenset()
    if actor == "approver" and by.has(Duty.APPROVER):
        return application.domains
    return by.reviewed_domains(application.domains)


def _lacks(
    application: Application, step: Step, held: tuple[Evidence, ...], now: datetime
) -> str | None:
    """Return what has to be there before a step and is not."""
    action, domains = step.action, application.domains
    needed = application.needed
    of, stated = application.applicant.organisation, application.organisation
    if action in FORWARD and not is_same_organisation(of, stated):
        return f"the applicant is not of {stated} any more; the application takes an edit first"
    if action is Action.PASS and application.state is State.IDENTITY_REVIEW:
        needed = {name: by for name, by in needed.items() if name in OF_THE_PERSON}
    elif action is Action.PASS:
        domains = step.by.reviewed_domains(domains)
    elif action not in (Action.APPROVE, Action.ACCEPT_TERMS):
        return None
    if application.applicant.organisation_state != "verified":
        return "the applicant's organisation is not verified"
    for domain in sorted(domains):
        missing = unverified(domain, held, needed, now)
        if missing:
            return f"not verified for {domain}: {', '.join(missing)}"
    if action is Action.ACCEPT_TERMS and not application.is_approved():
        return UNAPPROVED
    return None


def _statements(application: Application, step: Step) -> tuple[Statement, ...]:
    """Return what a step says; an approval that is repeated says nothing."""
    by, state = step.by, application.state
    if state not in REVIEWS or step.action in (Action.EDIT, Action.WITHDRAW):
        return ()

    def said(kind: Literal["identity", "domain", "approval"], domain: str | None) -> Statement:
        expert = kind == "approval" and domain is not None and by.has(Duty.DOMAIN_REVIEWER, domain)
        version = application.version if step.action not in AGAINST else ""
        return Statement(by.id, by.organisation, kind, domain, version, application.round, expert)

    covered = sorted(_covered(application, by, REVIEWS[state]))
    if state is State.IDENTITY_REVIEW:
        made = [said("identity", None)]
    elif state is State.DOMAIN_REVIEW:
        made = [said("domain", domain) for domain in covered]
    else:
        made = [said("approval", domain) for domain in covered]
    if step.action in AGAINST:
        return tuple(made)  # Each has reasons of its own, also by who has returned it before.
    return tuple(statement for statement in made if statement not in application.statements)


# What was said against an application is kept, for the appeal, and counts for no version.
AGAINST = frozenset({Action.RETURN, Action.REJECT})


def _is_complete(application: Application, action: Action) -> bool:
    """Whether nothing else is waited for before the next state."""
    if action is Action.PASS and application.state is State.DOMAIN_REVIEW:
        passed = current(application.statements, "domain", application.version, application.round)
        return application.domains <= {statement.domain for statement in passed}
    if action is Action.APPROVE:
        return application.is_approved()
    return True
