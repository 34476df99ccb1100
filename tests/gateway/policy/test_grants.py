"""When grants count."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.grants import (
    ALWAYS,
    NEVER,
    Basis,
    GrantTerms,
    Standing,
    TierTerms,
    live_domains,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
RESEARCHER = TierTerms(
    "researcher", grantable=True, requests_per_minute=1, capabilities=frozenset()
)
PUBLIC = TierTerms("public", grantable=False, requests_per_minute=1, capabilities=frozenset())


def grant(begin=-1, end=1, revoked=None) -> GrantTerms:
    at = None if revoked is None else NOW + revoked * HOUR
    return GrantTerms("bio", NOW + begin * HOUR, NOW + end * HOUR, at)


@pytest.mark.parametrize(
    ("terms", "live"),
    [
        (grant(), True),
        (grant(begin=0), True),
        (grant(begin=1, end=2), False),
        (grant(end=0), False),
        (grant(begin=-3, end=-2), False),
        (grant(revoked=-1), False),
        (grant(revoked=1), False),
    ],
)
def test_terms(terms, live):
    assert terms.is_live(NOW) is live


@pytest.mark.parametrize(
    ("standing", "domains"),
    [
        (Standing(RESEARCHER, is_active=True), {"bio"}),
        (Standing(RESEARCHER, is_active=False), set()),
        (Standing(RESEARCHER, is_active=True, organisation_active=False), set()),
        (Standing(PUBLIC, is_active=True), set()),
    ],
)
def test_standing(standing, domains):
    assert live_domains(standing, (grant(),), NOW) == domains


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_passing_time_never_turns_an_ended_grant_live(hours, more):
    terms = grant()
    if not terms.is_live(NOW + hours * HOUR):
        assert not terms.is_live(NOW + (hours + more) * HOUR)


SOON = NOW + HOUR / 2


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "active"),
        ({"suspended": True}, "suspended"),
        ({"basis": Basis(SOON, SOON, SOON)}, "active"),
        ({"basis": Basis(NOW, ALWAYS, ALWAYS)}, "suspended"),
        ({"basis": Basis(ALWAYS, NEVER, ALWAYS)}, "suspended"),
        ({"basis": Basis(ALWAYS, ALWAYS, NOW)}, "suspended"),
        ({"not_before": NOW + HOUR / 2}, "pending"),
        ({"suspended": True, "expires_at": NOW}, "expired"),
        ({"suspended": True, "revoked_at": NOW}, "revoked"),
    ],
)
def test_states(changes, state):
    terms = replace(grant(), **changes)
    assert terms.state(NOW) == state
    assert terms.is_live(NOW) is (state == "active")


def test_a_grant_ends_with_the_first_of_what_it_rests_on():
    assert grant().ends_at == NOW + HOUR
    for ends in ((SOON, ALWAYS, ALWAYS), (ALWAYS, SOON, ALWAYS), (ALWAYS, ALWAYS, SOON)):
        basis = Basis(*ends)
        assert replace(grant(), basis=basis).ends_at == SOON
        assert len(basis.lapsed(SOON)) == 1
        assert not basis.lapsed(SOON - HOUR / 4)


MOMENTS = st.integers(-3, 3).map(lambda hours: NOW + hours * HOUR)
GRANTS = st.builds(
    GrantTerms,
    domain=st.sampled_from(["bio", "cyber"]),
    not_before=MOMENTS,
    expires_at=MOMENTS,
    revoked_at=st.none() | MOMENTS,
    suspended=st.booleans(),
    basis=st.none() | st.builds(Basis, MOMENTS, MOMENTS, MOMENTS),
)
LESS = {
    "revoked": lambda g: replace(g, revoked_at=NOW),
    "suspended": lambda g: replace(g, suspended=True),
    "unverified": lambda g: replace(g, basis=g.basis and replace(g.basis, verified_until=NEVER)),
}


@given(st.lists(GRANTS, max_size=4), st.sampled_from(list(LESS)), st.integers(0, 3))
def test_taking_away_never_opens_and_touches_one_domain(grants, less, index):
    standing = Standing(RESEARCHER, is_active=True)
    before = live_domains(standing, tuple(grants), NOW)
    if index >= len(grants):
        return
    taken = grants[index]
    after = live_domains(standing, (*grants[:index], LESS[less](taken), *grants[index + 1 :]), NOW)
    assert after <= before
    assert before - after <= {taken.domain}


@given(GRANTS, st.integers(0, 5))
def test_passing_time_never_opens_what_had_begun(terms, hours):
    begun = replace(terms, not_before=NOW - HOUR)
    if not begun.is_live(NOW):
        assert not begun.is_live(NOW + hours * HOUR)
