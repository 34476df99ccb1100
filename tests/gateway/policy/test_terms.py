"""Until when accepted terms suffice."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.policy.terms import TermsVersion, accepted_until, in_force

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LATEST = NOW + 1000 * DAY
FIRST, SECOND, THIRD = (TermsVersion(name, NOW + n * 10 * DAY) for n, name in enumerate("abc"))
VERSIONS = (SECOND, FIRST, THIRD)


@pytest.mark.parametrize(
    ("accepted", "until"),
    [
        ("", None),
        ("x", None),
        ("a", SECOND.mandatory_from),
        ("b", THIRD.mandatory_from),
        ("ab", THIRD.mandatory_from),
        ("ac", LATEST),
        ("c", LATEST),
    ],
)
def test_accepted_terms_suffice_until_newer_ones_are_mandatory(accepted, until):
    assert accepted_until(VERSIONS, frozenset(accepted), LATEST) == until


@pytest.mark.parametrize(
    ("days", "expected"), [(-1, None), (0, FIRST), (9, FIRST), (10, SECOND), (99, THIRD)]
)
def test_the_terms_in_force(days, expected):
    assert in_force(VERSIONS, NOW + days * DAY) == expected
