"""Which changes of a tier only restrict, and who may make the others."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.controlplane.tier_schemas import EVERYBODYS, NEW_TIER
from gateway.policy.approval import Duty, Party, Role
from gateway.policy.tiers import approval_refusal, differences, proposal_refusal, takes_two
from gateway.tables import Tier

NOW = datetime(2026, 6, 1, tzinfo=UTC)
VERIFICATIONS: dict[str, list[str]] = {
    str(name): [str(source) for source in sources] for name, sources in EVERYBODYS.items()
}
BEFORE = NEW_TIER.given() | {
    "grantable": True,
    "capabilities": ["echo", "prefill"],
    "step_up": {"acr": ["mfa", "hw"], "max_age": 600},
}

CASES = {
    "words": ({"description": "other"}, False),
    "grants no more": ({"grantable": False}, False),
    "a capability less": ({"capabilities": ["echo"]}, False),
    "a capability more": ({"capabilities": ["echo", "prefill", "logit_bias"]}, True),
    "another capability": ({"capabilities": ["echo", "logit_bias"]}, True),
    "a shorter grant": ({"max_grant_days": 1}, False),
    "a longer grant": ({"max_grant_days": 91}, True),
    "fewer tokens": ({"tokens_per_day": 1}, False),
    "more tokens": ({"tokens_per_day": 10_000_001}, True),
    "fewer and more": ({"tokens_per_day": 1, "tokens_per_minute": 100_001}, True),
    "a later turn": ({"priority": -1}, False),
    "an earlier turn": ({"priority": 1}, True),
    "a better word": ({"verifications": {**VERIFICATIONS, "training": ["so"]}}, False),
    "a weaker word": (
        {"verifications": {**VERIFICATIONS, "training": ["peer", "so", "system"]}},
        True,
    ),
    "a verification less": ({"verifications": {"identity": ["system"]}}, True),
    "more in the log": ({"log_level": "all"}, True),
    "a fresher login": ({"step_up": {"acr": ["mfa", "hw"], "max_age": 60}}, False),
    "a stronger login": ({"step_up": {"acr": ["hw"], "max_age": 600}}, False),
    "an older login": ({"step_up": {"acr": ["hw"], "max_age": 601}}, True),
    "any login": ({"step_up": {"acr": [], "max_age": 60}}, True),
    "another login": ({"step_up": {"acr": ["sms"], "max_age": 60}}, True),
    "no login": ({"step_up": None}, True),
    "what nobody knows": ({"surprise": 1}, True),
}


@pytest.mark.parametrize(("change", "needs_two"), list(CASES.values()), ids=list(CASES))
def test_what_gives_anybody_more_takes_two(change, needs_two):
    before = BEFORE | dict.fromkeys(change.keys() - BEFORE.keys(), 0)
    found = differences(before, before | change)
    assert {difference.field for difference in found} == set(change)
    assert takes_two(found, is_new=False) is needs_two


def test_a_demand_on_logins_where_there_was_none_only_restricts():
    before = BEFORE | {"step_up": None}
    found = differences(before, before | {"step_up": {"acr": [], "max_age": 60}})
    assert not takes_two(found, is_new=False)


def test_a_new_tier_takes_two_and_every_field_of_a_tier_can_change():
    assert takes_two(differences(None, BEFORE), is_new=True)
    assert set(BEFORE) | {"name", "version"} == {column.key for column in Tier.__table__.columns}


VALUES = st.fixed_dictionaries(
    {
        "capabilities": st.lists(st.sampled_from(["echo", "prefill", "logit_bias"]), unique=True),
        "tokens_per_day": st.integers(1, 3),
        "grantable": st.booleans(),
        "step_up": st.none()
        | st.fixed_dictionaries(
            {
                "acr": st.lists(st.sampled_from(["mfa", "hw"]), unique=True),
                "max_age": st.integers(0, 2),
            }
        ),
    }
)


@given(VALUES, VALUES, VALUES)
def test_two_restrictions_in_a_row_are_one(first, second, third):
    def restricts(before, after) -> bool:
        return not takes_two(differences(before, after), is_new=False)

    if restricts(first, second) and restricts(second, third):
        assert restricts(first, third)
    if restricts(first, second) and restricts(second, first):
        assert first["tokens_per_day"] == second["tokens_per_day"]
        assert set(first["capabilities"]) == set(second["capabilities"])


def party(name: str, *duties: Duty, **changes) -> Party:
    roles = frozenset(Role(duty) for duty in duties)
    return replace(Party(name, "board", "verified", roles=roles), **changes)


@pytest.mark.parametrize(
    ("who", "may_propose", "may_approve"),
    [
        (party("a", Duty.ADMINISTRATOR), True, True),
        (party("a", Duty.APPROVER), True, True),
        (party("a", Duty.OPERATOR), True, False),
        (party("a", Duty.AUDITOR), False, False),
        (party("a", Duty.IDENTITY_REVIEWER), False, False),
        (party("a"), False, False),
        (party("a", Duty.ADMINISTRATOR, is_active=False), False, False),
        (party("a", Duty.ADMINISTRATOR, organisation_state="unverified"), True, False),
        (party("p", Duty.ADMINISTRATOR), True, False),
    ],
)
def test_who_proposes_and_who_approves(who, may_propose, may_approve):
    assert (proposal_refusal(who) is None) is may_propose
    assert (approval_refusal("p", NOW, who, NOW) is None) is may_approve


def test_a_proposal_lapses():
    late = NOW + timedelta(days=30)
    assert approval_refusal("p", NOW, party("a", Duty.APPROVER), late) == "the proposal has lapsed"
