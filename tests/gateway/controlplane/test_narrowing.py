"""Keys that are narrowed after they were made: they only lose, at once, and it is in the log."""

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.key_terms import widened
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.test_keys import ask, last_event, made
from tests.replicas import Stream
from tests.servers import wait_for

NOW = datetime.now(UTC)
TERMS = {
    "endpoints": ["/v1/completions", "/v1/chat/completions"],
    "domains": ["capitals"],
    "addresses": ["127.0.0.0/8", "2001:db8::/32"],
    "tokens_per_day": 1000,
}
WIDER = {
    "endpoints": ["/v1/completions", "/v1/embeddings"],
    "domains": ["capitals", "rivers"],
    "addresses": ["127.0.0.0/7"],
    "tokens_per_day": 1001,
    "expires_at": "2999-01-01T00:00:00Z",
}


@pytest.fixture(scope="module")
def owner(running) -> str:
    """A workflow key of the researcher, who is the owner of the other keys."""
    return made(running, "researcher", workflow=True)["key"]


def patch(running, owner: str, key: dict, **change):
    return ask(running, owner, "PATCH", f"/me/keys/{key['id']}", change)


def test_each_part_is_narrowed_and_none_is_widened(running, owner):
    key = made(running, **TERMS)
    for name, value in WIDER.items():
        refused = patch(running, owner, key, **{name: value})
        assert code(refused) == (400, "invalid_request"), name
        assert refused.json()["error"]["param"] == name
        if name != "expires_at":
            emptied = patch(running, owner, key, **{name: None})
            assert code(emptied) == (400, "invalid_request"), name
    narrower = {
        "endpoints": ["/v1/chat/completions"],
        "domains": [],
        "addresses": ["127.0.0.0/24", "2001:db8:1::/48"],
        "tokens_per_day": 10,
        "expires_at": (NOW + timedelta(days=1)).isoformat(),
    }
    done = patch(running, owner, key, **narrower)
    assert done.status_code == 200, done.text
    shown = done.json()
    assert {name: shown[name] for name in narrower if name != "expires_at"} == {
        name: value for name, value in narrower.items() if name != "expires_at"
    }
    assert datetime.fromisoformat(shown["expires_at"]) == NOW + timedelta(days=1)
    event = last_event(running, "admin:key:narrowed")
    assert (event["subject"], event["actor"]) == (
        key["id"], f"person:{running.people['researcher']}")  # fmt: skip
    assert event["detail"]["to"]["domains"] == []
    assert patch(running, owner, key, **TERMS).status_code == 400
    over = patch(running, owner, key, expires_at="2026-01-01T00:00:00Z")
    assert "revoke" in over.json()["error"]["message"]


def test_a_running_answer_is_held_to_it(running, owner):
    key = made(running)
    engine = running.engines["base"]
    engine.delay_seconds, engine.tokens = 0.05, 1000
    stream = Stream(running.url, key["key"], "smollm2")
    wait_for(lambda: stream.has_begun)
    assert patch(running, owner, key, domains=[]).status_code == 200
    stream.join(10)
    assert not stream.is_alive()
    assert "grant_revoked" in stream.text
    assert running.chat(key["key"], "smollm2:base").status_code == 403


def test_an_answer_of_an_endpoint_that_the_key_loses_ends(running, owner):
    key = made(running)
    engine = running.engines["base"]
    engine.delay_seconds, engine.tokens = 0.05, 1000
    stream, other = (
        Stream(running.url, each["key"], "smollm2:base") for each in (key, made(running))
    )
    wait_for(lambda: stream.has_begun and other.has_begun)
    assert patch(running, owner, key, endpoints=["/v1/completions"]).status_code == 200
    stream.join(10)
    assert not stream.is_alive()
    assert "insufficient_scope" in stream.text
    assert "[DONE]" not in stream.text
    assert other.is_alive() or "[DONE]" in other.text, "another key's goes on"


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        ({"addresses": ["192.0.2.0/24"]}, b"address_not_allowed"),
        ({"endpoints": ["/v1/completions"]}, b"insufficient_scope"),
    ],
    ids=["address", "endpoint"],
)
@pytest.mark.parametrize("who", ["researcher", "public"])
def test_a_slow_body_is_held_to_what_its_key_may_by_its_end(running, who, narrowed, expected):
    key = made(running, who)
    raw = json.dumps({"model": "smollm2", "messages": [{"role": "user", "content": "?"}]}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key['key']}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
    )
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as caller:
        caller.sendall(head.encode() + raw[:10])
        wait_for(lambda: running.gateway.data_plane._running > 0)
        changed = running.admin("PATCH", f"/keys/{key['id']}", json=narrowed)
        assert changed.status_code == 200
        wait_for(lambda: running.chat(key["key"], "smollm2").status_code == 403)
        asked = [len(engine.bodies) for engine in running.engines.values()]
        caller.sendall(raw[10:])
        answer = caller.recv(65536)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert expected in answer
    assert [len(engine.bodies) for engine in running.engines.values()] == asked


def test_scopes_are_lost_too(running, owner):
    key = made(running, workflow=True, scopes=["admin:read", "workflow:apply"])
    assert patch(running, owner, key, scopes=["admin:read", "admin:people"]).status_code == 400
    assert patch(running, owner, key, tokens_per_day=5).status_code == 400
    assert patch(running, owner, key, scopes=["admin:read"]).status_code == 200
    body = {"kind": "federation", "source": "s"}
    assert code(ask(running, key["key"], "POST", "/evidence", body)) == (403, "insufficient_scope")


def test_only_its_owner_and_only_what_they_have_seen(running, owner):
    key = made(running)
    stranger = made(running, "public", workflow=True)["key"]
    assert code(patch(running, stranger, key, domains=[])) == (404, "not_found")
    path = f"/me/keys/{key['id']}"
    assert ask(running, stranger, "GET", path).status_code == 404
    seen = ask(running, owner, "GET", path).headers["etag"]
    headers = {"authorization": f"Bearer {owner}", "if-match": seen}
    given = {"headers": headers, "json": {"tokens_per_day": 9}}
    first, second = (running.admin("PATCH", path, **given) for _ in range(2))
    assert first.status_code == 200, first.text
    assert code(second) == (412, "changed_meanwhile")
    assert first.headers["etag"] == ask(running, owner, "GET", path).headers["etag"] != seen
    ask(running, owner, "POST", f"{path}/revoke")
    assert patch(running, owner, key, tokens_per_day=8).status_code == 409


def test_who_administers_narrows_anybodys_and_only_what_they_have_seen(running):
    key = made(running, **TERMS)
    path = f"/keys/{key['id']}"
    for name, value in WIDER.items():
        refused = running.admin("PATCH", path, json={name: value})
        assert code(refused) == (400, "invalid_request"), name
    shown = running.admin("GET", path)
    assert "key" not in shown.json()
    seen = {"headers": {"if-match": shown.headers["etag"]}}
    first, second = (
        running.admin("PATCH", path, **seen, json={"tokens_per_day": 900}) for _ in range(2)
    )
    assert (first.status_code, first.json()["tokens_per_day"]) == (200, 900), first.text
    assert code(second) == (412, "changed_meanwhile")
    assert first.headers["etag"] == running.admin("GET", path).headers["etag"]
    event = last_event(running, "admin:key:narrowed")
    assert (event["subject"], event["detail"]["to"]) == (key["id"], {"tokens_per_day": 900})
    assert event["actor"].startswith("admin:")
    reaching = made(running)
    assert running.chat(reaching["key"], "smollm2:base").status_code == 200
    less = running.admin("PATCH", f"/keys/{reaching['id']}", json={"domains": []})
    assert less.status_code == 200
    wait_for(lambda: running.chat(reaching["key"], "smollm2:base").status_code == 403)
    for method in ("GET", "PATCH"):
        none = running.admin(method, "/keys/none", **({"json": {}} if method == "PATCH" else {}))
        assert code(none) == (404, "not_found")
    running.admin("POST", f"{path}/revoke")
    assert running.admin("PATCH", path, json={"tokens_per_day": 8}).status_code == 409


NAMES = st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "c"])))
LIMITS = st.one_of(st.none(), st.integers(1, 9))


@given(NAMES, NAMES, LIMITS, LIMITS)
def test_what_is_not_widened_has_nothing_that_was_not_there(names, others, limit, other):
    everything = ["a", "b", "c"]
    if widened({"domains": names}, {"domains": others}) is None:
        had = everything if names is None else names
        assert set(everything if others is None else others) <= set(had)
    if widened({"limit": limit}, {"limit": other}) is None and limit is not None:
        assert other is not None
        assert other <= limit
