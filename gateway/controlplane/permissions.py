"""Who may ask what of the admin API: one row for each route, and for some of them what of it.

A route without a row is nobody's. What a row allows is only the way in: whose application, which
domain, whether two people are two, is decided where the step is taken.
"""

from collections.abc import Mapping
from enum import StrEnum

from gateway.policy.approval import Duty


class Everybody(StrEnum):
    """What everybody is who acts under their own name, with or without a duty."""

    PERSON = "person"


Who = Duty | Everybody

PEOPLE: frozenset[Who] = frozenset({Everybody.PERSON})
ADMINISTRATORS: frozenset[Who] = frozenset({Duty.ADMINISTRATOR})
OPERATORS = ADMINISTRATORS | {Duty.OPERATOR}
AUDITORS: frozenset[Who] = frozenset({Duty.AUDITOR})
READERS = OPERATORS | {Duty.AUDITOR}
EVERY_DUTY: frozenset[Who] = frozenset(Duty)
ANYBODY = EVERY_DUTY | PEOPLE
CHANGERS = OPERATORS | {Duty.APPROVER}

MAY: Mapping[tuple[str, str], frozenset[Who]] = {
    ("GET", "/people"): READERS,
    ("POST", "/people"): ADMINISTRATORS,
    ("GET", "/people/{person_id}"): READERS,
    ("PATCH", "/people/{person_id}"): OPERATORS,
    ("GET", "/people/{person_id}/roles"): READERS,
    ("PUT", "/people/{person_id}/roles"): ADMINISTRATORS,
    ("GET", "/identities"): READERS,
    ("POST", "/identities"): ADMINISTRATORS,
    ("DELETE", "/identities/{identity_id}"): ADMINISTRATORS,
    ("GET", "/me"): ANYBODY,
    ("GET", "/me/sessions"): ANYBODY,
    ("DELETE", "/me/sessions/{session_id}"): ANYBODY,
    ("GET", "/me/keys"): ANYBODY,
    ("POST", "/me/keys"): ANYBODY,
    ("GET", "/me/keys/{key_id}"): ANYBODY,
    ("PATCH", "/me/keys/{key_id}"): ANYBODY,
    ("POST", "/me/keys/{key_id}/rotate"): ANYBODY,
    ("POST", "/me/keys/{key_id}/revoke"): ANYBODY,
    ("POST", "/me/first-administrator"): PEOPLE,
    ("GET", "/sessions"): READERS,
    ("DELETE", "/sessions/{session_id}"): OPERATORS,
    ("DELETE", "/people/{person_id}/sessions"): OPERATORS,
    ("GET", "/keys"): READERS,
    ("POST", "/keys"): ADMINISTRATORS,
    ("GET", "/keys/{key_id}"): READERS,
    ("PATCH", "/keys/{key_id}"): OPERATORS,
    ("POST", "/keys/{key_id}/rotate"): ADMINISTRATORS,
    ("POST", "/keys/{key_id}/revoke"): OPERATORS,
    ("GET", "/grants"): READERS,
    ("POST", "/grants"): ADMINISTRATORS,
    ("POST", "/grants/{grant_id}/revoke"): OPERATORS,
    ("POST", "/grants/{grant_id}/suspend"): ANYBODY - {Duty.AUDITOR},
    ("POST", "/grants/{grant_id}/resume"): PEOPLE,
    ("POST", "/grants/{grant_id}/usage-reviews"): PEOPLE,
    ("GET", "/aliases"): READERS,
    ("GET", "/promotions"): READERS,
    ("GET", "/revocations"): READERS,
    ("POST", "/revocations"): OPERATORS,
    ("GET", "/engines"): READERS,
    ("POST", "/engines"): OPERATORS,
    ("DELETE", "/engines/{engine_id}"): OPERATORS,
    ("GET", "/tiers"): EVERY_DUTY,
    ("GET", "/tiers/{name}/history"): EVERY_DUTY,
    ("GET", "/tier-changes"): EVERY_DUTY,
    ("GET", "/tier-changes/{change_id}/effects"): EVERY_DUTY,
    ("POST", "/tier-changes"): CHANGERS,
    ("POST", "/tier-changes/{change_id}/approve"): PEOPLE,
    ("POST", "/tier-changes/{change_id}/withdraw"): CHANGERS,
    ("GET", "/organisations"): READERS,
    ("GET", "/organisations/{organisation_id}"): READERS,
    ("PATCH", "/organisations/{organisation_id}"): OPERATORS,
    ("GET", "/terms"): ANYBODY,
    ("POST", "/terms"): ADMINISTRATORS,
    ("POST", "/terms/{digest}/accept"): PEOPLE,
    ("GET", "/evidence"): ANYBODY,
    ("POST", "/evidence"): PEOPLE,
    ("POST", "/evidence/{item_id}/accept"): PEOPLE,
    ("POST", "/evidence/{item_id}/retract"): ANYBODY - {Duty.AUDITOR},
    ("GET", "/explain"): ANYBODY,
    ("GET", "/applications"): ANYBODY,
    ("POST", "/applications"): PEOPLE,
    ("GET", "/applications/{application_id}"): ANYBODY,
    ("PUT", "/applications/{application_id}"): PEOPLE,
    ("POST", "/applications/{application_id}/submit"): PEOPLE,
    ("POST", "/applications/{application_id}/withdraw"): PEOPLE,
    ("POST", "/applications/{application_id}/appeal"): PEOPLE,
    ("POST", "/applications/{application_id}/take-up"): PEOPLE,
    ("POST", "/applications/{application_id}/judgements"): PEOPLE,
    ("POST", "/applications/{application_id}/grants"): PEOPLE,
    ("GET", "/closures"): EVERY_DUTY,
    ("POST", "/closures"): EVERY_DUTY - {Duty.AUDITOR},
    ("POST", "/closures/{closure_id}/lift"): PEOPLE,
    ("GET", "/openings"): EVERY_DUTY,
    ("POST", "/openings"): PEOPLE,
    ("POST", "/openings/{opening_id}/confirm"): PEOPLE,
    ("GET", "/audit-events"): READERS,
    ("GET", "/me/address"): ANYBODY,
    ("PUT", "/me/address"): ANYBODY,
    ("DELETE", "/me/address"): ANYBODY,
    ("POST", "/me/institution-mail"): PEOPLE,
    ("POST", "/me/institution-mail/confirm"): PEOPLE,
    ("GET", "/people/{person_id}/address"): ADMINISTRATORS,
    ("DELETE", "/people/{person_id}/address"): ADMINISTRATORS,
    ("GET", "/organisations/{organisation_id}/contact"): ADMINISTRATORS,
    ("PUT", "/organisations/{organisation_id}/contact"): ADMINISTRATORS,
    ("DELETE", "/organisations/{organisation_id}/contact"): ADMINISTRATORS,
    ("GET", "/grants/{grant_id}/sponsor"): READERS,
    ("PUT", "/grants/{grant_id}/sponsor"): ADMINISTRATORS,
    ("DELETE", "/grants/{grant_id}/sponsor"): ADMINISTRATORS,
    ("GET", "/webhooks"): READERS,
    ("POST", "/webhooks"): ADMINISTRATORS,
    ("POST", "/webhooks/{webhook_id}/rotate"): ADMINISTRATORS,
    ("DELETE", "/webhooks/{webhook_id}"): OPERATORS,
    ("GET", "/notices"): READERS,
    ("POST", "/notices/{notice_id}/resend"): OPERATORS,
    ("GET", "/people-export"): READERS,
    ("POST", "/people-import"): ADMINISTRATORS,
    ("POST", "/me/visas"): PEOPLE,
    ("POST", "/me/passport"): PEOPLE,
    ("POST", "/people/{person_id}/visas"): ADMINISTRATORS,
    ("GET", "/me/unwanted-notices"): ANYBODY,
    ("PUT", "/me/unwanted-notices"): ANYBODY,
    ("GET", "/contents/openings"): READERS,
    ("POST", "/contents/openings"): AUDITORS,
    ("POST", "/contents/openings/{opening_id}/approve"): AUDITORS | {Duty.APPROVER},
    ("POST", "/contents/openings/{opening_id}/release"): AUDITORS,
    ("GET", "/contents/destructions"): READERS,
    ("POST", "/contents/destructions"): AUDITORS,
    ("POST", "/contents/destructions/{destruction_id}/approve"): AUDITORS | {Duty.APPROVER},
}
"""By method and path under `/admin/v1`."""

ONLY: Mapping[tuple[str, str, Who], Mapping[str, frozenset[object]]] = {
    ("PATCH", "/people/{person_id}", Duty.OPERATOR): {"state": frozenset({"suspended"})},
    ("PATCH", "/organisations/{organisation_id}", Duty.OPERATOR): {
        "state": frozenset({"suspended"})
    },
}
"""What of a route's body somebody may write, who may not write all of it: values by field."""


OPERATING: frozenset[Who] = frozenset({Duty.OPERATOR})


def refusal(method: str, path: str, who: frozenset[Who]) -> str | None:
    """Return why somebody is turned away from a route; None when they are let in."""
    allowed = MAY.get((method, path), frozenset())
    if allowed & who:
        return None
    named = sorted(str(each).replace("_", " ") for each in allowed)
    return f"this is for: {', '.join(named)}" if named else "nobody may do this"


def is_partly_writable(method: str, path: str) -> bool:
    """Whether somebody may write some of a route's body and not all of it."""
    return any(key[:2] == (method, path) for key in ONLY)


def only_restricts(method: str, path: str, body: Mapping[str, object]) -> bool:
    """Whether a change takes nothing but access away, so that an operator may make it alone."""
    rules = ONLY.get((method, path, Duty.OPERATOR))
    return rules is not None and bool(body) and unwritable(method, path, OPERATING, body) is None


def unwritable(
    method: str, path: str, who: frozenset[Who], body: Mapping[str, object]
) -> str | None:
    """Return a field that somebody may not write so; None when they may write them all."""
    found: str | None = None
    for one in MAY.get((method, path), frozenset()) & who:
        rules = ONLY.get((method, path, one))
        if rules is None:
            return None
        wrong = [name for name, value in body.items() if not _may_be(value, rules.get(name))]
        if not wrong:
            return None
        found = wrong[0]
    return found


def _may_be(value: object, allowed: frozenset[object] | None) -> bool:
    return allowed is not None and isinstance(value, str) and value in allowed
