"""The course of an application: a table of refusals, and machines that try every course."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.policy.applications import (
    LAPSES_AFTER,
    OPEN,
    RULES,
    Action,
    Application,
    Refused,
    State,
    Step,
    take,
)
from gateway.policy.approval import Duty, Party, Role
from tests.gateway.policy.test_evidence import complete

NOW = datetime(2026, 6, 1, tzinfo=UTC)
IDENTITY = frozenset({Role(Duty.IDENTITY_REVIEWER)})
APPROVER = frozenset({Role(Duty.APPROVER)})
BIO = frozenset({Role(Duty.DOMAIN_REVIEWER, "bio")})
CYBER = frozenset({Role(Duty.DOMAIN_REVIEWER, "cyber")})
EVERY = IDENTITY | APPROVER | BIO | CYBER


def party(name: str, roles=frozenset(), organisation="board", **changes) -> Party:
    return replace(Party(name, organisation, "verified", roles=roles), **changes)


ADA = party("ada", organisation="lab")
EVIDENCE = (*complete("bio"), *complete("cyber"))


def application(state: State = State.DRAFT, *domains: str) -> Application:
    return Application(ADA, frozenset(domains or ("bio",)), state, NOW, "v1", "lab")


def walk(start: Application, *steps: tuple[Action, Party]) -> Application:
    for action, by in steps:
        after = take(start, Step(action, by, start.version), EVIDENCE, NOW)
        assert isinstance(after, Application), (action, by.id, after)
        start = after
    return start


IVY, DAN, APP = party("ivy", IDENTITY), party("dan", BIO), party("app", APPROVER)
TO_APPROVAL = (
    (Action.SUBMIT, ADA),
    (Action.TAKE_UP, IVY),
    (Action.PASS, IVY),
    (Action.PASS, DAN),
)


def test_from_draft_to_granted():
    done = walk(
        application(),
        *TO_APPROVAL,
        (Action.APPROVE, DAN),
        (Action.APPROVE, APP),
        (Action.ACCEPT_TERMS, ADA),
    )
    assert done.state is State.GRANTED


def test_one_approval_is_not_two_however_often_it_is_given():
    one = walk(application(), *TO_APPROVAL, (Action.APPROVE, DAN), (Action.APPROVE, DAN))
    assert one.state is State.APPROVAL
    assert len([said for said in one.statements if said.kind == "approval"]) == 1


def test_two_approvers_without_a_reviewer_of_the_domain_are_not_enough():
    waiting = walk(
        application(), *TO_APPROVAL, (Action.APPROVE, APP), (Action.APPROVE, party("b", APPROVER))
    )
    assert waiting.state is State.APPROVAL
    assert walk(waiting, (Action.APPROVE, DAN)).state is State.APPROVED


def test_each_domain_waits_for_its_own_reviewer():
    both = walk(
        application(State.DRAFT, "bio", "cyber"),
        *TO_APPROVAL,
    )
    assert both.state is State.DOMAIN_REVIEW
    eve = party("eve", CYBER)
    both = walk(both, (Action.PASS, eve), (Action.APPROVE, APP), (Action.APPROVE, DAN))
    assert both.state is State.APPROVAL, "cyber has one approval"
    assert walk(both, (Action.APPROVE, eve)).state is State.APPROVED


def test_an_edit_voids_what_was_said():
    approved = walk(application(), *TO_APPROVAL, (Action.APPROVE, DAN), (Action.APPROVE, APP))
    edited = replace(walk(approved, (Action.EDIT, ADA)), version="v2")
    again = walk(edited, *TO_APPROVAL, (Action.APPROVE, APP))
    assert again.state is State.APPROVAL, "the approval of before counts no more"


STILL = {Action.EDIT, Action.WITHDRAW, Action.RETURN, Action.REJECT, Action.APPEAL}


@pytest.mark.parametrize(("state", "action"), sorted(RULES))
def test_of_who_has_moved_nothing_goes_forward_before_an_edit(state, action):
    moved = replace(ADA, organisation="elsewhere")
    takers = {"applicant": moved, "identity": IVY, "domain": DAN, "approver": APP}
    before = replace(application(state), applicant=moved)
    after = take(before, Step(action, takers[RULES[state, action].by], "v1"), EVIDENCE, NOW)
    sentence = "the applicant is not of lab any more; the application takes an edit first"
    assert isinstance(after, Application) if action in STILL else after == Refused(sentence)


def test_another_spelling_of_an_organisation_is_no_move():
    spelt = replace(application(), applicant=replace(ADA, organisation="LAB"))
    assert walk(spelt, (Action.SUBMIT, ADA)).state is State.SUBMITTED


@pytest.mark.parametrize(
    "change",
    [
        {"roles": frozenset()},
        {"roles": APPROVER},
        {"is_active": False},
        {"organisation_state": "suspended"},
        {"organisation": "lab"},
        {"organisation": "\uff2cab\u200b"},  # Kept apart, from when names were not compared so.
    ],
)
def test_an_approval_counts_while_who_gave_it_may_give_it(change):
    approved = walk(application(), *TO_APPROVAL, (Action.APPROVE, DAN), (Action.APPROVE, APP))
    accept = Step(Action.ACCEPT_TERMS, ADA, "v1")
    assert isinstance(take(approved, accept, EVIDENCE, NOW), Application)
    changed = replace(approved, people=approved.people | {"dan": replace(DAN, **change)})
    refused = take(changed, accept, EVIDENCE, NOW)
    assert isinstance(refused, Refused)
    assert "two approvals" in refused.reason


def test_who_lost_the_role_is_not_one_of_two():
    approved = walk(application(), *TO_APPROVAL, (Action.APPROVE, DAN))
    changed = replace(approved, people={"dan": replace(DAN, roles=frozenset())})
    assert walk(changed, (Action.APPROVE, APP)).state is State.APPROVAL


def test_every_return_says_why_also_of_who_has_returned_it_before():
    returned = walk(application(), *TO_APPROVAL, (Action.RETURN, DAN))
    again = replace(walk(returned, (Action.EDIT, ADA)), version="v2")
    rejected = walk(again, *TO_APPROVAL, (Action.REJECT, DAN))
    assert len([said for said in rejected.statements if said.kind == "approval"]) == 2


def test_an_appeal_is_heard_once_and_by_others():
    rejected = walk(application(), *TO_APPROVAL[:3], (Action.REJECT, DAN))
    appealed = walk(rejected, (Action.APPEAL, ADA))
    assert (appealed.state, appealed.round) == (State.APPEALED, 2)
    refused = take(appealed, Step(Action.TAKE_UP, IVY, "v1"), EVIDENCE, NOW)
    assert refused == Refused("an appeal is heard by other reviewers", is_about_who=True)
    ian = party("ian", IDENTITY)
    second = walk(appealed, (Action.TAKE_UP, ian), (Action.PASS, ian))
    assert isinstance(take(second, Step(Action.PASS, DAN, "v1"), EVIDENCE, NOW), Refused)
    final = walk(second, (Action.REJECT, party("dora", BIO)))
    refused = take(final, Step(Action.APPEAL, ADA, "v1"), EVIDENCE, NOW)
    assert refused == Refused("an application is appealed once", is_about_who=True)


APPROVABLE = walk(application(), *TO_APPROVAL)


@pytest.mark.parametrize(
    ("start", "action", "by", "held", "why"),
    [
        (APPROVABLE, Action.APPROVE, replace(ADA, roles=EVERY), EVIDENCE, "themselves"),
        (APPROVABLE, Action.APPROVE, party("x", EVERY, "lab"), EVIDENCE, "not of the applicant"),
        (APPROVABLE, Action.APPROVE, party("x", CYBER), EVIDENCE, "role of a reviewer"),
        (APPROVABLE, Action.APPROVE, party("x"), EVIDENCE, "role of a reviewer"),
        (APPROVABLE, Action.APPROVE, party("x", IDENTITY), EVIDENCE, "role of a reviewer"),
        (APPROVABLE, Action.APPROVE, replace(APP, is_active=False), EVIDENCE, "is active"),
        (APPROVABLE, Action.APPROVE, replace(APP, organisation_state="unverified"), EVIDENCE,
         "verified organisation"),
        (APPROVABLE, Action.APPROVE, APP, EVIDENCE[:2], "oversight"),
        (APPROVABLE, Action.APPROVE, APP, (), "identity"),
        (APPROVABLE, Action.ACCEPT_TERMS, ADA, EVIDENCE, "takes no"),
        (application(), Action.SUBMIT, APP, EVIDENCE, "only the applicant"),
        (application(), Action.APPROVE, APP, EVIDENCE, "takes no"),
        (application(State.GRANTED), Action.EDIT, ADA, EVIDENCE, "takes no"),
        (application(State.APPROVED), Action.ACCEPT_TERMS, ADA, EVIDENCE, "two approvals"),
        (application(State.IDENTITY_REVIEW), Action.PASS, IVY, (), "not verified"),
        (replace(application(State.IDENTITY_REVIEW),
                 applicant=replace(ADA, organisation_state="suspended")),
         Action.PASS, IVY, EVIDENCE, "organisation is not verified"),
    ],
)  # fmt: skip
def test_refusals(start, action, by, held, why):
    answer = take(start, Step(action, by, start.version), held, NOW)
    assert isinstance(answer, Refused)
    assert why in answer.reason


def test_nobody_judges_a_version_that_they_have_not_seen():
    answer = take(APPROVABLE, Step(Action.APPROVE, APP, "v0"), EVIDENCE, NOW)
    assert isinstance(answer, Refused)
    assert "edited meanwhile" in answer.reason


@pytest.mark.parametrize("state", list(State))
def test_open_applications_lapse_and_closed_ones_do_not(state):
    later = NOW + LAPSES_AFTER
    expected = State.LAPSED if state in OPEN else state
    assert application(state).state_at(later) is expected
    for action in Action:
        if state in OPEN:
            answer = take(application(state), Step(action, ADA, "v1"), EVIDENCE, later)
            assert isinstance(answer, Refused)


def test_every_state_is_left_or_final():
    left = {state for state, _ in RULES}
    assert set(State) - left == {State.GRANTED, State.WITHDRAWN, State.LAPSED}


PEOPLE = [
    replace(ADA, roles=EVERY),
    party("mate", EVERY, "lab"),
    IVY,
    DAN,
    APP,
    party("eve", CYBER | APPROVER),
    party("idle", EVERY, is_active=False),
    party("new", EVERY, "unknown", organisation_state="unverified"),
    party("all", EVERY, "third"),
    party("nobody"),
]


class Courses(RuleBasedStateMachine):
    """Any people, steps, evidence and waiting; what was truly said is kept beside it."""

    @initialize(domains=st.sets(st.sampled_from(["bio", "cyber"]), min_size=1))
    def begin(self, domains):
        self.now, self.edits, self.held = NOW, 0, EVIDENCE
        self.application = replace(
            application(State.DRAFT, *domains), applicant=PEOPLE[0], version="v0"
        )
        self.approvals: dict[str, set[str]] = {}
        self.dismissed: set[str] = set()

    @rule(action=st.sampled_from(Action), by=st.sampled_from(PEOPLE))
    def step(self, action, by):
        self._take(action, by)

    @rule(order=st.permutations(PEOPLE), steps=st.integers(1, 6))
    def go_on(self, order, steps):
        """Take steps that help, or the machine would rarely come far."""
        self.held = EVIDENCE
        helpful = (Action.SUBMIT, Action.TAKE_UP, Action.PASS, Action.APPROVE, Action.ACCEPT_TERMS)
        for _ in range(steps):
            any(self._take(action, by) for action in helpful for by in order)

    @rule()
    def edit(self):
        self._take(Action.EDIT, PEOPLE[0])

    def _take(self, action, by) -> bool:
        by = self._as_now(by)
        before = replace(
            self.application,
            people={one: self._as_now(who) for one, who in self.application.people.items()},
        )
        after = take(before, Step(action, by, before.version), self.held, self.now)
        if isinstance(after, Refused) or after == before:
            return False
        if action is Action.APPROVE:
            self.approvals.setdefault(after.version + str(after.round), set()).add(by.id)
        if action is Action.ACCEPT_TERMS:
            key = after.version + str(after.round)
            assert len(self.approvals[key] - self.dismissed) >= 2
        if action is Action.EDIT:
            self.edits += 1
            after = replace(after, version=f"v{self.edits}")
        self.application = after
        return True

    def _as_now(self, person):
        return replace(person, roles=frozenset()) if person.id in self.dismissed else person

    @rule(person=st.sampled_from(PEOPLE))
    def dismiss(self, person):
        self.dismissed.add(person.id)

    @rule(index=st.integers(0, 5))
    def retract(self, index):
        self.held = tuple(item for i, item in enumerate(self.held) if i != index)

    @rule(days=st.integers(1, 20))
    def wait(self, days):
        self.now += timedelta(days=days)

    @invariant()
    def granted_means_two_others_have_approved_this_very_version(self):
        if self.application.state in (State.APPROVED, State.GRANTED):
            key = self.application.version + str(self.application.round)
            approvers = self.approvals.get(key, set())
            assert len(approvers) >= 2
            assert not approvers & {"ada", "mate", "idle", "new", "nobody", "ivy"}
            for domain in self.application.domains:
                experts = {p.id for p in PEOPLE if p.has(Duty.DOMAIN_REVIEWER, domain)}
                assert approvers & experts

    @invariant()
    def a_judgement_of_one_domain_is_not_one_of_another(self):
        by = {person.id: person for person in PEOPLE}
        for said in self.application.statements:
            person = by[said.by]
            if said.kind == "domain":
                assert person.has(Duty.DOMAIN_REVIEWER, said.domain)
            if said.kind == "approval" and not person.has(Duty.APPROVER):
                assert person.has(Duty.DOMAIN_REVIEWER, said.domain)


Courses.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCourses = Courses.TestCase
