"""Keys through HTTP: what a new one may be, how it is narrowed, rotated, dated and ended."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from gateway.audit.intents import KEY_REFUSED
from gateway.cli.tables import in_transaction
from gateway.errors import NotReadyError
from gateway.tables import ApiKey
from tests.gateway.conftest import Running, make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code
from tests.servers import wait_for

NEAR = ["127.0.0.0/8"]
FAR = ["192.0.2.0/24", "2001:db8::/32"]


def make(running: Running, who: str | None = "researcher", **given) -> httpx.Response:
    person = {} if who is None else {"person_id": running.people[who]}
    return running.admin("POST", "/keys", json={**person, **given})


def made(running: Running, who: str | None = "researcher", **given) -> dict:
    answer = make(running, who, **given)
    assert answer.status_code == 201, answer.text
    running.wait_until_seen()
    return answer.json()


def ask(running: Running, key: str, method: str, path: str, body=None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    given = {} if body is None else {"json": body}
    url = f"{running.url}/admin/v1{path}"
    return httpx.request(method, url, headers=headers, timeout=30, **given)


def last_event(running: Running, tag: str) -> dict:
    rows = running.admin("GET", "/audit-events", params={"tag": tag, "limit": 1}).json()
    return rows[0] if rows else {}


def test_a_key_that_reaches_base_ends_with_the_grant(running):
    (grant,) = running.admin("GET", f"/grants?person_id={running.people['researcher']}").json()
    assert made(running)["expires_at"] == grant["expires_at"]
    assert made(running, domains=["capitals"])["expires_at"] == grant["expires_at"]
    assert made(running, domains=[])["expires_at"] is None, "it never reaches one"
    assert made(running, "public")["expires_at"] is None
    for narrowing in ({}, {"domains": ["capitals"]}):
        longer = make(running, days=91, **narrowing)
        assert code(longer) == (400, "invalid_request")
        assert longer.json()["error"]["param"] == "days"
        assert grant["expires_at"][:19] in longer.json()["error"]["message"]
    assert made(running, days=89)["expires_at"] < grant["expires_at"]
    assert made(running, days=300, domains=[])["expires_at"] > grant["expires_at"]


def test_a_key_is_for_no_domain_that_its_owner_has_no_grant_for(running):
    for who, domains in (("researcher", ["capitals", "rivers"]), ("public", ["capitals"])):
        refused = make(running, who, domains=domains)
        assert code(refused) == (400, "invalid_request")
        assert refused.json()["error"]["param"] == "domains"


WRONG = {
    "scopes of a caller's key": ({"scopes": ["admin:read"]}, "scopes"),
    "endpoints of a workflow key": (
        {"workflow": True, "endpoints": ["/v1/completions"]}, "endpoints"),
    "limits of a workflow key": ({"workflow": True, "tokens_per_day": 5}, "tokens_per_day"),
    "a scope that there is not": ({"workflow": True, "scopes": ["root"]}, "scopes.0"),
    "no scope at all": ({"workflow": True, "scopes": []}, "scopes"),
    "an endpoint that there is not": ({"endpoints": ["/v1/pause"]}, "endpoints"),
    "no endpoint at all": ({"endpoints": []}, "endpoints"),
    "no address at all": ({"addresses": []}, "addresses"),
    "a name for an address": ({"addresses": ["example.org"]}, "addresses"),
    "bits beyond the prefix": ({"addresses": ["10.0.0.1/8"]}, "addresses"),
    "IPv4 within IPv6": ({"addresses": ["::ffff:10.0.0.0/104"]}, "addresses"),
    "a limit of nothing": ({"requests_per_minute": 0}, "requests_per_minute"),
    "a workflow key of ten years": ({"workflow": True, "days": 3660}, "days"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "param"), list(WRONG.values()), ids=list(WRONG))
def test_what_a_key_cannot_be(running, given, param):
    refused = make(running, **given)
    assert code(refused) == (400, "invalid_request")
    assert refused.json()["error"]["param"] == param


def test_the_explanation_of_a_key_is_what_the_door_does(running):
    narrow, whole = made(running, domains=[]), made(running)

    def explained(key_id: str, who: str = "researcher") -> httpx.Response:
        given = {"person_id": running.people[who], "model": "smollm2:base", "key_id": key_id}
        return running.admin("GET", "/explain", params=given)

    assert explained(whole["id"]).json()["rule"] == "covered_by_grants"
    assert running.chat(whole["key"], "smollm2:base").status_code == 200
    said = explained(narrow["id"]).json()
    assert (said["effect"], said["rule"], said["missing"]) == (
        "deny", "grant_required", ["capitals"])  # fmt: skip
    assert "only grants of no domain count for it" in str(said["grounds"])
    assert code(running.chat(narrow["key"], "smollm2:base")) == (403, "grant_required")
    assert running.admin("POST", f"/keys/{whole['id']}/revoke").status_code == 200
    running.wait_until_seen()
    assert explained(whole["id"]).json()["rule"] == "key_ended"
    assert running.chat(whole["key"], "smollm2:base").status_code == 401
    assert code(explained(whole["id"], "public")) == (404, "not_found"), "it is another's"


def test_a_narrowed_key_asks_what_it_is_for_and_nothing_else(running):
    key = made(running, endpoints=["/v1/chat/completions"], domains=[])["key"]
    assert running.chat(key).headers["x-airlock-checkpoint"] == running.engines["unlearned"].digest
    assert code(running.chat(key, "smollm2:base")) == (403, "grant_required")
    whole = running.chat("researcher", "smollm2:base")
    assert whole.headers["x-airlock-checkpoint"] == running.engines["base"].digest
    other = {"model": "smollm2", "prompt": "Bees"}
    asked = len(running.engines["unlearned"].bodies)
    assert code(running.post(key, other, "/v1/completions")) == (403, "insufficient_scope")
    message = {"model": "smollm2", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    refused = running.post(key, message, "/v1/messages")
    assert (refused.status_code, refused.json()["type"]) == (403, "error")
    assert refused.json()["error"]["code"] == "insufficient_scope"
    for method, path in (
        ("GET", "/v1/files"),
        ("GET", "/v1/files/file-1/content"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches/batch_1"),
    ):
        headers = {"authorization": f"Bearer {key}"}
        answer = httpx.request(method, running.url + path, headers=headers)
        assert code(answer) == (403, "insufficient_scope"), path
    assert len(running.engines["unlearned"].bodies) == asked
    listed = httpx.get(f"{running.url}/v1/models", headers={"authorization": f"Bearer {key}"})
    assert [model["id"] for model in listed.json()["data"]] == ["smollm2", "smollm2:unlearned"]


def test_a_key_works_from_its_addresses_alone_and_refusals_are_counted_and_recorded(running):
    near, far = made(running, addresses=NEAR), made(running, addresses=FAR)
    assert far["addresses"] == FAR
    assert running.chat(near["key"]).status_code == 200
    counted = running.metric("airlock_address_refusals_total")
    for headers in ({}, {"x-forwarded-for": "192.0.2.7"}, {"forwarded": "for=192.0.2.7"}):
        refused = running.post(far["key"], {"model": "smollm2"}, headers=headers)
        assert code(refused) == (403, "address_not_allowed"), "nobody's header is believed"
        assert "192.0.2" not in refused.text
    assert running.metric("airlock_address_refusals_total") == counted + 3
    event = wait_for(lambda: last_event(running, KEY_REFUSED))
    assert (event["subject"], event["detail"]["address"]) == (far["id"], "127.0.0.1")
    assert event["actor"] == f"person:{running.people['researcher']}"
    again = running.admin("GET", "/audit-events", params={"subject": far["id"]}).json()
    assert [each["tag"] for each in again].count(KEY_REFUSED) == 1, "once a minute"


def test_behind_a_trusted_proxy_its_word_counts_and_only_in_its_header(request, tmp_path):
    settings = make_settings(request, tmp_path, "sqlite", trusted_proxies=["127.0.0.1/32"])
    with run_gateway(settings) as running:
        caller = made(running, addresses=FAR)["key"]
        admin = made(running, None, admin=True, addresses=FAR)["key"]
        cases: list[tuple[dict, int]] = [
            ({"x-forwarded-for": "192.0.2.7"}, 200),
            ({"x-forwarded-for": "10.0.0.1, 192.0.2.7"}, 200),
            ({"x-forwarded-for": "2001:db8::1"}, 200),
            ({"x-forwarded-for": "192.0.2.7, 203.0.113.9"}, 403),
            ({"x-forwarded-for": "192.0.2.7", "forwarded": "for=203.0.113.9"}, 200),
            ({"forwarded": "for=192.0.2.7"}, 403),
            ({"x-real-ip": "192.0.2.7"}, 403),
            ({"x-forwarded-for": "192.0.2.7, nonsense"}, 403),
            ({}, 403),
        ]
        message = {"role": "user", "content": "Hi"}
        body = {"model": "smollm2", "messages": [message]}
        for headers, status in cases:
            assert running.post(caller, body, headers=headers).status_code == status, headers
            bearer = {"authorization": f"Bearer {admin}"}
            url = f"{running.url}/admin/v1/people"
            assert httpx.get(url, headers=headers | bearer).status_code == status, headers


def test_keys_of_the_admin_api_are_bound_to_addresses_too(running):
    for given in ({"who": "public", "workflow": True}, {"who": None, "admin": True}):
        path = "/me" if given.get("workflow") else "/people"
        far = made(running, addresses=FAR, **given)
        assert code(ask(running, far["key"], "GET", path)) == (403, "address_not_allowed")
        event = last_event(running, KEY_REFUSED)
        assert (event["subject"], event["detail"]) == (far["id"], {"address": "127.0.0.1"})
        assert ask(running, made(running, addresses=NEAR, **given)["key"], "GET", path).is_success


def test_receipts_are_kept_from_keys_that_are_elsewhere(running):
    request = running.chat("researcher", "smollm2:base").headers["x-request-id"]

    def receipt(key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.get(f"{running.url}/v1/receipts/{request}", headers=headers)

    assert receipt(made(running, addresses=NEAR)["key"]).status_code == 200
    assert code(receipt(made(running, addresses=FAR)["key"])) == (403, "address_not_allowed")
    blind = made(running, None, admin=True, scopes=["admin:people"])["key"]
    assert code(receipt(blind)) == (404, "not_found")


def test_a_successor_is_no_more_than_the_key_was(running):
    old = made(
        running, label="ci", endpoints=["/v1/chat/completions"], domains=["capitals"],
        addresses=NEAR, requests_per_minute=1000, tokens_per_day=5000, days=30,
    )  # fmt: skip
    path = f"/keys/{old['id']}/rotate"
    for hours in (-1, 168.1, 1e9):
        refused = running.admin("POST", path, json={"overlap_hours": hours})
        assert code(refused) == (400, "invalid_request")
    new = running.admin("POST", path, json={"overlap_hours": 168}).json()
    same = {"label", "kind", "person_id", "endpoints", "domains", "addresses", "scopes",
            "requests_per_minute", "tokens_per_day", "expires_at"}  # fmt: skip
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    running.wait_until_seen()
    for key in (old["key"], new["key"]):
        assert running.chat(key).status_code == 200
    rows = {row["id"]: row for row in running.admin("GET", "/keys?limit=1000").json()}
    assert rows[old["id"]]["replaced_by"] == new["id"]
    until = datetime.fromisoformat(rows[old["id"]]["revoked_at"])
    assert timedelta(days=6.9) < until - datetime.now(UTC) <= timedelta(days=7)
    assert code(running.admin("POST", path, json={})) == (409, "conflict")


def test_an_expired_key_has_no_successor(running):
    key = made(running, "public", days=1)

    async def expire(session):
        past = datetime.now(UTC) - timedelta(minutes=1)
        query = update(ApiKey).where(ApiKey.id == key["id"])
        await session.execute(query.values(expires_at=past))

    in_transaction(running.settings, expire)
    refused = running.admin("POST", f"/keys/{key['id']}/rotate", json={})
    assert code(refused) == (409, "conflict")


def test_the_last_use_is_written_in_one_go_and_never_goes_back(running):
    used, unused = made(running, "public"), made(running, "public")
    uses, database = running.gateway.gate.uses, running.gateway.database
    for _ in range(3):
        assert running.chat(used["key"]).status_code == 200

    def seen(key: dict) -> str | None:
        rows = running.admin("GET", "/keys?limit=1000").json()
        return next(row["last_used_at"] for row in rows if row["id"] == key["id"])

    assert seen(used) is None, "no request writes"
    version = running.gateway.keeper.current().version

    async def write(_) -> None:
        await uses.write(database)

    # In a loop of its own: the same as the task does once a minute.
    in_transaction(running.settings, write)
    at = datetime.fromisoformat(str(seen(used)))
    assert (at.second, at.microsecond) == (0, 0)
    assert datetime.now(UTC) - at < timedelta(minutes=3)
    assert seen(unused) is None
    uses.note(used["id"], at.timestamp() - 3600)
    in_transaction(running.settings, write)
    assert datetime.fromisoformat(str(seen(used))) == at
    running.wait_until_seen()
    assert running.gateway.keeper.current().version == version, "it is no change of access"


async def test_what_could_not_be_written_is_written_later(running):
    from gateway.identity.key_uses import KeyUses

    class Down:
        @asynccontextmanager
        async def transaction(self):
            raise NotReadyError
            yield

    uses = KeyUses()
    uses.note("abc", 120.0)
    with pytest.raises(NotReadyError):
        await uses.write(Down())
    assert uses._minutes == {"abc": 2}


async def test_a_silent_database_does_not_keep_the_gateway_from_ending(running, monkeypatch):
    from gateway.identity import key_uses

    class Silent:
        @asynccontextmanager
        async def transaction(self):
            await asyncio.sleep(60)
            yield

    monkeypatch.setattr(key_uses, "LAST_WRITE_SECONDS", 0.05)
    uses = key_uses.KeyUses()
    uses.note("abc", 120.0)
    keeping = asyncio.create_task(uses.keep(Silent()))
    await asyncio.sleep(0)
    keeping.cancel()
    done, _ = await asyncio.wait({keeping}, timeout=10)
    assert done == {keeping}


def test_a_key_for_models_is_one_persons_for_ever(running):
    """Services ask with tokens of their provider (test_tokens), under a sponsor; never by a key."""

    async def ownerless(session):
        row = await session.scalar(select(ApiKey).where(ApiKey.kind == "key").limit(1))
        row.person_id = None
        with pytest.raises(IntegrityError):
            await session.flush()
        await session.rollback()

    in_transaction(running.settings, ownerless)
    assert code(make(running, None)) == (400, "invalid_request")
    key = made(running)
    for method, refused in (
        ("PATCH", (400, "unsupported_parameter")),
        ("PUT", (405, "method_not_allowed")),
    ):
        change = {"person_id": running.people["public"]}
        answer = running.admin(method, f"/keys/{key['id']}", json=change)
        assert code(answer) == refused
