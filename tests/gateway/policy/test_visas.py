"""Conditions of visas, linked identities, and what visas verify: tables and properties."""

import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.evidence import OF_VISAS, PROVES, AssertedBy, EvidenceKind, Verification
from gateway.policy.visas import KINDS, LINKED, Visa, _fits, holds, of_person

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ADA = ("https://visas.example", "ada")


def visa(kind="AffiliationAndRole", value="faculty@uni.example", by="so", conditions=None,
         identity=ADA, source="https://uni.example"):  # fmt: skip
    return Visa(identity, kind, value, source, AssertedBy(by), NOW, NOW, "sha256:0", conditions)


ROLE = visa()
STATUS = visa("ResearcherStatus", "https://doi.org/10.1038/s41431-018-0219-y", "peer")
LINKS = visa(LINKED, "001,https%3A%2F%2Fone.example;123,https%3A%2F%2Ftwo.example", "system")


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, True),
        ([], True),
        ([[{"type": "AffiliationAndRole", "value": "const:faculty@uni.example"}]], True),
        ([[{"type": "AffiliationAndRole", "value": "const:faculty@UNI.example"}]], False),
        ([[{"type": "AffiliationAndRole", "value": "pattern:faculty@*", "by": "const:so"}]], True),
        ([[{"type": "AffiliationAndRole", "value": "pattern:fac*", "by": "const:dac"}]], False),
        ([[{"type": "AffiliationAndRole", "value": "pattern:facult?@uni.exampl?"}]], True),
        ([[{"type": "AffiliationAndRole", "value": "pattern:faculty"}]], False),
        ([[{"type": "LinkedIdentities", "value": "split_pattern:123,*two.example"}]], True),
        ([[{"type": "LinkedIdentities", "value": "pattern:123,*two.example"}]], False),
        ([[{"type": "AffiliationAndRole"}]], False),
        ([[{"value": "pattern:*"}]], False),
        ([[{"type": "Other", "value": "pattern:*"}],
          [{"type": "ResearcherStatus", "by": "const:peer"}]], True),
        ([[{"type": "ResearcherStatus", "by": "const:peer"},
           {"type": "Other", "value": "pattern:*"}]], False),
        ([[{"type": "AffiliationAndRole", "asserted": "pattern:*"}]], False),
        ([[{"type": "AffiliationAndRole", "conditions": "pattern:*"}]], False),
        ([[{"type": "AffiliationAndRole", "value": "regex:.*"}]], False),
        ([[{"type": "AffiliationAndRole", "value": 7}]], False),
        ([[]], False), ([{}], False), ("pattern:*", False), ({"a": 1}, False), ([["x"]], False),
        ([[{"type": "AffiliationAndRole", "value": "pattern:*"}] * 65], False),
    ],
)  # fmt: skip
def test_conditions(conditions, expected):
    tried = visa("ControlledAccessGrants", "https://data.example/1", "dac", conditions)
    assert holds(tried, [tried, ROLE, STATUS, LINKS]) is expected


def test_a_visa_with_conditions_meets_none():
    clause = [[{"type": "ResearcherStatus", "by": "const:peer"}]]
    first = visa(
        "ResearcherStatus", "x", "peer", [[{"type": "AffiliationAndRole", "by": "const:so"}]]
    )
    second = visa(by="so", conditions=clause)
    assert not holds(second, [first, second])
    assert holds(second, [second, STATUS])


@given(st.text("ab?*[]!-", max_size=8), st.text("ab[]!-", max_size=8))
def test_patterns_are_those_of_the_standard(pattern, text):
    signs = {"?": ".", "*": ".*"}
    expected = re.fullmatch("".join(signs.get(sign, re.escape(sign)) for sign in pattern), text)
    assert _fits(pattern, text) is (expected is not None)


def test_a_pattern_that_is_made_to_be_slow_is_not():
    began = time.process_time()
    assert not _fits("*a" * 140 + "b", "a" * 2000)
    assert not _fits("*" + "a" * 299 + "b", "a" * 2000)
    assert time.process_time() - began < 0.2


def test_linked_identities_reach_a_person_one_step_and_by_a_system_alone():
    mine = frozenset({("https://one.example", "001")})
    linked = frozenset({ADA, ("https://one.example", "001"), ("https://two.example", "123")})
    assert of_person([LINKS], mine) == linked
    assert of_person([LINKS, ROLE], frozenset({("https://one.example", "002")})) == {
        ("https://one.example", "002")
    }
    own_word = visa(LINKED, LINKS.value, "self")
    assert of_person([own_word], mine) == mine
    unmet = visa(LINKED, LINKS.value, "system", [[{"type": "Other", "by": "const:so"}]])
    assert of_person([unmet], mine) == mine
    assert of_person([ROLE], mine) == mine
    # By its own identity's or the person's visas, not by those that it would bring in.
    on_status = visa(
        LINKED, LINKS.value, "system", [[{"type": "ResearcherStatus", "by": "const:so"}]]
    )
    for identity, expected in (
        (ADA, linked), (("https://one.example", "001"), linked),
        (("https://two.example", "123"), mine), (("https://two.example", "eve"), mine),
    ):  # fmt: skip
        status = visa("ResearcherStatus", "x", identity=identity)
        assert of_person([on_status, status], mine) == expected
    broken = visa(LINKED, "001;,;a,b,c;001,https%3A%2F%2Fone.example", "system")
    assert ("https://one.example", "001") in broken.linked()
    assert len(broken.linked()) == 3


def test_no_visa_verifies_identity_or_training_and_terms_verify_nothing():
    assert set(KINDS.values()) == OF_VISAS
    for (kind, by), verified in PROVES.items():
        if kind in OF_VISAS:
            assert not verified & {Verification.IDENTITY, Verification.TRAINING}
            assert kind is not EvidenceKind.TERMS_VISA
            assert by not in (AssertedBy.SELF, AssertedBy.UNKNOWN)
