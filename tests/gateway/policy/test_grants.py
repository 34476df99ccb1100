"""When grants count."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.grants import GrantTerms, Standing, TierTerms, live_domains

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
