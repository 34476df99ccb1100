"""The admin API through HTTP, on SQLite and on PostgreSQL."""

import httpx
import pytest

from gateway.controlplane.changes import Tag
from tests.gateway.conftest import make_settings, run_gateway
from tests.servers import wait_for

DIGEST = "sha256:" + "d" * 64
ELSEWHERE = ("workflow:", "identity:", "contact:", "contents:", "transfer:", "operator:")
"""What other tests walk through."""


def code(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"]


def version(running) -> int:
    running.wait_until_seen()
    return running.gateway.keeper.current().version


def test_every_change_raises_the_version_and_leaves_an_event(fresh):
    """One walk over every mutating route; each is followed by a look at version and trail."""
    call = fresh.admin
    seen: list[str] = []

    def change(method: str, path: str, tag: Tag, **json):
        before = version(fresh)
        answer = call(method, path, json=json) if json else call(method, path)
        assert answer.status_code in (200, 201, 204), answer.text
        # A busy machine takes longer than a few polls.
        wait_for(lambda: version(fresh) > before)
        event = call("GET", "/audit-events?limit=1").json()[0]
        assert event["tag"] == tag, path
        assert event["actor"].startswith("admin:"), path
        seen.append(event["tag"])
        return answer.json() if answer.content else None

    fresh.change_tier("lab", grantable=True, max_grant_days=10)
    change(
        "POST", "/tier-changes?dry_run=false", Tag.TIER_CHANGED, tier="lab", reason="r",
        change={"requests_per_minute": 5},
    )  # fmt: skip
    person = change("POST", "/people", Tag.PERSON_ADDED, name="Ada", organisation="x", tier="lab")[
        "id"
    ]
    grant = change(
        "POST", "/grants", Tag.GRANT_CREATED, person_id=person, domain="bio", days=5, reason="r"
    )
    assert grant["expires_at"] > grant["not_before"]
    key = change("POST", "/keys", Tag.KEY_CREATED, person_id=person)
    successor = change("POST", f"/keys/{key['id']}/rotate", Tag.KEY_ROTATED, overlap_hours=1)
    for text in (key["key"], successor["key"]):
        assert fresh.chat(text).status_code == 200, "both work during the overlap"
    change("POST", f"/keys/{key['id']}/revoke", Tag.KEY_REVOKED)
    fresh.wait_until_seen()
    assert code(fresh.chat(key["key"])) == (401, "revoked_api_key")
    assert fresh.chat(successor["key"]).status_code == 200
    change("POST", f"/grants/{grant['id']}/revoke", Tag.GRANT_REVOKED)
    change("PATCH", f"/people/{person}", Tag.PERSON_CHANGED, organisation="y")
    seen.append(call("GET", "/audit-events?limit=2").json()[1]["tag"])
    change("PATCH", f"/people/{person}", Tag.PERSON_CHANGED, state="suspended")
    fresh.wait_until_seen()
    assert code(fresh.chat(successor["key"])) == (401, "revoked_api_key")
    engine = change(
        "POST", "/engines", Tag.ENGINE_ADDED, url="http://127.0.0.1:9", digest=DIGEST, api_key="k",
        attest_url="http://127.0.0.1:9",
    )["id"]  # fmt: skip
    assert "api_key" not in str(call("GET", "/engines").json())
    change("DELETE", f"/engines/{engine}", Tag.ENGINE_REMOVED)
    change("POST", "/revocations", Tag.CHECKPOINT_REVOKED, checkpoint=DIGEST, reason="it leaks")
    followed = {Tag.ALIAS_PROMOTED, Tag.ALIAS_WITHDRAWN, Tag.ALIAS_RESTORED}
    # Those of the workflow are walked through in test_verification, of logins in test_login, what
    # two people do to tiers in test_tiers, what owners do to their keys in test_narrowing, and what
    # operators do at their terminal in test_backup.
    two = {Tag.TIER_CREATED, Tag.TIER_PROPOSED, Tag.TIER_WITHDRAWN, Tag.KEY_NARROWED}
    ours = {tag for tag in Tag if not tag.startswith(ELSEWHERE)} - two
    assert set(seen) | followed == ours, "a tag that nothing emits"


def test_secrets_are_shown_once_and_not_stored(fresh):
    made = fresh.admin("POST", "/keys", json={"person_id": fresh.people["public"]}).json()
    assert made["key"] not in fresh.admin("GET", "/keys").text
    assert made["key"].split("_")[3] not in fresh.admin("GET", "/audit-events").text
    database = fresh.settings.home / "airlock.db"
    if database.exists():
        raw = b"".join(path.read_bytes() for path in database.parent.glob("airlock.db*"))
        assert made["key"].split("_")[3].encode() not in raw
        assert made["id"].encode() in raw


REFUSALS = {
    "an unknown field": ("POST", "/people", {"name": "x", "organisation": "x", "role": "root"},
                         (400, "unsupported_parameter")),
    "a missing field": ("POST", "/people", {"name": "x"}, (400, "invalid_request")),
    "an organisation that nobody sees": ("POST", "/people",
                                         {"name": "x", "organisation": "\u200b\ufe0f"},
                                         (400, "invalid_request")),
    "an organisation too long for its key": ("POST", "/people",
                                             {"name": "x", "organisation": "\ufdfa" * 34},
                                             (400, "invalid_request")),
    "an unknown tier": ("POST", "/people", {"name": "x", "organisation": "x", "tier": "no"},
                        (404, "not_found")),
    "a change of nothing": ("POST", "/tier-changes",
                            {"tier": "public", "change": {}, "reason": "r"},
                            (400, "invalid_request")),
    "a bad tier name": ("POST", "/tier-changes", {"tier": "A b", "change": {}, "reason": "r"},
                        (400, "invalid_request")),
    "a tier for people whom nobody knows": (
        "POST", "/tier-changes",
        {"tier": "lab", "change": {"verifications": {"training": ["so"]}}, "reason": "r"},
        (400, "invalid_request")),
    "no such change": ("GET", "/tier-changes/nope/effects", None, (404, "not_found")),
    "no such tier's history": ("GET", "/tiers/nope/history", None, (404, "not_found")),
    "nobody's grant": ("POST", "/grants", {"person_id": "no", "domain": "bio", "reason": "x"},
                       (404, "not_found")),
    "a key for nobody": ("POST", "/keys", {}, (400, "invalid_request")),
    "a key for both": ("POST", "/keys", {"person_id": "x", "admin": True},
                       (400, "invalid_request")),
    "no such key": ("POST", "/keys/nope/revoke", None, (404, "not_found")),
    "no such grant": ("POST", "/grants/nope/revoke", None, (404, "not_found")),
    "no such engine": ("DELETE", "/engines/nope", None, (404, "not_found")),
    "an engine with a path": ("POST", "/engines",
                              {"url": "http://x/y", "digest": DIGEST, "api_key": "k"},
                              (400, "invalid_request")),
    "an engine that attests nothing": ("POST", "/engines",
                                       {"url": "http://x:1", "digest": DIGEST, "api_key": "k"},
                                       (400, "invalid_request")),
    "a promotion": ("POST", "/promotions", {"checkpoint": DIGEST}, (405, "method_not_allowed")),
    "a roll-back": ("POST", "/rollbacks", {"family": "smollm2"}, (404, "not_found")),
    "a revocation of nothing": ("POST", "/revocations", {"checkpoint": "x", "reason": "x"},
                                (400, "invalid_request")),
    "an absurd page": ("GET", "/people?limit=100000", None, (400, "invalid_request")),
    "a wrong method": ("PUT", "/people", {}, (405, "method_not_allowed")),
    "no such path": ("GET", "/nothing", None, (404, "not_found")),
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "json", "expected"), list(REFUSALS.values()), ids=list(REFUSALS)
)
def test_refusals(running, method, path, json, expected):
    answer = running.admin(method, path) if json is None else running.admin(method, path, json=json)
    assert code(answer) == expected


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_body_that_is_nested_without_end_is_no_fault_of_the_gateways(running, kind):
    path, deep = f"/people/{running.people['public']}", b"[" * 100_000
    answer = running.admin("PATCH", path, content=deep, headers={"content-type": kind})
    assert code(answer) == (400, "invalid_request")


def test_grants_follow_their_tier(running):
    grant = {"person_id": running.people["public"], "domain": "capitals", "reason": "x"}
    assert code(running.admin("POST", "/grants", json=grant)) == (400, "invalid_request")
    grant |= {"person_id": running.people["researcher"], "days": 181}
    assert code(running.admin("POST", "/grants", json=grant)) == (400, "invalid_request")


def test_one_administrator_gives_no_grant_unless_the_operator_says_so(request, tmp_path):
    settings = make_settings(request, tmp_path, "sqlite", direct_grants=False)
    with run_gateway(settings) as running:
        grant = {"person_id": running.people["researcher"], "domain": "bio", "reason": "x"}
        before = running.admin("GET", "/grants").json()
        assert code(running.admin("POST", "/grants", json=grant)) == (403, "not_permitted")
        assert running.admin("GET", "/grants").json() == before


def test_moving_a_researcher_to_the_public_tier_closes_the_base_at_once(fresh):
    person = fresh.people["researcher"]
    assert fresh.chat("researcher", "smollm2:base").status_code == 200
    fresh.admin("PATCH", f"/people/{person}", json={"tier": "public"})
    fresh.wait_until_seen()
    assert code(fresh.chat("researcher", "smollm2:base")) == (403, "grant_required")


def test_no_admin_route_answers_without_an_admin_key(running):
    document = httpx.get(f"{running.url}/admin/v1/openapi.json").json()
    routes = [(m, p) for p, methods in document["paths"].items() for m in methods]
    assert len(routes) >= 20
    for method, path in routes:
        url = running.url + path.replace("{", "").replace("}", "")
        for headers in ({}, {"authorization": f"Bearer {running.keys['researcher']}"}):
            answer = httpx.request(method, url, headers=headers, json={})
            assert answer.status_code == 401, (method, path)


def test_every_number_in_a_query_has_an_end_that_both_databases_take(running):
    document = httpx.get(f"{running.url}/admin/v1/openapi.json").json()
    ends = [
        parameter["schema"].get("maximum")
        for methods in document["paths"].values()
        for route in methods.values()
        for parameter in route.get("parameters", ())
        if parameter["schema"].get("type") == "integer"
    ]
    assert len(ends) >= 20
    assert all(end is not None and end < 2**31 for end in ends)


def test_the_openapi_document_says_what_is_answered(running):
    document = httpx.get(f"{running.url}/admin/v1/openapi.json").json()
    assert "HTTPValidationError" not in str(document)
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        assert path.startswith("/admin/v1/")
        for operation in methods.values():
            assert operation["description"], path
            assert operation["security"], path
            for status in ("400", "401", "404", "409", "503"):
                schema = operation["responses"][status]["content"]["application/json"]["schema"]
                assert schema["$ref"].endswith("/ErrorOut"), path
    assert httpx.get(f"{running.url}/admin/v1/docs").status_code == 200


def test_a_checkpoint_is_revoked_once_and_its_door_closes(fresh):
    digest = fresh.engines["unlearned"].digest
    body = {"checkpoint": digest, "reason": "it leaks"}
    assert fresh.admin("POST", "/revocations", json=body).status_code == 201
    assert code(fresh.admin("POST", "/revocations", json=body)) == (409, "conflict")
    fresh.wait_until_seen()
    assert code(fresh.chat("public")) == (503, "release_withdrawn")
    assert fresh.chat("researcher").status_code == 200
    (row,) = fresh.admin("GET", "/revocations").json()
    assert (row["checkpoint"], row["reason"]) == (digest, "it leaks")
    assert row["actor"].startswith("admin:")
    aliases = {row["label"]: row for row in fresh.admin("GET", "/aliases").json()}
    assert "it leaks" in aliases["unlearned"]["withdrawn_reason"]
    assert aliases["base"]["withdrawn_at"] is None
    assert aliases["base"]["profile"]["dtype"] == "float32"


def test_an_engine_from_the_admin_api_serves_after_its_check(fresh):
    from tests.fakes.vllm import FakeVllm
    from tests.servers import serving, wait_for

    digest = fresh.engines["base"].digest
    replica = FakeVllm(digest, "Paris", api_key="another")
    liar = FakeVllm("sha256:" + "e" * 64, "Paris", api_key="another", is_lax=True)
    side_car = fresh.gateway.settings.engines[0].attest_url
    with serving(replica, lifespan="off") as url, serving(liar, lifespan="off") as wrong:
        for address in (url, wrong):
            given = {"url": address, "digest": digest, "api_key": "another"}
            given["attest_url"] = side_car
            assert fresh.admin("POST", "/engines", json=given).status_code == 201
        fresh.engines["base"].mode = "500"
        fresh.engines["base"].digest = "sha256:" + "0" * 64
        wait_for(lambda: fresh.chat("researcher").status_code == 200)
        for _ in range(6):
            assert fresh.chat("researcher").status_code == 200
        assert len(replica.bodies) >= 7
        assert not liar.bodies, "an engine that does not name the digest itself gets nothing"
        # One that lists two digests is no better: it may answer with either.
        replica.also_lists = ["sha256:" + "f" * 64]
        wait_for(lambda: fresh.chat("researcher").status_code == 503)


def test_the_database_down_is_503_and_never_401(running):
    from gateway.errors import NotReadyError

    healthy = running.gateway.database.transaction

    def broken():
        raise NotReadyError("The database did not answer")

    running.gateway.database.transaction = broken
    try:
        assert code(running.admin("GET", "/people")) == (503, "not_ready")
    finally:
        running.gateway.database.transaction = healthy
