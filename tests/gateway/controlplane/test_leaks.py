"""Leak reports: a whole key ends at once, and nobody learns anything from the answer."""

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import ip_address
from types import SimpleNamespace

import anyio
import httpx
import pytest

from gateway.cli.tables import in_transaction
from gateway.controlplane import keys
from gateway.controlplane.leaks import PATH
from gateway.controlplane.throttle import PER_ADDRESS, PER_MINUTE, Throttle
from gateway.errors import NotReadyError, RateLimitedError
from gateway.identity.api_keys import mint
from tests.gateway.conftest import Running
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.test_keys import ask, last_event, made
from tests.gateway.identity.test_directory import text_of


@pytest.fixture(autouse=True)
def unthrottled(running: Running) -> None:
    throttle = running.gateway.http.state.control_plane.throttle
    throttle._counts.clear()
    throttle._total = 0


def report(running: Running, *tokens: str, **given) -> httpx.Response:
    body = [{"token": token, "type": "airlock_key", "url": "https://x", "source": "content"}
            for token in tokens]  # fmt: skip
    return httpx.post(running.url + PATH, **(given or {"json": body}))


@pytest.mark.parametrize(
    "given",
    [{"who": "researcher"}, {"who": "public", "workflow": True}, {"who": None, "admin": True}],
    ids=["a caller's", "a workflow key", "an administrator's"],
)
def test_a_whole_key_ends_at_once(running, given):
    key, other = made(running, **given), made(running, **given)
    answer = report(running, key["key"])
    assert (answer.status_code, answer.json()) == (202, [])
    running.wait_until_seen()

    def state(text: str) -> httpx.Response:
        if key["kind"] == "key":
            return running.chat(text)
        return ask(running, text, "GET", "/me" if key["kind"] == "workflow" else "/people")

    assert code(state(key["key"])) == (401, "revoked_api_key")
    assert state(other["key"]).status_code == 200
    event = last_event(running, "identity:key:leaked")
    assert (event["subject"], event["actor"]) == (key["id"], "leak report")
    assert event["detail"] == {"reported_from": "127.0.0.1"}
    assert report(running, key["key"]).status_code == 202, "again"
    assert last_event(running, "identity:key:leaked") == event, "it has ended once"


def test_every_answer_is_the_same_and_what_is_not_a_whole_key_ends_nothing(running):
    key = made(running, "public")
    parsed = text_of(mint("key")[0]._replace(id=key["id"]))
    wrong = {
        "another secret": parsed,
        "another kind": key["key"].replace("airlock_key_", "airlock_admin_"),
        "cut off": key["key"][:-1],
        "nobody's": mint("key")[1],
        "no key": "ghp_x",
        "nothing": "",
        "odd": "airlock_key_\u00fc",
    }
    answers = {name: report(running, token) for name, token in wrong.items()}
    answers["all of them"] = report(running, *wrong.values())
    running.wait_until_seen()
    assert running.chat(key["key"]).status_code == 200
    answers["a live one, with space around"] = report(running, f" {key['key']}\n")
    seen = {(a.status_code, a.content, tuple(sorted(set(a.headers) - {"date"}))) for a in
            answers.values()}  # fmt: skip
    assert len(seen) == 1, seen
    running.wait_until_seen()
    assert code(running.chat(key["key"])) == (401, "revoked_api_key")


def test_several_keys_in_one_report(running):
    found = [made(running, "public") for _ in range(3)]
    assert report(running, *(key["key"] for key in found), mint("key")[1]).status_code == 202
    running.wait_until_seen()
    assert {running.chat(key["key"]).status_code for key in found} == {401}


def test_a_report_and_a_revocation_at_once_do_not_wait_for_each_other(fresh):
    found = sorted((made(fresh, "public") for _ in range(2)), key=lambda key: key["id"])
    texts = [key["key"] for key in found]
    with ThreadPoolExecutor(1) as threads:

        async def revoke(session) -> Future[httpx.Response]:
            await keys.key_to_change(session, found[1]["id"])
            reported = threads.submit(report, fresh, *texts)
            await anyio.sleep(0.5)  # By now the report has ended the first, and waits.
            await keys.revoke_key(session, found[1]["id"], actor="a", now=datetime.now(UTC))
            return reported

        assert in_transaction(fresh.settings, revoke).result().status_code == 202
    fresh.wait_until_seen()
    assert {code(fresh.chat(text)) for text in texts} == {(401, "revoked_api_key")}


BAD = {
    "no JSON": ({"content": b"{"}, (400, "invalid_request")),
    "an object": ({"json": {"token": "x"}}, (400, "invalid_request")),
    "nothing in it": ({"json": []}, (400, "invalid_request")),
    "no token": ({"json": [{"type": "x"}]}, (400, "invalid_request")),
    "a long token": ({"json": [{"token": "airlock_key_SECRET" * 20}]}, (400, "invalid_request")),
    "too many": ({"json": [{"token": "x"}] * 101}, (400, "invalid_request")),
    "too long": ({"content": b"[" + b" " * 70_000}, (413, "request_too_large")),
}


@pytest.mark.parametrize(("given", "expected"), list(BAD.values()), ids=list(BAD))
def test_what_is_no_report(running, given, expected, caplog):
    answer = report(running, **given)
    assert code(answer) == expected
    assert "SECRET" not in answer.text + caplog.text


def test_other_paths_and_methods_are_not_there(running):
    assert code(httpx.post(running.url + PATH + "/", json=[])) == (404, "not_found")
    assert code(httpx.get(running.url + PATH)) == (405, "method_not_allowed")


def test_reports_are_limited(running, monkeypatch):
    # All within one minute of the gateway's clock.
    monkeypatch.setattr("gateway.controlplane.leaks.time", SimpleNamespace(monotonic=lambda: 0.0))
    statuses = [report(running, "x").status_code for _ in range(PER_ADDRESS + 1)]
    assert statuses == [202] * PER_ADDRESS + [429]
    refused = report(running, made(running, "public")["key"])
    assert code(refused) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "60"


def test_what_counts_as_one_reporter():
    throttle = Throttle()
    for index in range(PER_ADDRESS):
        throttle.count(ip_address(f"2001:db8::{index + 1}"), 0.0)
    with pytest.raises(RateLimitedError):
        throttle.count(ip_address("2001:db8::ffff"), 59.0)
    throttle.count(ip_address("2001:db8:0:1::1"), 59.0)
    throttle.count(ip_address("2001:db8::ffff"), 60.0)
    everybody = Throttle()
    for index in range(PER_MINUTE):
        everybody.count(ip_address(index), 0.0)
    with pytest.raises(RateLimitedError):
        everybody.count(ip_address("203.0.113.9"), 0.0)


def test_a_report_that_cannot_be_acted_upon_says_so(running):
    key, healthy = made(running, "public"), running.gateway.database.transaction

    def broken():
        raise NotReadyError

    running.gateway.database.transaction = broken
    try:
        assert code(report(running, key["key"])) == (503, "not_ready")
        assert code(report(running, mint("key")[1])) == (503, "not_ready"), "whoever's it is"
    finally:
        running.gateway.database.transaction = healthy
