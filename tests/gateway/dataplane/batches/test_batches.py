"""Batches: each line is a live request of low priority, and stands in the results once."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import httpx
import pytest
from sqlalchemy import update

from gateway import clock
from gateway.cli.tables import in_transaction
from gateway.contents_errors import ContentsUnavailableError
from gateway.dataplane.batches import archive, run
from gateway.dataplane.inference import Inference
from gateway.errors import AuditUnavailableError
from gateway.tables import Batch
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.dataplane.batches.driving import (
    CHAT,
    ask,
    code_of,
    content,
    create,
    ended,
    jsonl,
    line,
    results,
    show,
    text_of,
    upload,
    wait_for_lines,
)
from tests.gateway.dataplane.test_doors import served
from tests.gateway.silence import end_silence, silence
from tests.servers import wait_for

LABELS = {"public": "unlearned", "researcher": "base"}


@pytest.mark.parametrize("url", [CHAT, "/v1/completions", "/v1/responses"])
def test_each_caller_is_answered_at_their_door(running, url):
    made = {who: create(running, who, [line(n, url) for n in range(3)]) for who in LABELS}
    for who, label in LABELS.items():
        other = LABELS["public" if who == "researcher" else "researcher"]
        engine = running.engines[label]
        batch = ended(running, who, made[who])
        assert batch["status"] == "completed"
        assert batch["model"] == "smollm2"
        assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
        assert batch["error_file_id"] is None
        assert batch["usage"]["output_tokens"] == 12
        output, _ = results(running, who, batch)
        assert set(output) == {"line-0", "line-1", "line-2"}
        for row in output.values():
            assert row["error"] is None
            assert row["id"].startswith("batch_req_")
            assert row["response"]["status_code"] == 200
            assert row["response"]["request_id"].startswith("req_")
            assert engine.text in json.dumps(row)
            assert running.engines[other].text not in json.dumps(row)
        asked = [each for each in engine.bodies if each.get("priority") == 101]
        assert asked
        assert all(each["model"] == engine.digest for each in asked)


def test_a_line_may_do_no_more_than_a_live_request(running):
    given = [
        (line(0), None),
        (line(1, stream=True), "unsupported_parameter"),
        (line(2, logit_bias={"5": 100}), "unsupported_parameter"),
        (line(3, seed=1), "unsupported_parameter"),
        (line(4, kv_transfer_params={}), "unsupported_parameter"),
        (line(5, max_tokens=10**6), "invalid_request"),
        (line(6, messages=[]), "invalid_request"),
    ]
    before = served(running, "base") + served(running, "unlearned")
    batch = ended(running, "public", create(running, "public", [each for each, _ in given]))
    assert served(running, "base") + served(running, "unlearned") == before + 1
    assert batch["request_counts"] == {"total": 7, "completed": 1, "failed": 6}
    output, errors = results(running, "public", batch)
    assert list(output) == ["line-0"]
    for each, code in given[1:]:
        row = errors[each["custom_id"]]
        assert row["response"]["status_code"] == 400
        assert code_of(row) == code


def test_what_a_file_must_not_be_fails_the_batch_and_says_which_line(running):
    twice = {**line(1), "custom_id": "line-0"}
    cases: list[tuple[bytes, str, int | None]] = [
        (b"", "empty_file", None),
        (b"\n \n", "empty_file", None),
        (b"{", "invalid_json_line", 1),
        (b"\xff\xfe", "invalid_json_line", 1),
        (b"[" * 100_000, "invalid_json_line", 1),
        (jsonl([line(0)]) + b'{"custom_id": "a"}', "invalid_json_line", 2),
        (jsonl([{**line(0), "method": "GET"}]), "invalid_json_line", 1),
        (jsonl([{**line(0), "extra": 1}]), "invalid_json_line", 1),
        (jsonl([{**line(0), "custom_id": ""}]), "invalid_json_line", 1),
        (jsonl([{**line(0), "body": {"messages": []}}]), "invalid_json_line", 1),
        (jsonl([line(0)]).replace(b'"model"', b'"model": "x", "model"'), "invalid_json_line", 1),
        (jsonl([line(0), line(1, "/v1/completions")]), "invalid_url", 2),
        (jsonl([line(0), line(1, model="smollm2:unlearned")]), "mismatched_model", 2),
        (jsonl([line(0), twice]), "duplicate_custom_id", 2),
        (jsonl([line(0), line(1, user="x" * 1_100_000)]), "line_too_long", 2),
    ]
    before = served(running, "base") + served(running, "unlearned")
    for text, code, number in cases:
        file = upload(running, "public", text).json()
        given = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        made = ask(running, "public", "POST", "/batches", json=given).json()
        batch = ended(running, "public", made)
        assert batch["status"] == "failed", code
        assert batch["failed_at"] >= batch["created_at"]
        assert (batch["output_file_id"], batch["error_file_id"]) == (None, None)
        first = batch["errors"]["data"][0]
        assert (first["code"], first["line"]) == (code, number)
    assert served(running, "base") + served(running, "unlearned") == before


def test_what_no_batch_can_be_made_of(running):
    file = upload(running, "public", jsonl([line(0)])).json()["id"]
    good = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    cases = [
        ({"endpoint": "/v1/messages"}, 400, "invalid_request"),
        ({"completion_window": "1h"}, 400, "invalid_request"),
        ({"input_file_id": "file-0"}, 404, "not_found"),
        ({"input_file_id": None}, 400, "invalid_request"),
        ({"metadata": {"a": 1}}, 400, "invalid_request"),
        ({"metadata": {str(n): "" for n in range(17)}}, 400, "invalid_request"),
        ({"priority": 0}, 400, "unsupported_parameter"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, 400, "invalid_request"),
    ]
    for change, status, code in cases:
        answer = ask(running, "public", "POST", "/batches", json=good | change)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), change
    for model, status in (("smollm2:base", 403), ("gpt-4", 404)):
        file = upload(running, "public", jsonl([line(0, model=model)])).json()["id"]
        answer = ask(running, "public", "POST", "/batches", json=good | {"input_file_id": file})
        assert answer.status_code == status
    assert ask(running, "nobody", "POST", "/batches", json=good).status_code == 401
    results = ended(running, "public", create(running, "public", [line(0)]))["output_file_id"]
    answer = ask(running, "public", "POST", "/batches", json=good | {"input_file_id": results})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input_file_id")


def test_a_batch_is_its_owners_alone(running):
    mine = create(running, "researcher", [line(0)])
    batch = ended(running, "researcher", mine)
    nowhere = ask(running, "public", "GET", "/batches/batch_0")
    assert nowhere.status_code == 404
    for method, path in (
        ("GET", f"/batches/{mine['id']}"),
        ("POST", f"/batches/{mine['id']}/cancel"),
        ("GET", f"/files/{batch['output_file_id']}"),
        ("GET", f"/files/{batch['output_file_id']}/content"),
        ("DELETE", f"/files/{batch['output_file_id']}"),
        ("GET", f"/batches?after={mine['id']}"),
    ):
        answer = ask(running, "public", method, path)
        assert answer.status_code == (400 if "after" in path else 404), path
        assert answer.json()["error"].keys() == nowhere.json()["error"].keys()
        assert "Paris" not in answer.text
    given = {"input_file_id": mine["input_file_id"], "endpoint": CHAT, "completion_window": "24h"}
    assert ask(running, "public", "POST", "/batches", json=given).status_code == 404
    listed = ask(running, "public", "GET", "/batches?limit=100").json()["data"]
    assert mine["id"] not in {each["id"] for each in listed}


def test_a_grant_that_ends_makes_the_rest_errors_and_closes_the_results(fresh):
    engine, other = fresh.engines["base"], fresh.engines["unlearned"]
    engine.delay_seconds = 0.05
    made = create(fresh, "researcher", [line(n) for n in range(60)])
    wait_for_lines(fresh, "researcher", made, 5)
    revoked = fresh.admin("POST", f"/grants/{fresh.grants['researcher']}/revoke")
    assert revoked.status_code == 200
    batch = ended(fresh, "researcher", made)
    counts = batch["request_counts"]
    assert batch["status"] == "completed"
    assert counts["completed"] >= 5
    assert counts["failed"] >= 10
    assert counts["completed"] + counts["failed"] == 60
    assert other.bodies == [], "another door"
    refused = content(fresh, "researcher", batch["output_file_id"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "grant_revoked")
    assert "Paris" not in refused.text
    errors = content(fresh, "researcher", batch["error_file_id"])
    codes = {code_of(json.loads(row)) for row in errors.text.splitlines()}
    assert codes <= {"grant_revoked", "grant_required"}


def test_a_grant_that_ends_on_the_way_ends_the_download(fresh, monkeypatch):
    fresh.engines["base"].text = "Paris " * 60_000
    batch = ended(fresh, "researcher", create(fresh, "researcher", [line(1)]))
    asked, goes_on, read_next = threading.Event(), threading.Event(), archive._next
    calls: list[object] = []

    async def slowly(parts):
        calls.append(parts)
        if len(calls) == 2:
            asked.set()
            await anyio.to_thread.run_sync(goes_on.wait, 20)
        return await read_next(parts)

    monkeypatch.setattr(archive, "_next", slowly)
    with ThreadPoolExecutor(1) as threads:
        download = threads.submit(content, fresh, "researcher", batch["output_file_id"])
        assert asked.wait(10)
        fresh.admin("POST", f"/grants/{fresh.grants['researcher']}/revoke")
        fresh.wait_until_seen()
        goes_on.set()
        assert isinstance(download.exception(20), httpx.RemoteProtocolError)
    refused = content(fresh, "researcher", batch["output_file_id"])
    assert refused.status_code == 403


def test_results_of_an_open_door_are_kept_back_while_nobody_knows_whether_it_is(
    running, monkeypatch
):
    files = {
        who: ended(running, who, create(running, who, [line(1)]))["output_file_id"]
        for who in ("researcher", "public")
    }
    keeper, settings = running.gateway.keeper, running.settings
    old = settings.privileged_max_age_seconds + 1
    assert old < settings.snapshot_max_age_seconds
    monkeypatch.setattr(type(keeper), "age_seconds", property(lambda _: old))
    refused = content(running, "researcher", files["researcher"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
    assert content(running, "public", files["public"]).status_code == 200
    monkeypatch.undo()
    assert content(running, "researcher", files["researcher"]).status_code == 200


def test_results_of_an_open_door_are_kept_back_once_the_grant_has_ended_by_our_own_clock(
    fresh, monkeypatch
):
    """The wall's may have been set back meanwhile, which gives live requests nothing either."""
    batch = ended(fresh, "researcher", create(fresh, "researcher", [line(1)]))
    assert content(fresh, "researcher", batch["output_file_id"]).status_code == 200
    monkeypatch.setattr(clock, "_AHEAD", clock._AHEAD + 100 * 86_400)
    assert content(fresh, "researcher", batch["output_file_id"]).status_code in (403, 404)


def test_lines_wait_where_contents_cannot_be_kept_for_a_moment(fresh, monkeypatch):
    refusals = [ContentsUnavailableError(), AuditUnavailableError()]

    async def keep(*_) -> None:
        if refusals:
            raise refusals.pop()

    monkeypatch.setattr(Inference, "_keep", keep)
    monkeypatch.setattr(run, "LONGEST_WAIT_SECONDS", 0.2)
    batch = ended(fresh, "researcher", create(fresh, "researcher", [line(1), line(2), line(3)]))
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


def test_a_key_that_ends_makes_the_rest_errors(running):
    key = running.admin("POST", "/keys", json={"person_id": running.people["public"]}).json()
    running.wait_until_seen()
    running.engines["unlearned"].delay_seconds = 0.1
    made = create(running, key["key"], [line(n) for n in range(100)])
    wait_for_lines(running, "public", made, 1)
    assert running.admin("POST", f"/keys/{key['id']}/revoke").status_code == 200
    batch = ended(running, "public", made)
    assert batch["request_counts"]["failed"] >= 10
    _, errors = results(running, "public", batch)
    assert {code_of(row) for row in errors.values()} == {"grant_revoked"}


def test_a_narrowed_key_gets_no_more_by_a_batch_than_live(running):
    def key(**given) -> str:
        whole = {"person_id": running.people["researcher"], **given}
        return running.admin("POST", "/keys", json=whole).json()["key"]

    whole = create(running, "researcher", [line(1, model="smollm2:base")])
    batch = ended(running, "researcher", whole)
    files = ["/v1/files", "/v1/batches"]
    blind, deaf = key(domains=[]), key(endpoints=[*files, CHAT])
    running.wait_until_seen()
    assert content(running, deaf, batch["output_file_id"]).status_code == 200
    refused = content(running, blind, batch["output_file_id"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "grant_revoked")
    file = upload(running, blind, jsonl([line(1, model="smollm2:base")])).json()["id"]
    body = {"endpoint": CHAT, "completion_window": "24h", "input_file_id": file}
    refused = ask(running, blind, "POST", "/batches", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "grant_required")
    body |= {"endpoint": "/v1/completions"}
    refused = ask(running, deaf, "POST", "/batches", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")
    # The same name leads a key without domains to the other door.
    rows, _ = results(running, blind, ended(running, blind, create(running, blind, [line(1)])))
    assert "the, the" in str(rows)


def test_lines_that_are_limited_wait_and_do_not_fail(running, monkeypatch):
    monkeypatch.setattr(run, "LONGEST_WAIT_SECONDS", 0.2)
    running.gateway.data_plane.limits.__init__()
    running.change_tier("public", requests_per_minute=6)
    try:
        running.wait_until_seen()
        made = create(running, "public", [line(n) for n in range(12)])  # Two of six are spent.
        refused = 'airlock_requests_total{alias="other",outcome="RateLimitedError",tier="public"}'
        before = running.metric(refused)
        wait_for(lambda: running.metric(refused) > before + 8)
        counts = show(running, "public", made)["request_counts"]
        assert counts["completed"] <= 4
        assert counts["failed"] == 0
    finally:
        running.change_tier("public", requests_per_minute=1_000_000)
    batch = ended(running, "public", made)
    assert batch["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
    results(running, "public", batch)


def test_a_line_that_alone_is_more_than_a_limit_fails_at_once(running):
    given = {"person_id": running.people["public"], "tokens_per_minute": 500}
    narrow = running.admin("POST", "/keys", json=given).json()["key"]
    running.wait_until_seen()
    lines = [line(1, max_tokens=4), line(2, max_tokens=1000)]
    batch = ended(running, narrow, create(running, narrow, lines))
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    _, errors = results(running, narrow, batch)
    assert code_of(errors["line-2"]) == "rate_limit_exceeded"
    assert errors["line-2"]["response"]["body"]["error"]["type"] == "tokens"


def test_a_cancelled_batch_keeps_what_was_answered(running):
    running.engines["unlearned"].delay_seconds = 0.05
    made = create(running, "public", [line(n) for n in range(200)], metadata={"what": "a test"})
    wait_for_lines(running, "public", made, 3)
    cancelled = ask(running, "public", "POST", f"/batches/{made['id']}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelling"
    batch = ended(running, "public", made)
    assert batch["status"] == "cancelled"
    assert batch["cancelled_at"] >= batch["cancelling_at"]
    assert batch["metadata"] == {"what": "a test"}
    output, errors = results(running, "public", batch)
    assert len(output) >= 3
    assert len(output) + len(errors) == 200
    assert {code_of(row) for row in errors.values()} == {"batch_cancelled"}
    assert batch["request_counts"]["failed"] == len(errors)
    again = ask(running, "public", "POST", f"/batches/{made['id']}/cancel")
    assert again.json()["status"] == "cancelled"


def test_what_has_ended_cannot_be_cancelled_and_an_input_in_use_not_deleted(running):
    running.engines["unlearned"].delay_seconds = 0.1
    made = create(running, "public", [line(n) for n in range(20)])
    kept = ask(running, "public", "DELETE", f"/files/{made['input_file_id']}")
    assert (kept.status_code, kept.json()["error"]["code"]) == (409, "conflict")
    ended(running, "public", made)
    late = ask(running, "public", "POST", f"/batches/{made['id']}/cancel")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "conflict")
    assert ask(running, "public", "DELETE", f"/files/{made['input_file_id']}").status_code == 200


def test_at_the_windows_end_what_was_not_answered_is_an_error(fresh):
    fresh.engines["unlearned"].delay_seconds = 0.1
    made = create(fresh, "public", [line(n) for n in range(100)])
    wait_for_lines(fresh, "public", made, 1)

    async def hurry(session):
        now = datetime.now(UTC)
        await session.execute(update(Batch).values(expires_at=now, claim=Batch.claim + 1))
        await session.execute(update(Batch).values(leased_until=now - timedelta(seconds=1)))

    in_transaction(fresh.settings, hurry)  # As if another gateway had it until now.
    batch = ended(fresh, "public", made)
    assert batch["status"] == "expired"
    output, errors = results(fresh, "public", batch)
    assert output
    assert len(output) + len(errors) == 100
    assert {code_of(row) for row in errors.values()} == {"batch_expired"}


@pytest.mark.parametrize("mode", ["500", "400", "garbage"])
def test_an_engines_fault_is_an_error_of_its_line(running, mode):
    running.engines["base"].mode = mode
    before = served(running, "unlearned")
    batch = ended(running, "researcher", create(running, "researcher", [line(1), line(2)]))
    _, errors = results(running, "researcher", batch)
    assert {code_of(row) for row in errors.values()} <= {"engine_error", "invalid_request"}
    assert len(errors) == 2
    assert served(running, "unlearned") == before, "another door"


def test_lines_wait_for_an_engine_that_is_away(running):
    engine = running.engines["base"]
    digest, engine.digest = engine.digest, "sha256:" + "0" * 64
    try:
        before = served(running, "unlearned")
        made = create(running, "researcher", [line(1), line(2)])
        wait_for(lambda: running.metric("airlock_engine_up") == 1)
        wait_for(lambda: show(running, "researcher", made)["status"] == "in_progress")
    finally:
        engine.digest = digest
    wait_for(lambda: httpx.get(f"{running.url}/readyz").status_code == 200)
    batch = ended(running, "researcher", made)
    output, _ = results(running, "researcher", batch)
    assert {text_of(row) for row in output.values()} == {"Paris"}
    assert served(running, "unlearned") == before, "another door"


def test_a_silent_database_loses_no_line(running):
    running.engines["unlearned"].delay_seconds = 0.05
    before = served(running, "unlearned")
    made = create(running, "public", [line(n) for n in range(60)])
    wait_for_lines(running, "public", made, 3)
    silence(running.gateway)
    try:
        silent = ask(running, "public", "GET", f"/batches/{made['id']}")
        assert (silent.status_code, silent.json()["error"]["code"]) == (503, "not_ready")
    finally:
        wait_for(lambda: served(running, "unlearned") > before + 10)
        end_silence(running.gateway)
    batch = ended(running, "public", made)
    assert batch["request_counts"] == {"total": 60, "completed": 60, "failed": 0}
    results(running, "public", batch)


def test_each_line_of_an_open_door_is_in_the_audit_log(running):
    batch = ended(running, "researcher", create(running, "researcher", [line(0), line(1)]))
    output, _ = results(running, "researcher", batch)
    for row in output.values():
        request_id = row["response"]["request_id"]
        found = running.admin("GET", "/audit-events", params={"subject": request_id}).json()
        tags = {entry["tag"] for entry in found}
        assert tags == {"dataplane:request:intended", "dataplane:request:ended"}
        assert "Hi 0" not in json.dumps(found)


def test_lists_come_in_pages(running):
    made = [create(running, "public", [line(0)])["id"] for _ in range(3)]
    seen, after = [], ""
    while True:
        page = ask(running, "public", "GET", f"/batches?limit=2{after}").json()
        seen += [each["id"] for each in page["data"]]
        assert page["first_id"] == page["data"][0]["id"]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert seen[:3] == made[::-1]
    assert len(seen) == len(set(seen))
    for query in (
        "limit=0",
        "limit=101",
        "limit=x",
        "after=nothing",
        "order=asc",
        "limit=1&limit=2",
    ):
        refused = ask(running, "public", "GET", f"/batches?{query}")
        assert refused.status_code == 400, query


def test_a_person_has_so_many_batches_under_way(request, tmp_path):
    settings = make_settings(request, tmp_path, "sqlite")
    with run_gateway(settings, batches_per_person=2) as running:
        running.engines["unlearned"].delay_seconds = 0.2
        first = create(running, "public", [line(n) for n in range(30)])
        create(running, "public", [line(0)])
        given = {k: first[k] for k in ("input_file_id", "endpoint", "completion_window")}
        refused = ask(running, "public", "POST", "/batches", json=given)
        assert refused.status_code == 400
        # Of one person a batch runs at a time; another's does not wait for it.
        theirs = ended(running, "researcher", create(running, "researcher", [line(0)]))
        assert theirs["status"] == "completed"
        waiting = ask(running, "public", "GET", "/batches").json()["data"][0]
        assert waiting["status"] == "validating"
