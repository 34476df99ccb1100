"""What keys for the admin API may be used for, for how long, and that none makes a stronger one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from gateway.controlplane import access
from gateway.controlplane.permissions import MAY
from gateway.controlplane.scopes import NEEDS, check_scope, scope_of
from gateway.identity.principal import KeyRights
from gateway.identity.proof import Assurance
from gateway.identity_errors import InsufficientScopeError
from gateway.policy.approval import Duty
from gateway.policy.grants import UNMET
from gateway.policy.scopes import OF_ADMINISTRATORS, OF_WORKFLOW, Scope
from tests.gateway.conftest import Running
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.test_keys import ask, made

RIGHTS = KeyRights(frozenset(), None, None)


def test_what_nothing_meets_is_not_met_by_a_login_of_this_second():
    proof = Assurance("https://idp.example", "mfa", 1000.0)
    assert proof.meets(("mfa",), 0, 1000.0)
    assert not proof.meets(UNMET.acr, UNMET.max_age, 1000.0)
    assert not proof.meets(UNMET.acr, UNMET.max_age, 990.0)


def test_every_route_has_its_scope_and_no_other_has():
    assert set(NEEDS) == {route for route in MAY if route[0] != "GET"}


def test_a_scope_opens_its_routes_and_no_other():
    for scope in Scope:
        rights = replace(RIGHTS, scopes=frozenset({scope}))
        for method, path in MAY:
            own = method == "GET" and path in (
                "/me",
                "/me/keys",
                "/me/keys/{key_id}",
                "/me/sessions",
            )
            needed = Scope.READ if method == "GET" else NEEDS[method, path]
            if own or needed is scope:
                check_scope(rights, scope_of(method, path))
            else:
                with pytest.raises(InsufficientScopeError):
                    check_scope(rights, scope_of(method, path))
    with pytest.raises(InsufficientScopeError):
        check_scope(replace(RIGHTS, scopes=frozenset(Scope)), scope_of("POST", "/new"))
    check_scope(None, scope_of("POST", "/people"))  # A login has no scopes.


def test_what_gives_access_is_not_in_reach_of_a_workflow_key_as_it_comes():
    """An administrator's role is not in every key of theirs."""
    gives = {route for route, who in MAY.items() if who == frozenset({Duty.ADMINISTRATOR})}
    assert {("POST", "/people"), ("POST", "/keys"), ("POST", "/grants")} <= gives
    assert not {NEEDS[route] for route in gives if route[0] != "GET"} & OF_WORKFLOW


@pytest.fixture(scope="module")
def administrator(running: Running) -> str:
    """A person who administers; their id."""
    given = {"name": "Ann", "organisation": "Admins"}
    person = running.admin("POST", "/people", json=given).json()["id"]
    roles = {"roles": ["administrator"]}
    assert running.admin("PUT", f"/people/{person}/roles", json=roles).status_code == 200
    running.people["ann"] = person
    return person


def test_a_workflow_key_administers_only_where_its_scopes_say_so(running, administrator):
    plain = made(running, "ann", workflow=True)
    assert plain["scopes"] == sorted(OF_WORKFLOW)
    wide = made(running, "ann", workflow=True, scopes=["admin:read", "admin:people"])
    body = {"name": "x", "organisation": "x"}
    refused = ask(running, plain["key"], "POST", "/people", body)
    assert code(refused) == (403, "insufficient_scope")
    assert "admin:people" in refused.json()["error"]["message"]
    assert ask(running, wide["key"], "POST", "/people", body).status_code == 201
    grant = {"person_id": running.people["researcher"], "domain": "capitals", "reason": "r"}
    for key in (plain, wide):
        assert code(ask(running, key["key"], "POST", "/grants", grant)) == (
            403, "insufficient_scope")  # fmt: skip
    # A scope gives nothing that its owner has not.
    theirs = made(running, "public", workflow=True, scopes=["admin:people"])
    assert code(ask(running, theirs["key"], "POST", "/people", body)) == (403, "not_permitted")


def test_suspending_needs_no_more_than_restricting_and_never_waits(running, monkeypatch):
    given = {"name": "Oona", "organisation": "Operators"}
    running.people["oona"] = person = running.admin("POST", "/people", json=given).json()["id"]
    roles = {"roles": ["operator"]}
    running.admin("PUT", f"/people/{person}/roles", json=roles)
    key = made(running, "oona", workflow=True)
    target = running.admin("POST", "/people", json={"name": "x", "organisation": "x"}).json()["id"]
    path = f"/people/{target}"
    proven = datetime.fromisoformat(key["proven_at"])
    with monkeypatch.context() as patch:
        patch.setattr(access, "find_holder", living_on(access.find_holder, proven))
        at(patch, proven + timedelta(days=2))
        done = ask(running, key["key"], "PATCH", path, {"state": "suspended"})
        assert (done.status_code, done.json()["state"]) == (200, "suspended")
        refused = ask(running, running.admin_key, "PATCH", path, {"state": "active"})
        assert code(refused) == (401, "insufficient_user_authentication")
        for body in ({}, {"state": "suspended", "tier": "researcher"}):
            answer = ask(running, running.admin_key, "PATCH", path, body)
            assert code(answer) == (401, "insufficient_user_authentication"), body
    only = made(running, None, admin=True, scopes=["admin:restrict"])["key"]
    assert ask(running, only, "PATCH", path, {"state": "suspended"}).status_code == 200
    assert code(ask(running, only, "PATCH", path, {"state": "active"})) == (
        403, "insufficient_scope")  # fmt: skip


def test_an_administrators_key_can_be_for_less(running):
    key = made(running, None, admin=True, scopes=["admin:read"])
    assert ask(running, key["key"], "GET", "/people").status_code == 200
    given = {"person_id": running.people["public"]}
    assert code(ask(running, key["key"], "POST", "/keys", given)) == (403, "insufficient_scope")
    whole = made(running, None, admin=True)
    assert whole["scopes"] == sorted(OF_ADMINISTRATORS)
    wrong = running.admin("POST", "/keys", json={"admin": True, "scopes": ["workflow:review"]})
    assert code(wrong) == (400, "invalid_request")


def test_no_key_makes_or_rotates_one_that_may_more(running, administrator):
    maker = made(running, None, admin=True, scopes=["admin:read", "admin:keys"])["key"]
    whole = made(running, None, admin=True)

    def refused(body: dict, path: str = "/keys") -> None:
        assert code(ask(running, maker, "POST", path, body)) == (403, "insufficient_scope"), body

    refused({"admin": True})
    refused({"admin": True, "scopes": ["admin:grants"]})
    refused({"person_id": administrator, "workflow": True})
    refused({"person_id": administrator, "workflow": True, "scopes": ["workflow:review"]})
    refused({}, f"/keys/{whole['id']}/rotate")
    same = ask(running, maker, "POST", "/keys", {"admin": True, "scopes": ["admin:read"]})
    assert same.status_code == 201
    caller = {"person_id": running.people["public"]}
    assert ask(running, maker, "POST", "/keys", caller).status_code == 201


def test_keys_for_the_admin_api_last_a_day_and_those_made_by_a_key_no_longer_than_it(running):
    now = datetime.now(UTC)
    rows = {row["id"]: row for row in running.admin("GET", "/keys?limit=1000").json()}
    first = rows[running.admin_key.split("_")[2]]
    end = datetime.fromisoformat(first["expires_at"])
    assert timedelta(hours=23) < end - now <= timedelta(hours=24)
    for given in ({"who": None, "admin": True}, {"who": "public", "workflow": True}):
        assert made(running, **given)["expires_at"] == first["expires_at"]
    longer = running.admin("POST", "/keys", json={"admin": True, "days": 2})
    assert code(longer) == (400, "invalid_request")


JUDGEMENT = {"digest": "sha256:" + "0" * 64, "decision": "pass", "rationale": "r",
             "no_conflict": True}  # fmt: skip


def at(monkeypatch, moment: datetime) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, zone=UTC):
            return moment

    monkeypatch.setattr(access, "clock", Then)


def test_a_key_from_the_terminal_takes_such_steps_for_a_day_whatever_it_makes(running, monkeypatch):
    """Nobody can log in here, so the terminal is all that vouches."""
    one = made(running, "public", workflow=True)
    assert one["proven_by"] == "terminal"
    rows = {row["id"]: row for row in running.admin("GET", "/keys?limit=1000").json()}
    assert one["proven_at"] == rows[running.admin_key.split("_")[2]]["proven_at"], (
        "a key does not make a younger one"
    )
    path = "/applications/none/judgements"
    proven = datetime.fromisoformat(one["proven_at"])
    assert code(ask(running, one["key"], "POST", path, JUDGEMENT)) == (404, "not_found")
    # The key itself ends about then, too: what the step asks for is looked at alone here.
    monkeypatch.setattr(
        access, "find_holder", living_on(access.find_holder, proven + timedelta(hours=1))
    )
    at(monkeypatch, proven + timedelta(hours=24, seconds=31))
    refused = ask(running, one["key"], "POST", path, JUDGEMENT)
    assert code(refused) == (401, "insufficient_user_authentication")
    assert "max_age=86400" in refused.headers["www-authenticate"]
    # What only restricts never waits.
    closed = ask(running, running.admin_key, "POST", "/closures", {"domain": "x", "reason": "r"})
    assert closed.status_code == 201


def living_on(find, moment: datetime):
    """The same look-up, for keys as they were at a moment."""

    async def found(session, peppers, authorization, _):
        return await find(session, peppers, authorization, moment)

    return found


def test_a_tiers_own_demand_holds_for_keys(request, tmp_path):
    from tests.gateway.conftest import make_settings, run_gateway

    with run_gateway(make_settings(request, tmp_path, "sqlite")) as running:
        key = made(running, "public", workflow=True)["key"]
        path = "/applications/none/judgements"
        assert code(ask(running, key, "POST", path, JUDGEMENT)) == (404, "not_found")
        running.change_tier("public", step_up={"acr": ["mfa"], "max_age": 600})
        refused: httpx.Response = ask(running, key, "POST", path, JUDGEMENT)
        assert code(refused) == (401, "insufficient_user_authentication")
        assert 'acr_values="mfa"' in refused.headers["www-authenticate"]


def test_a_key_of_before_takes_no_such_step(running):
    from sqlalchemy import update

    from gateway.cli.tables import in_transaction
    from gateway.tables import ApiKey

    key = made(running, None, admin=True)

    async def forget(session):
        query = update(ApiKey).where(ApiKey.id == key["id"])
        await session.execute(query.values(proven_by=None, proven_at=None))

    in_transaction(running.settings, forget)
    assert ask(running, key["key"], "GET", "/people").status_code == 200
    body = {"person_id": running.people["public"]}
    refused = ask(running, key["key"], "POST", "/keys", body)
    assert code(refused) == (401, "insufficient_user_authentication")
