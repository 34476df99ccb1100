"""What evidence verifies, and until when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.evidence import (
    EVERYTHING,
    PROVES,
    AssertedBy,
    Evidence,
    EvidenceKind,
    Verification,
    requirements,
    unverified,
    verified_until,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def piece(kind: str, by: str, days: int = 30, domain: str | None = None) -> Evidence:
    return Evidence(kind, EvidenceKind(kind), domain, AssertedBy(by), NOW + days * DAY)


def complete(domain: str = "bio", days: int = 30) -> tuple[Evidence, ...]:
    return (
        piece("federation", "system", days),
        piece("training", "so", days, domain),
        piece("approval_letter", "so", days, domain),
    )


@pytest.mark.parametrize("kind", list(EvidenceKind))
@pytest.mark.parametrize("by", [AssertedBy.SELF, AssertedBy.UNKNOWN])
def test_nobodys_own_word_verifies_anything(kind, by):
    assert not PROVES.get((kind, by))
    found = Evidence("e", kind, None, by, NOW + DAY)
    assert not any(found.verifies(verification, "bio") for verification in Verification)


def test_a_domain_is_verified_until_the_shortest_of_what_it_needs():
    assert verified_until("bio", complete()) == NOW + 30 * DAY
    shorter = (*complete()[:2], piece("approval_letter", "so", 5, "bio"))
    assert verified_until("bio", shorter) == NOW + 5 * DAY
    better = (*shorter, piece("approval_letter", "so", 20, "bio"))
    assert verified_until("bio", better) == NOW + 20 * DAY
    assert unverified("bio", shorter, EVERYTHING, NOW + 5 * DAY) == (Verification.OVERSIGHT,)


def test_training_for_one_domain_says_nothing_of_another_nor_of_all():
    assert verified_until("cyber", complete("bio")) is None
    general = tuple(replace(item, domain=None) for item in complete("bio"))
    assert unverified("bio", general, EVERYTHING, NOW) == (
        Verification.OVERSIGHT,
        Verification.TRAINING,
    )
    placed = replace(complete()[0], domain="bio")
    assert not placed.verifies(Verification.IDENTITY, "bio")


def test_a_tier_may_ask_for_less_or_for_a_better_word():
    federation, training, letter = complete()
    peer = piece("referee", "peer")
    check = piece("id_check", "dac")
    all_but_oversight = {name: by for name, by in EVERYTHING.items() if name != "oversight"}
    assert verified_until("bio", (federation, training), all_but_oversight) == NOW + 30 * DAY
    by_peers = (peer, check, training, letter)
    assert verified_until("bio", by_peers) is not None
    stricter = requirements({"affiliation": ["system"], "identity": ["dac", "system"]})
    assert verified_until("bio", by_peers, stricter) is None
    assert verified_until("bio", (federation,), stricter) == NOW + 30 * DAY


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"identity": []},
        {"identity": ["nobody knows"]},
        {"identity": ["self", "unknown"]},
        {"identity": ["system"], "polygraph": ["system"]},
    ],
)
def test_what_a_row_asks_and_nobody_understands_is_met_by_nothing(row):
    assert verified_until("bio", complete(), requirements(row)) is None


PIECES = st.builds(
    Evidence,
    id=st.just("e"),
    kind=st.sampled_from(EvidenceKind),
    domain=st.sampled_from([None, "bio", "cyber"]),
    asserted_by=st.sampled_from(AssertedBy),
    expires_at=st.integers(-5, 50).map(lambda days: NOW + days * DAY),
    retracted=st.booleans(),
)


@given(st.lists(PIECES, max_size=12), st.data())
def test_less_evidence_never_lasts_longer(pieces, data):
    held = [*complete(), *pieces]
    index = data.draw(st.integers(0, len(held) - 1))
    less = data.draw(st.sampled_from(["removed", "retracted"]))
    fewer = list(held)
    if less == "removed":
        del fewer[index]
    else:
        fewer[index] = replace(held[index], retracted=True)
    before, after = verified_until("bio", held), verified_until("bio", fewer)
    assert after is None or (before is not None and after <= before)


@given(st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=12))
def test_evidence_for_another_domain_changes_nothing(pieces, others):
    elsewhere = [replace(item, domain="chem") for item in others]
    assert verified_until("bio", pieces) == verified_until("bio", [*pieces, *elsewhere])
