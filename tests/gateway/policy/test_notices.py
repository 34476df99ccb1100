"""Which reminders are due when, and how long a failed attempt waits."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.notices.letters import WORDS
from gateway.notices.occasions import OCCASIONS
from gateway.policy.grants import ALWAYS, NEVER, Basis, GrantTerms
from gateway.policy.notices import (
    AHEAD_DAYS,
    LONGEST_WAIT,
    MAIL_ONLY,
    MAX_ATTEMPTS,
    SECURITY,
    Event,
    reminders,
    wait_before,
)

START = datetime(2026, 6, 1, tzinfo=UTC)
FIRST = timedelta(seconds=30)


def grant(days=90.0, verified=ALWAYS, due=ALWAYS, terms=ALWAYS, workflow=True, revoked=None):
    basis = Basis(verified, terms, due) if workflow else None
    return GrantTerms("capitals", START, START + timedelta(days=days), revoked, "g", basis=basis)


def due(held: GrantTerms, days: float) -> list[Event]:
    return [each.event for each in reminders(held, START + timedelta(days=days))]


@pytest.mark.parametrize(
    ("days", "expected"),
    [(1, []), (59, []), (60, [Event.GRANT_EXPIRING]), (89.5, [Event.GRANT_EXPIRING]),
     (90, [Event.GRANT_EXPIRED]), (96, [Event.GRANT_EXPIRED]), (97, [])],
)  # fmt: skip
def test_a_grant_that_ends(days, expected):
    assert due(grant(), days) == expected


@pytest.mark.parametrize("workflow", [True, False])
def test_each_threshold_once_and_the_nearest_alone(workflow):
    seen = []
    for hour in range(90 * 24):
        for each in reminders(grant(workflow=workflow), START + timedelta(hours=hour)):
            if each.once not in seen:
                seen.append(each.once)
    assert [once.rpartition(":")[2] for once in seen] == ["30", "7", "1"]


def test_nobody_is_reminded_of_the_end_of_what_has_only_just_begun():
    assert due(grant(days=5), 0) == []
    assert due(grant(days=5), 4.5) == [Event.GRANT_EXPIRING]
    assert due(grant(days=0.04), 0) == [], "an emergency grant lasts an hour"


def test_what_a_grant_rests_on():
    lapsing = grant(verified=START + timedelta(days=40))
    assert due(lapsing, 9) == []
    assert due(lapsing, 11) == [Event.VERIFICATION_ENDING]
    assert due(lapsing, 41) == [Event.GRANT_LAPSED]
    overdue = grant(due=START + timedelta(days=45))
    assert due(overdue, 40) == [Event.USAGE_REVIEW_DUE]
    assert due(overdue, 46) == [Event.USAGE_REVIEW_OVERDUE, Event.GRANT_LAPSED]
    assert due(grant(verified=NEVER), 1) == [], "it never counted"
    assert due(grant(revoked=START), 89) == []


@given(st.floats(0, 200), st.floats(1, 180), st.floats(-10, 200), st.floats(-10, 200))
def test_a_reminder_ahead_speaks_of_what_is_ahead(days, length, verified, review):
    held = grant(length, START + timedelta(days=verified), START + timedelta(days=review))
    now = START + timedelta(days=days)
    found = list(reminders(held, now))
    assert len({each.once for each in found}) == len(found)
    for each in found:
        if each.event in (Event.GRANT_EXPIRING, Event.VERIFICATION_ENDING, Event.USAGE_REVIEW_DUE):
            assert now < each.ends_at <= now + timedelta(days=max(AHEAD_DAYS))
        else:
            assert each.ends_at <= now


@given(st.integers(1, MAX_ATTEMPTS + 3), st.floats(0, 1))
def test_attempts_wait_longer_and_longer_and_end(attempt, chance):
    wait = wait_before(attempt, FIRST, chance)
    if attempt >= MAX_ATTEMPTS:
        assert wait is None
        return
    assert wait is not None
    assert 0.75 * FIRST <= wait <= 1.25 * LONGEST_WAIT
    sooner = wait_before(attempt, FIRST, 0.0)
    assert sooner is not None
    assert sooner <= wait


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, FIRST), (timedelta(0), FIRST), (timedelta(seconds=-5), FIRST),
     (timedelta(minutes=5), timedelta(minutes=5)), (timedelta(days=999), LONGEST_WAIT)],
)  # fmt: skip
def test_a_receiver_that_asks_for_time_gets_it_within_bounds(asked, expected):
    assert wait_before(1, FIRST, 0.5, asked) == expected
    assert wait_before(MAX_ATTEMPTS, FIRST, 0.5, asked) is None


def test_attempts_last_for_about_a_day():
    waits = [wait_before(attempt, FIRST, 0.5) for attempt in range(1, MAX_ATTEMPTS)]
    total = sum((wait for wait in waits if wait is not None), timedelta())
    assert timedelta(hours=12) < total < timedelta(days=2)


def test_every_event_has_words_and_what_is_private_cannot_be_turned_off():
    assert set(WORDS) == set(Event)
    assert MAIL_ONLY <= SECURITY
    assert {event for event, _ in OCCASIONS.values()} <= set(Event)
