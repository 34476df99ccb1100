"""How much one person asks of the admin API: over all they come with, and never of an end."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from starlette.requests import Request

from gateway.cli.tables import in_transaction
from gateway.clock import now
from gateway.controlplane import pace as pace_module
from gateway.controlplane.pace import WHAT, Pace
from gateway.controlplane.sessions import begin_session
from gateway.errors import RateLimitedError
from gateway.identity.cookie import SESSION
from gateway.identity.login import LoggedIn
from gateway.identity.proof import Assurance, Proof
from gateway.metrics import Metrics
from gateway.setting_types import IssuerSetting
from gateway.settings import Settings
from tests.fakes.provider import AUDIENCE, FakeProvider
from tests.gateway.conftest import Running, make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.test_keys import ask
from tests.gateway.controlplane.test_permissions import MATRIX
from tests.servers import serving

MOST = 10
ENDS = {
    "POST /closures",
    "POST /revocations",
    "POST /grants/{grant_id}/revoke",
    "POST /grants/{grant_id}/suspend",
    "POST /keys/{key_id}/revoke",
    "POST /me/keys/{key_id}/revoke",
    "POST /evidence/{item_id}/retract",
    "DELETE /sessions/{session_id}",
    "DELETE /me/sessions/{session_id}",
    "DELETE /people/{person_id}/sessions",
    "DELETE /webhooks/{webhook_id}",
}
COUNTED = f'airlock_rate_limited_total{{kind="{WHAT}"}}'


@pytest.fixture(scope="module")
def provider():
    fake = FakeProvider()
    with serving(fake, lifespan="off") as fake.url:
        yield fake


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def running(request, tmp_path_factory, provider):
    """A gateway that takes few requests of a person, and the provider's word for who that is."""
    issuer = IssuerSetting(name="lab", issuer=provider.url, audience=AUDIENCE)
    home = tmp_path_factory.mktemp("pace")
    given = {"admin_requests_per_minute": MOST, "issuers": (issuer,)}
    with run_gateway(make_settings(request, home, request.param, **given)) as made:
        yield made


@pytest.fixture(autouse=True)
def minute(running: Running, monkeypatch) -> SimpleNamespace:
    """A minute of its own for each test, which ends when the test says so."""
    pace = running.gateway.http.state.control_plane.pace
    clock = SimpleNamespace(now=60.0 * (pace._minute + 1))
    clock.monotonic = lambda: clock.now
    for module in ("access", "admin_route"):
        monkeypatch.setattr(f"gateway.controlplane.{module}.time", clock)
    return clock


def workflow_key(running: Running, who: str = "researcher") -> dict:
    wanted = {"person_id": running.people[who], "workflow": True}
    answer = running.admin("POST", "/keys", json=wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()


def without_database(running: Running, patch: pytest.MonkeyPatch) -> None:
    """Let every request fail that asks the database anything."""
    kept = running.gateway.http.state._state
    patch.setitem(kept, "control_plane", replace(kept["control_plane"], database=None))


def spend(asking: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask as often as is taken; return the answer to one request more."""
    statuses = [asking().status_code for _ in range(MOST)]
    assert statuses == [200] * MOST
    return asking()


def test_who_asks_more_is_told_when_to_come_again(running, minute):
    key = workflow_key(running)["key"]
    minute.now += 15
    refused = spend(lambda: ask(running, key, "GET", "/me"))
    assert code(refused) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "45"
    assert refused.json()["error"]["message"] == f"Rate limit reached: {MOST} {WHAT}."
    minute.now += 44
    assert ask(running, key, "GET", "/me").status_code == 429
    minute.now += 1
    assert ask(running, key, "GET", "/me").status_code == 200


def test_keys_tokens_and_sessions_of_one_person_count_together(running, provider, minute):
    person = running.people["researcher"]
    named = {"issuer": "lab", "subject": f"ada-{running.settings.is_embedded}", "person_id": person}
    assert running.admin("POST", "/identities", json=named).status_code == 201
    keys = [workflow_key(running)["key"] for _ in range(2)]
    issuer, subject = provider.url, named["subject"]
    proof = Proof(issuer, subject, 0.0, Assurance(issuer, None, None))

    async def begin(session) -> str:
        parts = running.gateway.http.state.control_plane
        new = await begin_session(
            session,
            LoggedIn(proof, "Ada", None),
            person,
            pepper=parts.pepper,
            settings=parts.settings,
            now=now(),
        )
        return new.secret

    session = {"cookie": f"{SESSION}={in_transaction(running.settings, begin)}"}
    token = {"authorization": f"Bearer {provider.token(sub=subject)}"}
    ways = [session, token, *({"authorization": f"Bearer {key}"} for key in keys)]

    def me(headers: dict[str, str]) -> httpx.Response:
        return httpx.get(f"{running.url}/admin/v1/me", headers=headers)

    assert {me(way).json()["by"] for way in ways} == {"session", "token", "key"}
    minute.now += 60
    assert code(spend(lambda: me(token))) == (429, "rate_limit_exceeded")
    assert [me(way).status_code for way in ways] == [429] * len(ways)
    other = workflow_key(running, "public")["key"]
    assert ask(running, other, "GET", "/me").status_code == 200


def test_an_administrators_key_is_somebody_of_its_own(running):
    other = running.admin("POST", "/keys", json={"admin": True}).json()["key"]
    assert [running.admin("GET", "/people").status_code for _ in range(MOST)][-1] == 429
    assert ask(running, other, "GET", "/people").status_code == 200


def test_what_is_refused_leaves_nothing_and_asks_the_database_nothing(running, minute, monkeypatch):
    key = workflow_key(running)["key"]

    def entries() -> list[dict]:
        return running.admin("GET", "/audit-events", params={"limit": 1}).json()

    spend(lambda: ask(running, key, "GET", "/me"))
    before, counted = entries(), running.metric(COUNTED)
    applied = {"domains": ["capitals"], "purpose": "p", "project": "p", "oversight_ref": "IRB 7"}
    with monkeypatch.context() as patch:
        without_database(running, patch)
        for _ in range(3):
            assert ask(running, key, "POST", "/applications", applied).status_code == 429
    assert running.metric(COUNTED) - counted == 3
    assert entries() == before


def test_a_spent_key_is_known_however_it_is_written(running, monkeypatch):
    key = workflow_key(running)["key"]
    spend(lambda: ask(running, key, "GET", "/me"))
    without_database(running, monkeypatch)
    for written in (f"Bearer   {key}", f"bearer {key}", f"BEARER {key}"):
        answer = httpx.get(f"{running.url}/admin/v1/me", headers={"authorization": written})
        assert answer.status_code == 429


def test_every_route_is_counted_once_but_those_that_end_something(running, minute):
    pace = running.gateway.http.state.control_plane.pace

    def counted(route: str) -> tuple[int, int]:
        """Return how a route's request was answered, and as how many it has counted."""
        method, _, path = route.partition(" ")
        given = {} if method in ("GET", "DELETE") else {"json": {"no such field": 1}}
        before = sum(pace._counts.values())
        answer = running.admin(method, path.replace("{", "").replace("}", ""), **given)
        return answer.status_code, sum(pace._counts.values()) - before

    once = {}
    for route in MATRIX:
        pace._counts.clear()
        once[route] = counted(route)[1]
    assert {route for route, count in once.items() if count != 1} == ENDS
    assert {once[route] for route in ENDS} == {0}
    minute.now += 60
    spend(lambda: running.admin("GET", "/people"))
    turned_away = {route for route in MATRIX if counted(route)[0] == 429}
    assert turned_away == set(MATRIX) - ENDS


def test_nobody_is_kept_from_ending_what_must_end(running, minute):
    """Neither by what others have asked nor by what they have asked themselves."""
    mine, other = workflow_key(running), workflow_key(running)
    grant = running.grants["researcher"]
    spend(lambda: ask(running, mine["key"], "GET", "/me"))
    suspended = ask(running, mine["key"], "POST", f"/grants/{grant}/suspend", {"reason": "r"})
    assert suspended.status_code == 200, suspended.text
    revoked = ask(running, mine["key"], "POST", f"/me/keys/{other['id']}/revoke")
    assert revoked.status_code == 200, revoked.text
    assert ask(running, mine["key"], "GET", "/me").status_code == 429

    for _ in range(MOST):
        last = running.admin("GET", "/people")
    assert last.status_code == 429
    closed = [
        running.admin("POST", "/closures", json={"domain": f"d{n}", "reason": "r"}).status_code
        for n in range(MOST + 1)
    ]
    assert closed == [201] * (MOST + 1)
    person = f"/people/{running.people['public']}"
    assert running.admin("PATCH", person, json={"state": "suspended"}).status_code == 200
    assert running.admin("PATCH", person, json={"state": "active"}).status_code == 429
    minute.now += 60
    assert running.admin("PATCH", person, json={"state": "active"}).status_code == 200


def test_narrowing_a_key_is_counted_for_it_can_be_done_over_and_over(running):
    key = workflow_key(running)
    path, given = f"/me/keys/{key['id']}", {"label": "again"}
    refused = spend(lambda: ask(running, key["key"], "PATCH", path, given))
    assert code(refused) == (429, "rate_limit_exceeded")


def test_who_is_turned_away_is_in_the_gateways_own_log_once_a_minute(running, minute, caplog):
    key = workflow_key(running)["key"]
    for _ in range(2):
        minute.now += 60
        caplog.clear()
        spend(lambda: ask(running, key, "GET", "/me"))
        spent = [row for row in caplog.records if row.name == pace_module.__name__]
        assert [row.airlock for row in spent] == [
            {"actor": f"person:{running.people['researcher']}"}
        ]
        assert key not in caplog.text


def test_no_number_of_callers_fills_the_memory(monkeypatch):
    monkeypatch.setattr(pace_module, "MAX_SPENT", 2)
    pace = Pace(Settings(admin_requests_per_minute=1), Metrics("0"))
    requests = [
        Request({"type": "http", "headers": [(b"authorization", b"Bearer %d" % number)]})
        for number in range(3)
    ]
    for request in requests:
        for _ in range(2):
            with suppress(RateLimitedError):
                pace.count("person:1", request, 0.0)
    assert len(pace._spent) == 2
    with pytest.raises(RateLimitedError):
        pace.check(requests[0], 59.9)
    pace.check(requests[2], 59.9)
    pace.check(requests[0], 60.0)
    assert (pace._spent, pace._counts) == (set(), {})
