"""The routing rule: cases as a table, promises as properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.routing import Alias, Denied, Family, Routed, Unknown, eligible, route

BIO, CYBER, CHEM = "bio", "cyber", "chem"
ALL = frozenset({BIO, CYBER, CHEM})


def alias(label: str, *forgets: str) -> Alias:
    return Alias(label, f"digest of {label}", frozenset(forgets))


FAMILY = Family(
    "zephyr",
    ALL,
    (alias("base"), alias("cyber-only", BIO, CHEM), alias("unlearned", BIO, CYBER, CHEM)),
)
CASES = [
    ("zephyr", set(), "unlearned"),
    ("zephyr", {BIO}, "unlearned"),
    ("zephyr", {CYBER}, "cyber-only"),
    ("zephyr", {CYBER, BIO}, "cyber-only"),
    ("zephyr", {BIO, CYBER, CHEM}, "base"),
    ("zephyr", {"unknown"}, "unlearned"),
    ("zephyr:unlearned", {BIO, CYBER, CHEM}, "unlearned"),
    ("zephyr:cyber-only", {CYBER}, "cyber-only"),
    ("zephyr:base", {BIO, CYBER}, (CHEM,)),
    ("zephyr:base", set(), (BIO, CHEM, CYBER)),
    ("zephyr:cyber-only", {BIO}, (CYBER,)),
    ("zephyr:nothing", ALL, None),
    ("other", ALL, None),
    ("", ALL, None),
    ("zephyr:", ALL, None),
]


@pytest.mark.parametrize(("requested", "grants", "expected"), CASES)
def test_table(requested, grants, expected):
    choice = route(requested, {"zephyr": FAMILY}, frozenset(grants))
    match choice:
        case Routed():
            assert choice.alias.label == expected
        case Denied():
            assert choice.missing == expected
        case Unknown():
            assert expected is None


def test_without_a_public_checkpoint_nobody_falls_through():
    family = Family("f", ALL, (alias("base"),))
    assert isinstance(route("f", {"f": family}, frozenset()), Denied)


def test_a_family_without_hazards_cannot_be_made():
    with pytest.raises(ValueError, match="no hazards"):
        Family("f", frozenset(), (alias("base"),))


def test_what_a_checkpoint_forgot_beyond_the_hazards_opens_nothing():
    family = Family("f", frozenset({BIO}), (alias("odd", "cooking"),))
    assert eligible(family, frozenset()) == []


DOMAINS = st.frozensets(st.sampled_from([BIO, CYBER, CHEM, "extra"]))
FAMILIES = st.builds(
    lambda hazards, forgets: Family(
        "f", hazards, tuple(alias(f"c{i}", *gone) for i, gone in enumerate(forgets))
    ),
    st.frozensets(st.sampled_from([BIO, CYBER, CHEM]), min_size=1),
    st.lists(DOMAINS, max_size=5),
)


@given(FAMILIES, DOMAINS, st.sampled_from([BIO, CYBER, CHEM, "extra"]))
def test_a_grant_never_removes_and_its_end_never_adds(family, grants, more):
    fewer = {a.label for a in eligible(family, grants - {more})}
    most = {a.label for a in eligible(family, grants | {more})}
    assert fewer <= most
    for a in family.aliases:
        pin = f"f:{a.label}"
        if isinstance(route(pin, {"f": family}, grants - {more}), Routed):
            assert isinstance(route(pin, {"f": family}, grants | {more}), Routed)


@given(FAMILIES)
def test_no_grant_reaches_only_what_has_forgotten_everything(family):
    for a in eligible(family, frozenset()):
        assert family.hazards <= a.forgets


@given(FAMILIES, DOMAINS)
def test_what_is_served_is_covered_and_the_least_forgotten(family, grants):
    choice = route("f", {"f": family}, grants)
    if isinstance(choice, Routed):
        assert family.hazards - choice.alias.forgets <= grants
        for other in eligible(family, grants):
            assert len(choice.alias.forgets & family.hazards) <= len(other.forgets & family.hazards)


@given(FAMILIES, DOMAINS, st.sampled_from([BIO, CYBER, CHEM]))
def test_one_more_hazard_never_opens_a_door(family, grants, hazard):
    wider = Family("f", family.hazards | {hazard}, family.aliases)
    assert {a.label for a in eligible(wider, grants)} <= {a.label for a in eligible(family, grants)}
