"""What narrows a key only ever takes; and when a key must end."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.endpoints import ENDPOINTS
from gateway.policy.grants import GrantTerms, Standing, TierTerms, live_domains
from gateway.policy.key_terms import NOT_NARROWED, PATHS, KeyTerms, last_end, not_held
from gateway.policy.scopes import OF_ADMINISTRATORS, OF_WORKFLOW, Scope, known_scopes

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DOMAINS = ("bio", "cyber", "chem")
TIER = TierTerms("researcher", grantable=True, requests_per_minute=1, capabilities=frozenset())


def grant(domain: str, days: int = 90, begins: int = -1, **terms) -> GrantTerms:
    return GrantTerms(domain, NOW + begins * DAY, NOW + days * DAY, terms.pop("revoked", None),
                      **terms)  # fmt: skip


GRANTS = st.lists(
    st.builds(
        grant,
        st.sampled_from(DOMAINS),
        st.integers(-5, 90),
        st.integers(-10, 10),
        revoked=st.sampled_from([None, NOW - DAY]),
        suspended=st.booleans(),
    ).filter(lambda made: made.not_before < made.expires_at),
    max_size=6,
)
SETS = st.none() | st.frozensets(st.sampled_from([*DOMAINS, "other"]))


@given(GRANTS, SETS, st.integers(0, 100))
def test_a_narrowed_key_opens_a_part_of_what_its_owner_may(grants, domains, day):
    at, standing = NOW + day * DAY, Standing(TIER, True)
    whole = live_domains(standing, tuple(grants), at)
    part = live_domains(standing, KeyTerms(domains=domains).usable(tuple(grants)), at)
    assert part == (whole if domains is None else whole & domains)


@given(GRANTS, SETS)
def test_a_key_that_ends_when_it_must_outlives_no_grant_that_it_uses(grants, domains):
    # One that is suspended or begins later may keep a domain for a key that it does not open now.
    grants = [each for each in grants if not each.suspended and each.not_before <= NOW]
    end = last_end(grants, domains, NOW)
    usable = KeyTerms(domains=domains).usable(tuple(grants))
    live = live_domains(Standing(TIER, True), usable, NOW)
    if end is None:
        assert not live
        return
    assert end > NOW
    # Until its end, no domain that it opens now closes by its grants' own terms.
    before = end - timedelta(seconds=1)
    assert live <= live_domains(Standing(TIER, True), usable, before)


@pytest.mark.parametrize(
    ("grants", "domains", "days"),
    [
        ([], None, None),
        ([grant("bio", 90)], None, 90),
        ([grant("bio", 90)], {"cyber"}, None),
        ([grant("bio", 90)], set(), None),
        ([grant("bio", 90), grant("cyber", 10)], None, 10),
        ([grant("bio", 90), grant("cyber", 10)], {"bio"}, 90),
        ([grant("bio", 5), grant("bio", 40)], None, 40),
        ([grant("bio", -1 + 1, begins=-9)], None, None),
        ([grant("bio", 90, revoked=NOW - DAY)], None, None),
        ([grant("bio", 90, suspended=True)], None, 90),
        ([grant("bio", 90, begins=30)], None, 90),
    ],
)
def test_when_a_key_must_end(grants, domains, days):
    wanted = None if domains is None else frozenset(domains)
    assert last_end(grants, wanted, NOW) == (None if days is None else NOW + days * DAY)


def test_domains_without_a_grant_are_named():
    held = [grant("bio"), grant("cyber", revoked=NOW - DAY), grant("chem", 0, begins=-9)]
    assert not_held(held, ["bio", "cyber", "chem", "x"], NOW) == ("chem", "cyber", "x")
    assert not_held(held, ["bio"], NOW) == ()


def test_a_key_can_be_narrowed_to_every_endpoint_and_to_nothing_else():
    assert set(PATHS) == {*ENDPOINTS, "/v1/files", "/v1/batches"}
    assert all(NOT_NARROWED.may_ask(path) for path in PATHS)
    narrow = KeyTerms(endpoints=frozenset({"/v1/chat/completions"}))
    assert [path for path in PATHS if narrow.may_ask(path)] == ["/v1/chat/completions"]


def test_an_unknown_scope_opens_nothing():
    assert known_scopes(["admin:read", "admin:everything", "*", 7, None]) == {Scope.READ}
    assert frozenset(Scope) == OF_ADMINISTRATORS | OF_WORKFLOW
    administering = {Scope.PEOPLE, Scope.KEYS, Scope.GRANTS, Scope.SERVING}
    assert not OF_WORKFLOW & administering
