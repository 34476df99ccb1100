"""Every admin route asked in every role: who is let in, and who may write what of it."""

from collections.abc import Iterator

import httpx
import pytest

from gateway.controlplane.permissions import Everybody, refusal, unwritable
from gateway.policy.approval import Duty
from gateway.policy.scopes import Scope
from tests.gateway.conftest import Running, make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code

# K: an administrator's key; M: a person who administers; O: operator; U: auditor; I, D, A: identity
# reviewer, reviewer of a domain, approver; P: a person without a role.
READ, ADMIN, OPERATE = "KMOU", "KM", "KMO"
ROLES, OWN, SELF, ALL = "KMOUIDA", "MOIDAP", "MOUIDAP", "KMOUIDAP"
MATRIX = {
    "GET /people": READ, "GET /people/{person_id}": READ,
    "POST /people": ADMIN, "PATCH /people/{person_id}": OPERATE,
    "GET /people/{person_id}/roles": READ, "PUT /people/{person_id}/roles": ADMIN,
    "GET /identities": READ, "POST /identities": ADMIN,
    "DELETE /identities/{identity_id}": ADMIN,
    "GET /me": SELF, "GET /me/sessions": SELF, "DELETE /me/sessions/{session_id}": SELF,
    "GET /me/keys": SELF, "POST /me/keys": SELF, "POST /me/keys/{key_id}/rotate": SELF,
    "POST /me/keys/{key_id}/revoke": SELF, "GET /me/keys/{key_id}": SELF,
    "PATCH /me/keys/{key_id}": SELF,
    "POST /me/first-administrator": OWN, "GET /sessions": READ,
    "DELETE /sessions/{session_id}": OPERATE, "DELETE /people/{person_id}/sessions": OPERATE,
    "GET /keys": READ, "POST /keys": ADMIN, "POST /keys/{key_id}/rotate": ADMIN,
    "POST /keys/{key_id}/revoke": OPERATE, "GET /keys/{key_id}": READ,
    "PATCH /keys/{key_id}": OPERATE,
    "GET /grants": READ, "POST /grants": ADMIN, "POST /grants/{grant_id}/revoke": OPERATE,
    "POST /grants/{grant_id}/suspend": "KMOIDAP", "POST /grants/{grant_id}/resume": OWN,
    "POST /grants/{grant_id}/usage-reviews": OWN,
    "GET /aliases": READ, "GET /promotions": READ, "GET /revocations": READ,
    "POST /revocations": OPERATE, "GET /engines": READ, "POST /engines": OPERATE,
    "DELETE /engines/{engine_id}": OPERATE,
    "GET /tiers": ROLES, "GET /tiers/{name}/history": ROLES, "GET /tier-changes": ROLES,
    "GET /tier-changes/{change_id}/effects": ROLES, "POST /tier-changes": "KMOA",
    "POST /tier-changes/{change_id}/approve": OWN,
    "POST /tier-changes/{change_id}/withdraw": "KMOA",
    "GET /organisations": READ, "GET /organisations/{organisation_id}": READ,
    "PATCH /organisations/{organisation_id}": OPERATE,
    "GET /terms": ALL, "POST /terms": ADMIN, "POST /terms/{digest}/accept": OWN,
    "GET /evidence": ALL, "POST /evidence": OWN, "POST /evidence/{item_id}/accept": OWN,
    "POST /evidence/{item_id}/retract": "KMOIDAP", "GET /explain": ALL,
    "GET /applications": ALL, "POST /applications": OWN,
    "GET /applications/{application_id}": ALL, "PUT /applications/{application_id}": OWN,
    "POST /applications/{application_id}/submit": OWN,
    "POST /applications/{application_id}/withdraw": OWN,
    "POST /applications/{application_id}/appeal": OWN,
    "POST /applications/{application_id}/take-up": OWN,
    "POST /applications/{application_id}/judgements": OWN,
    "POST /applications/{application_id}/grants": OWN,
    "GET /closures": ROLES, "POST /closures": "KMOIDA", "POST /closures/{closure_id}/lift": OWN,
    "GET /openings": ROLES, "POST /openings": OWN, "POST /openings/{opening_id}/confirm": OWN,
    "GET /audit-events": READ,
    "GET /me/address": SELF, "PUT /me/address": SELF, "DELETE /me/address": SELF,
    "POST /me/institution-mail": OWN, "POST /me/institution-mail/confirm": OWN,
    "GET /people/{person_id}/address": ADMIN, "DELETE /people/{person_id}/address": ADMIN,
    "GET /organisations/{organisation_id}/contact": ADMIN,
    "PUT /organisations/{organisation_id}/contact": ADMIN,
    "DELETE /organisations/{organisation_id}/contact": ADMIN,
    "GET /grants/{grant_id}/sponsor": READ, "PUT /grants/{grant_id}/sponsor": ADMIN,
    "DELETE /grants/{grant_id}/sponsor": ADMIN,
    "GET /webhooks": READ, "POST /webhooks": ADMIN, "POST /webhooks/{webhook_id}/rotate": ADMIN,
    "DELETE /webhooks/{webhook_id}": OPERATE, "GET /notices": READ,
    "POST /notices/{notice_id}/resend": OPERATE,
    "GET /people-export": READ, "POST /people-import": ADMIN,
    "POST /me/visas": OWN, "POST /me/passport": OWN, "POST /people/{person_id}/visas": ADMIN,
    "GET /me/unwanted-notices": SELF, "PUT /me/unwanted-notices": SELF,
    "GET /contents/openings": READ, "POST /contents/openings": "U",
    "POST /contents/openings/{opening_id}/approve": "UA",
    "POST /contents/openings/{opening_id}/release": "U",
    "GET /contents/destructions": READ, "POST /contents/destructions": "U",
    "POST /contents/destructions/{destruction_id}/approve": "UA",
}  # fmt: skip
PEOPLE = {
    "M": ["administrator"], "O": ["operator"], "U": ["auditor"], "I": ["identity_reviewer"],
    "D": ["domain_reviewer:capitals"], "A": ["approver"], "P": [],
}  # fmt: skip


# One for all, since making one for each of four hundred requests takes longer than the requests.
CLIENT = httpx.Client(timeout=30)


@pytest.fixture(scope="module")
def keys(request, tmp_path_factory) -> Iterator[tuple[Running, dict[str, str]]]:
    """A gateway with a key for each role."""
    home = tmp_path_factory.mktemp("roles")
    with run_gateway(make_settings(request, home, "sqlite")) as running:
        made = {"K": running.admin_key}
        for letter, roles in PEOPLE.items():
            given = {"name": letter, "organisation": "Roles"}
            person = running.admin("POST", "/people", json=given).json()["id"]
            path = f"/people/{person}/roles"
            assert running.admin("PUT", path, json={"roles": roles}).status_code == 200
            wanted = {"person_id": person, "workflow": True, "scopes": list(Scope)}
            key = running.admin("POST", "/keys", json=wanted)
            made[letter] = key.json()["key"]
        yield running, made
        CLIENT.close()


def ask(running: Running, key: str, route: str, body: object) -> httpx.Response:
    method, _, path = route.partition(" ")
    given = {} if method in ("GET", "DELETE") else {"json": body}
    headers = {"authorization": f"Bearer {key}"}
    url = f"{running.url}/admin/v1{path}".replace("{", "").replace("}", "")
    return CLIENT.request(method, url, headers=headers, **given)


def test_the_matrix_has_every_route_and_no_other(keys):
    document = httpx.get(f"{keys[0].url}/admin/v1/openapi.json").json()
    routes = {
        f"{method.upper()} {path.removeprefix('/admin/v1')}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert routes == set(MATRIX)


@pytest.mark.parametrize("route", list(MATRIX))
def test_a_route_lets_in_whom_the_matrix_names_and_nobody_else(keys, route):
    running, made = keys
    # A body that every schema refuses: who is let in changes nothing by it.
    for letter, key in made.items():
        answer = ask(running, key, route, {"no such field": 1})
        turned_away = answer.status_code in (401, 403)
        if letter == "O" and "no such field" in answer.text and answer.status_code == 403:
            turned_away = False  # Let in, to set another field.
        assert turned_away is (letter not in MATRIX[route]), (letter, answer.text)


def test_a_route_without_a_row_is_nobodys():
    everything = frozenset(Duty) | {Everybody.PERSON}
    assert refusal("GET", "/new", everything) == "nobody may do this"
    assert refusal("DELETE", "/people", everything) == "nobody may do this"


def test_an_operator_suspends_and_never_reinstates_or_moves(keys):
    running, made = keys
    person = running.people["public"]
    organisation = running.admin("GET", "/organisations").json()[0]["id"]
    for path, wrong in {
        f"/people/{person}": [
            {"state": "active"},
            {"tier": "researcher"},
            {"name": "x"},
            {"organisation": "x"},
            {"state": "suspended", "organisation": "x"},
            {"state": "suspended", "tier": "researcher"},
            {"state": None},
            {"state": ["suspended"]},
        ],
        f"/organisations/{organisation}": [{"state": "verified"}, {"ror_id": "05dxps055"}],
    }.items():
        for body in wrong:
            answer = ask(running, made["O"], f"PATCH {path}", body)
            assert code(answer) == (403, "not_permitted"), body
        done = ask(running, made["O"], f"PATCH {path}", {"state": "suspended"})
        assert done.json()["state"] == "suspended"
        back = {"state": "active" if "people" in path else "verified"}
        assert ask(running, made["M"], f"PATCH {path}", back).json()["state"] == back["state"]


def test_the_better_of_two_duties_counts_for_fields():
    route, body = ("PATCH", "/people/{person_id}"), {"tier": "researcher"}
    operator = frozenset({Duty.OPERATOR, Everybody.PERSON})
    assert unwritable(*route, operator, body) == "tier"
    assert unwritable(*route, operator | {Duty.ADMINISTRATOR}, body) is None


def test_an_auditor_is_nothing_else(keys):
    running, made = keys
    person = running.people["public"]
    both = running.admin("PUT", f"/people/{person}/roles", json={"roles": ["auditor", "approver"]})
    assert code(both) == (400, "invalid_request")
    for path in ("/people", "/evidence", "/applications", "/audit-events", "/tiers"):
        assert ask(running, made["U"], f"GET {path}", None).status_code == 200
    given = {"tier": "public", "change": {"priority": 1}, "reason": "r"}
    assert code(ask(running, made["U"], "POST /tier-changes", given)) == (403, "not_permitted")


def test_an_auditor_has_anybodys_receipt_and_other_people_their_own(keys):
    running, made = keys
    request = running.chat("researcher", "smollm2:base").headers["x-request-id"]
    url = f"{running.url}/v1/receipts/{request}"
    given = {
        letter: CLIENT.get(url, headers={"authorization": f"Bearer {key}"}).status_code
        for letter, key in made.items()
    }
    assert given == {letter: 200 if letter in "KMOU" else 404 for letter in made}
