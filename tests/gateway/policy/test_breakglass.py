"""Who may close and who may open."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.approval import Duty, Role
from gateway.policy.breakglass import (
    REQUEST_LAPSES_AFTER,
    Closures,
    Request,
    confirmation_refusal,
    may_close,
    refusal,
)
from tests.gateway.policy.test_applications import ADA, APP, BIO, DAN, EVERY, IVY, party

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AUDITOR = party("aud", frozenset({Role(Duty.AUDITOR)}))
DOMAINS = st.frozensets(st.sampled_from(["bio", "cyber", "chem"]))


@given(DOMAINS, DOMAINS, st.booleans())
def test_a_closure_closes_its_domains_and_no_others(granted, closed, everything):
    still_open = Closures(everything, closed).still_open(granted)
    assert still_open == (set() if everything else granted - closed)


@pytest.mark.parametrize(
    ("who", "may"),
    [(APP, True), (DAN, True), (IVY, True), (AUDITOR, False), (party("x"), False),
     (replace(APP, is_active=False), False)],
)  # fmt: skip
def test_who_may_close(who, may):
    assert may_close(who) is may


@pytest.mark.parametrize(
    ("who", "domain", "beneficiary", "why"),
    [
        (APP, "bio", ADA, None),
        (DAN, "bio", ADA, None),
        (APP, None, None, None),
        (DAN, None, None, "takes an approver"),
        (DAN, "cyber", ADA, "takes an approver"),
        (IVY, "bio", ADA, "takes an approver"),
        (AUDITOR, "bio", ADA, "takes an approver"),
        (replace(ADA, roles=EVERY), "bio", ADA, "themselves"),
        (party("mate", EVERY, "lab"), "bio", ADA, "not of the applicant"),
        (replace(APP, organisation_state="suspended"), None, None, "verified organisation"),
        (replace(APP, is_active=False), None, None, "active"),
    ],
)
def test_who_may_be_one_of_the_two(who, domain, beneficiary, why):
    reason = refusal(who, domain, beneficiary)
    assert reason is None if why is None else why in (reason or "")


def test_the_second_is_another_and_in_time():
    request = Request("dan", NOW, "bio")
    assert confirmation_refusal(request, APP, ADA, NOW) is None
    assert confirmation_refusal(request, DAN, ADA, NOW) == "opening takes two people"
    almost = NOW + REQUEST_LAPSES_AFTER - timedelta(seconds=1)
    assert confirmation_refusal(request, party("bo", BIO), ADA, almost) is None
    late = confirmation_refusal(request, APP, ADA, NOW + REQUEST_LAPSES_AFTER)
    assert late == "the request has lapsed"
