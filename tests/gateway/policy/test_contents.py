"""Who may have kept contents opened, when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.policy.approval import Duty, Party, Role
from gateway.policy.contents import (
    approval_refusal,
    asking_refusal,
    destruction_refusal,
    release_refusal,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def party(name: str, duty: Duty) -> Party:
    return Party(name, "Board", "verified", roles=frozenset({Role(duty)}))


ULLA, OTTO = party("ulla", Duty.AUDITOR), party("otto", Duty.AUDITOR)
APP = party("app", Duty.APPROVER)
OTHERS = [
    party(str(duty), duty) for duty in Duty if duty not in (Duty.AUDITOR, Duty.DOMAIN_REVIEWER)
]


def approval(second: Party, about: str = "ada", late: timedelta = HOUR) -> str | None:
    return approval_refusal("ulla", NOW - late, about, second, NOW)


def test_an_auditor_asks_and_another_person_agrees():
    assert asking_refusal(ULLA, "ada") is None
    assert approval(OTTO) is None
    assert approval(APP) is None
    assert release_refusal("ulla", NOW, APP, ULLA, NOW) is None


@pytest.mark.parametrize("other", OTHERS, ids=lambda party: party.id)
def test_nobody_else_asks_or_gets_them(other):
    assert asking_refusal(other, "ada") is not None
    assert release_refusal(other.id, NOW, APP, other, NOW) is not None
    if not other.has(Duty.APPROVER):
        assert approval(other) is not None


def test_two_people_neither_the_caller():
    assert approval(ULLA) is not None
    assert asking_refusal(ULLA, "ulla") is not None
    assert approval(APP, about="app") is not None
    assert release_refusal("ulla", NOW, APP, OTTO, NOW) is not None


def test_words_lapse():
    assert approval(APP, late=7 * DAY - timedelta(seconds=1)) is None
    assert approval(APP, late=7 * DAY) is not None
    assert release_refusal("ulla", None, None, ULLA, NOW) is not None
    assert release_refusal("ulla", NOW - HOUR + timedelta(seconds=1), APP, ULLA, NOW) is None
    assert release_refusal("ulla", NOW - HOUR, APP, ULLA, NOW) is not None


@pytest.mark.parametrize("change", [{"is_active": False}, {"organisation_state": "suspended"}])
def test_who_is_suspended_does_neither(change):
    assert asking_refusal(replace(ULLA, **change), "ada") is not None
    assert approval(replace(APP, **change)) is not None
    assert release_refusal("ulla", NOW, APP, replace(ULLA, **change), NOW) is not None
    assert release_refusal("ulla", NOW, replace(APP, **change), ULLA, NOW) is not None


def destruction(asked_by=ULLA, second=APP, about: str = "ada", late: timedelta = HOUR):
    return destruction_refusal(asked_by, NOW - late, about, second, NOW)


def test_destroying_takes_two_people_neither_the_caller_and_both_still_in_office():
    assert destruction() is None
    assert destruction(second=OTTO) is None
    assert destruction(second=ULLA) is not None
    assert destruction(about="app") is not None
    assert destruction(about="ulla") is not None
    assert destruction(late=7 * DAY) is not None
    for other in OTHERS:
        assert destruction(asked_by=replace(other, id="ulla")) is not None
        assert (destruction(second=other) is None) is other.has(Duty.APPROVER)
    for change in ({"is_active": False}, {"organisation_state": "suspended"}):
        assert destruction(asked_by=replace(ULLA, **change)) is not None
        assert destruction(second=replace(APP, **change)) is not None
