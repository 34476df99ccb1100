"""The audit log and the doors: no audit, no base; who asked and how it ended, and no content."""

import asyncio
import json
import socket
import threading
from contextlib import asynccontextmanager

import httpx
import pytest

from gateway.audit.intents import DENIED, ENDED, INTENDED, policy_digest
from gateway.audit.recorder import commit
from gateway.cli.tables import in_transaction
from gateway.controlplane import grants
from gateway.db import Database
from gateway.errors import NotReadyError
from gateway.identity.secret import load_secret
from tests.gateway.conftest import make_settings, psycopg_connection, run_gateway
from tests.servers import wait_for

SECRET_WORD = "Ouagadougou"
ASK = {"model": "smollm2", "messages": [{"role": "user", "content": SECRET_WORD}]}


def entries(running, request_id: str, count: int) -> list[dict]:
    """Return a request's entries, oldest first, once there are so many."""

    def look():
        found = running.admin("GET", f"/audit-events?subject={request_id}").json()
        return found if len(found) >= count else None

    return wait_for(look)[::-1]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/revoke", {}, "grant_revoked"),
        ("PATCH", "", {"domains": []}, "grant_revoked"),
        ("PATCH", "", {"endpoints": ["/v1/completions"]}, "insufficient_scope"),
    ],
    ids=["revoked", "without its domain", "for another path"],
)
def test_a_key_that_ends_while_the_log_is_written_opens_nothing(
    running, monkeypatch, method, path, body, expected
):
    given = {"person_id": running.people["researcher"]}
    key = running.admin("POST", "/keys", json=given).json()["key"]
    running.wait_until_seen()
    recorder = running.gateway.data_plane._inference._recorder
    intend = recorder.intend

    def end_key():
        changed = running.admin(method, f"/keys/{key.split('_')[2]}{path}", json=body)
        assert changed.status_code == 200
        running.wait_until_seen()

    async def slowly(*args):
        commitment = await intend(*args)
        await asyncio.to_thread(end_key)
        return commitment

    monkeypatch.setattr(recorder, "intend", slowly)
    asked = len(running.engines["base"].bodies)
    answer = running.post(key, ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, expected)
    assert len(running.engines["base"].bodies) == asked


def test_a_base_request_is_in_the_log_with_what_it_rests_on(fresh):
    answer = fresh.post("researcher", ASK)
    assert answer.status_code == 200
    request_id = answer.headers["x-request-id"]
    intent, end = entries(fresh, request_id, 2)
    assert (intent["tag"], end["tag"]) == (INTENDED, ENDED)
    assert intent["actor"] == end["actor"] == f"person:{fresh.people['researcher']}"
    said = intent["detail"]
    assert said["alias"] == "smollm2:base"
    assert said["checkpoint"] == answer.headers["x-airlock-checkpoint"]
    assert said["release"] == fresh.side_cars["base"].release.document_digest
    assert said["organisation"] == "o"
    assert said["path"] == "/v1/chat/completions"
    assert said["policy"] == policy_digest(said["tier"])
    assert said["tier"]["name"] == "researcher"
    (grant,) = said["grants"]
    assert (grant["id"], grant["domain"]) == (fresh.grants["researcher"], "capitals")
    assert grant["approved_by"] == "test"
    key = load_secret(fresh.settings).derive("audit-commitment/1")
    assert said["commitment"] == commit(key, request_id, answer.request.content)
    usage = answer.json()["usage"]
    assert end["detail"] == {
        "outcome": "ok",
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
    }


def test_nothing_of_a_request_or_its_answer_is_in_the_log(running):
    answer = running.post("researcher", ASK)
    entries(running, answer.headers["x-request-id"], 2)
    text = running.admin("GET", "/audit-events?limit=1000").text
    said = answer.json()["choices"][0]["message"]["content"]
    assert said == "Paris"
    for secret in (SECRET_WORD, said, running.keys["researcher"]):
        assert secret not in text


def test_public_requests_are_not_recorded_one_by_one(running):
    answer = running.post("public", ASK)
    assert answer.status_code == 200
    later = running.post("researcher", ASK)
    entries(running, later.headers["x-request-id"], 2)
    found = running.admin("GET", f"/audit-events?subject={answer.headers['x-request-id']}").json()
    assert found == []


def test_a_denial_is_recorded(running):
    answer = running.post("public", {**ASK, "model": "smollm2:base"})
    assert answer.status_code == 403
    (denial,) = entries(running, answer.headers["x-request-id"], 1)
    assert denial["tag"] == DENIED
    assert denial["actor"] == f"person:{running.people['public']}"
    assert denial["detail"]["model"] == "smollm2:base"
    assert denial["detail"]["missing"] == ["capitals"]
    for tag in (DENIED, "dataplane:request", "dataplane"):
        found = running.admin("GET", f"/audit-events?tag={tag}&limit=1000").json()
        assert denial in found
        assert all(each["tag"].startswith(tag) for each in found)
    assert running.admin("GET", "/audit-events?tag=data").json() == []


def test_a_streams_tokens_and_a_failure_are_recorded(running):
    answer = running.post("researcher", {**ASK, "stream": True})
    _, end = entries(running, answer.headers["x-request-id"], 2)
    assert end["detail"]["outcome"] == "ok"
    assert end["detail"]["completion_tokens"] > 0
    running.engines["base"].mode = "500"
    answer = running.post("researcher", ASK)
    assert answer.status_code >= 500
    found = entries(running, answer.headers["x-request-id"], 2)
    assert found[-1]["detail"]["outcome"] != "ok"


def test_no_audit_no_base(fresh):
    """Without the log nothing is sent to the base; the public door stays open."""
    database = fresh.gateway.own_database
    real = Database.transaction

    class Down(Database):
        @asynccontextmanager
        async def transaction(self):
            import traceback

            if any("writer.py" in frame.filename for frame in traceback.extract_stack()):
                raise NotReadyError
            async with real(self) as session:
                yield session

    seen = len(fresh.engines["base"].bodies)
    used = _used(fresh)
    database.__class__ = Down
    try:
        answer = fresh.post("researcher", ASK)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "audit_unavailable"
        assert answer.headers["retry-after"]
        assert answer.headers["x-should-retry"] == "true"
        # What was reserved is given back; the caller is answered before that.
        wait_for(lambda: _used(fresh) == used)
        assert len(fresh.engines["base"].bodies) == seen
        assert fresh.post("public", ASK).status_code == 200
        assert fresh.metric("airlock_audit_failures_total") >= 1
    finally:
        database.__class__ = Database
    assert fresh.post("researcher", ASK).status_code == 200


def test_a_locked_log_refuses_the_base_in_time(request, tmp_path):
    """Another transaction holds the log's head: the caller gets 503, not a hanging request.

    On PostgreSQL: SQLite's busy timeout is that of every write.
    """
    settings = make_settings(request, tmp_path, "postgresql", audit_timeout_seconds=2.0)
    with run_gateway(settings) as running:
        with psycopg_connection(settings.database_url) as other, other.transaction():
            other.execute("SELECT size FROM audit_head FOR UPDATE")
            answer = httpx.post(
                f"{running.url}/v1/chat/completions",
                json=ASK,
                headers={"authorization": f"Bearer {running.keys['researcher']}"},
                timeout=settings.audit_timeout_seconds + 3,
            )
            assert answer.json()["error"]["code"] == "audit_unavailable"
        wait_for(lambda: running.post("researcher", ASK).status_code == 200)


def test_the_log_refuses_what_the_database_no_longer_covers(fresh, monkeypatch):
    """The snapshot still has a grant that the database has ended: the intent is not written."""
    keeper = fresh.gateway.keeper
    monkeypatch.setattr(keeper, "refresh", _stays_current(keeper))

    async def end(session):
        from datetime import UTC, datetime

        await grants.revoke_grant(
            session, fresh.grants["researcher"], actor="test", now=datetime.now(UTC)
        )

    in_transaction(fresh.settings, end)
    seen = len(fresh.engines["base"].bodies)
    answer = fresh.post("researcher", {**ASK, "model": "smollm2:base"})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "grant_revoked"
    assert len(fresh.engines["base"].bodies) == seen


def test_a_caller_that_left_while_the_log_was_written_is_not_answered(fresh, monkeypatch):
    recorder = fresh.gateway.data_plane._recorder
    intend, waiting, may_go_on = recorder.intend, threading.Event(), threading.Event()

    async def slowly(*given):
        waiting.set()
        await asyncio.to_thread(may_go_on.wait, 10)
        await intend(*given)

    monkeypatch.setattr(recorder, "intend", slowly)
    seen, gone = len(fresh.engines["base"].bodies), "airlock_client_disconnects_total"
    before = fresh.metric(gone)
    body = json.dumps({**ASK, "model": "smollm2:base"}).encode()
    head = f"authorization: Bearer {fresh.keys['researcher']}\r\ncontent-length: {len(body)}"
    host, port = fresh.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n".encode() + body
        )
        assert waiting.wait(10)
    fresh.reasons()  # A later answer: by then the gateway has noticed.
    may_go_on.set()
    wait_for(lambda: fresh.metric(gone) == before + 1)
    assert len(fresh.engines["base"].bodies) == seen


def _used(running) -> dict[tuple[str, str], tuple[int, int]]:
    """What of the researcher's tokens and places is in use; requests count, refused or not."""
    accounts = running.gateway.data_plane.limits._accounts
    return {
        (kind, name): (account.tokens, account.running)
        for (kind, name), account in accounts.items()
        if name == running.people["researcher"]
    } or {("person", running.people["researcher"]): (0, 0)}


def _stays_current(keeper):
    import time

    async def refresh():
        keeper._current_at = time.monotonic()

    return refresh
