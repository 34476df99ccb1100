"""Files over HTTP: within bounds, encrypted on disk, and their owner's alone."""

import os
import re
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from gateway.cli.tables import in_transaction
from gateway.dataplane.batches import archive, worker
from gateway.dataplane.batches.sweep import ORPHAN_SECONDS
from gateway.errors import InvalidRequestError, NotReadyError
from gateway.tables import StoredFile
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.dataplane.batches.driving import (
    CHAT,
    ask,
    content,
    jsonl,
    line,
    show,
    upload,
)
from tests.servers import wait_for


def stored(running) -> set[str]:
    return {path.name for path in (running.settings.home / "files").glob("*") if path.is_file()}


def test_what_was_uploaded_comes_back_and_goes(fresh):
    text = jsonl([line(n) for n in range(5000)])
    made = upload(fresh, "public", text).json()
    assert made["bytes"] == len(text) > 600_000  # More than two frames.
    assert (made["object"], made["purpose"], made["filename"]) == ("file", "batch", "in.jsonl")
    assert made["expires_at"] - made["created_at"] == 30 * 86_400
    assert ask(fresh, "public", "GET", f"/files/{made['id']}").json() == made
    whole = content(fresh, "public", made["id"])
    assert whole.content == text
    for answer in (whole, ask(fresh, "public", "GET", "/files")):
        assert answer.headers["x-request-id"].startswith("req_")
        assert int(answer.headers["openai-processing-ms"]) >= 0
    on_disk = (fresh.settings.home / "files" / made["id"]).read_bytes()
    assert b"smollm2" not in on_disk
    assert (fresh.settings.home / "files").stat().st_mode & 0o777 == 0o700
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        other = ask(fresh, "researcher", method, f"/files/{made['id']}{path}")
        assert (other.status_code, other.json()["error"]["code"]) == (404, "not_found")
    assert ask(fresh, "researcher", "GET", "/files").json()["data"] == []
    gone = ask(fresh, "public", "DELETE", f"/files/{made['id']}").json()
    assert gone == {"id": made["id"], "object": "file", "deleted": True}
    assert ask(fresh, "public", "GET", f"/files/{made['id']}").status_code == 404
    assert stored(fresh) == set()


def test_lists_come_in_pages_and_in_an_order(running):
    made = [upload(running, "researcher", b"x").json()["id"] for _ in range(3)]
    page = ask(running, "researcher", "GET", "/files?limit=2&order=asc").json()
    assert [each["id"] for each in page["data"]] == made[:2]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, made[0], made[1])
    rest = ask(running, "researcher", "GET", f"/files?order=asc&after={made[1]}").json()
    assert [each["id"] for each in rest["data"]] == made[2:]
    assert not rest["has_more"]
    newest = ask(running, "researcher", "GET", "/files?purpose=batch").json()["data"]
    assert [each["id"] for each in newest] == made[::-1]
    assert ask(running, "researcher", "GET", "/files?purpose=vision").json()["data"] == []
    for query in ("limit=0", "limit=10001", "order=up", "after=file-0", "colour=red", "after=%00"):
        assert ask(running, "researcher", "GET", f"/files?{query}").status_code == 400, query


def test_what_is_no_upload_leaves_nothing_behind(running):
    before = stored(running)
    part = {"file": ("in.jsonl", b"{}")}
    whole = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n'
    purpose = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    raw = {"content-type": "multipart/form-data; boundary=b"}
    cases: list[tuple[dict, int, str]] = [
        ({"files": part, "data": {"purpose": "vision"}}, 400, "invalid_request"),
        ({"files": part}, 400, "invalid_request"),
        ({"files": part, "data": {"purpose": "batch", "path": "/"}}, 400, "unsupported_parameter"),
        ({"files": part, "data": {"purpose": "b" * 300}}, 400, "invalid_request"),
        (
            {
                "files": part,
                "data": {
                    "purpose": "batch",
                    "expires_after[anchor]": "created_at",
                    "expires_after[seconds]": "59",
                },
            },
            400,
            "invalid_request",
        ),
        ({"files": {"purpose": (None, b"batch")}}, 400, "invalid_request"),
        ({"json": {"purpose": "batch"}}, 415, "unsupported_media_type"),
        ({"headers": {"content-type": "multipart/form-data"}}, 415, "unsupported_media_type"),
        ({"content": b"nonsense", "headers": raw}, 400, "invalid_request"),
        ({"content": whole, "headers": raw}, 400, "invalid_request"),
        ({"content": whole + whole + b"--b--\r\n", "headers": raw}, 400, "invalid_request"),
        (
            {"content": purpose + purpose + whole + b"--b--\r\n", "headers": raw},
            400,
            "invalid_request",
        ),
        (
            {"content": whole, "headers": raw | {"content-encoding": "gzip"}},
            415,
            "unsupported_media_type",
        ),
    ]
    for given, status, code in cases:
        answer = ask(running, "public", "POST", "/files", **given)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), given
    assert stored(running) == before
    last = ask(
        running, "public", "POST", "/files", content=whole + purpose + b"--b--\r\n", headers=raw
    )
    assert last.status_code == 200, "the file may come before what is said of it"


def test_a_file_has_a_name_and_a_time_of_its_owners(running):
    form = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = upload(running, "public", b"x", **form).json()
    assert made["expires_at"] - made["created_at"] == 3600
    for given, kept in (("../../etc/passwd", "passwd"), ("C:\\a\\b.jsonl", "b.jsonl"), ("ä", "ä")):
        files = {"file": (given, b"x")}
        named = ask(running, "public", "POST", "/files", files=files, data={"purpose": "batch"})
        assert named.json()["filename"] == kept


def test_no_file_is_kept_longer_than_files_are(running, monkeypatch):
    archive = running.gateway.data_plane._archive
    monkeypatch.setattr(archive, "_settings", archive._settings.model_copy(update={"file_days": 2}))
    for seconds, kept in (("3600", 3600), ("172801", 172_800), ("2592000", 172_800)):
        form = {"expires_after[anchor]": "created_at", "expires_after[seconds]": seconds}
        made = upload(running, "public", b"x", **form).json()
        assert made["expires_at"] - made["created_at"] == kept


def test_paths_and_methods(running):
    cases = [
        ("PUT", "/files", 405),
        ("POST", "/files/file-0", 405),
        ("DELETE", "/files/file-0/content", 405),
        ("DELETE", "/batches/batch_0", 405),
        ("GET", "/batches/batch_0/cancel", 405),
        ("GET", "/files/", 404),
        ("GET", "/files/a/b/c", 404),
        ("GET", "/files/..%2F..%2Fairlock.db/content", 404),
        ("GET", "/files/a%00/content", 404),
        ("GET", "/batches/b/other", 404),
    ]
    for method, path, status in cases:
        answer = ask(running, "public", method, path)
        assert answer.status_code == status, path
        assert answer.json()["error"]["code"] in ("not_found", "method_not_allowed")
        if status == 405:
            assert answer.headers["allow"]
        assert ask(running, "nobody", method, path).status_code in (401, status)
    for path in ("/files", "/files/file-0", "/files/file-0/content", "/batches", "/batches/b"):
        assert ask(running, "nobody", "GET", path).json()["error"]["code"] == "invalid_api_key"


@pytest.fixture(scope="module")
def narrow(request, tmp_path_factory):
    """A gateway that takes little."""
    settings = make_settings(request, tmp_path_factory.mktemp("narrow"), "sqlite")
    bounds = {"file_max_bytes": 4096, "files_per_person": 3, "file_bytes_per_person": 6000}
    with run_gateway(settings, **bounds, upload_timeout_seconds=0.5) as running:
        yield running


def delete_all(running) -> None:
    for each in ask(running, "public", "GET", "/files").json()["data"]:
        assert ask(running, "public", "DELETE", f"/files/{each['id']}").status_code == 200


def test_how_much_a_person_may_have(narrow):
    too_long = upload(narrow, "public", b"x" * 4097)
    assert (too_long.status_code, too_long.json()["error"]["code"]) == (413, "request_too_large")
    chunks = (b"x" * 1000 for _ in range(100))
    raw = {"content-type": "multipart/form-data; boundary=b"}
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    endless = ask(
        narrow, "public", "POST", "/files", content=(c for c in (head, *chunks)), headers=raw
    )
    assert endless.status_code == 413
    assert upload(narrow, "public", b"x" * 4096).status_code == 200
    full = upload(narrow, "public", b"x" * 4096)
    assert full.status_code == 400
    assert "6000 bytes together" in full.json()["error"]["message"]
    for _ in range(2):
        assert upload(narrow, "public", b"x").status_code == 200
    many = upload(narrow, "public", b"x")
    assert many.status_code == 400
    assert upload(narrow, "researcher", b"x").status_code == 200, "another's count is another's"
    assert len(stored(narrow)) == 4
    delete_all(narrow)


def test_an_upload_that_stalls_or_ends_early_leaves_nothing(narrow):
    before = stored(narrow)
    port = int(narrow.url.rpartition(":")[2])
    head = (
        "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
        f"authorization: Bearer {narrow.keys['public']}\r\n"
        "content-type: multipart/form-data; boundary=b\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(head + b"--b\r\n")
        slow.settimeout(5)
        assert b"408" in slow.recv(4096).split(b"\r\n")[0]
    with socket.create_connection(("127.0.0.1", port)) as gone:
        gone.sendall(head + b"--b\r\n")
    wait_for(lambda: narrow.metric("airlock_in_flight_requests") == 0)
    assert stored(narrow) == before


def test_a_download_that_is_not_read_ends_and_counts_meanwhile(request, tmp_path):
    with run_gateway(
        make_settings(request, tmp_path, "sqlite"), idle_timeout_seconds=2.0
    ) as gateway:
        made = upload(gateway, "public", b"x" * 30_000_000).json()
        plane = gateway.gateway.data_plane
        assert plane is not None
        account = plane.limits._accounts["person", gateway.people["public"]]
        assert account.running == 0
        head = (
            f"GET /v1/files/{made['id']}/content HTTP/1.1\r\nhost: x\r\n"
            f"authorization: Bearer {gateway.keys['public']}\r\n\r\n"
        )
        port = int(gateway.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as idle:
            idle.sendall(head.encode())
            wait_for(lambda: account.running == 1)
            wait_for(lambda: account.running == 0)
            assert gateway.metric("airlock_in_flight_requests") == 0
            assert gateway.metric("airlock_client_disconnects_total") == 1
        with socket.create_connection(("127.0.0.1", port)) as leaving:
            leaving.sendall(head.encode())
            leaving.recv(1000)
        wait_for(lambda: gateway.metric("airlock_client_disconnects_total") == 2)
        answer = content(gateway, "public", made["id"])
        assert len(answer.content) == 30_000_000
        assert "x-ratelimit-remaining-requests" in answer.headers


def test_what_is_expired_or_nobodys_is_cleared_away(narrow, monkeypatch):
    made = upload(narrow, "public", b"x").json()
    orphan = narrow.settings.home / "files" / "file-nobodys"
    young = narrow.settings.home / "files" / "file-young"
    for path in (orphan, young):
        path.write_bytes(b"x")
    long_ago = time.time() - ORPHAN_SECONDS - 2
    os.utime(orphan, (long_ago, long_ago))
    kept = upload(narrow, "public", b"y").json()

    async def hurry(session):
        mine = StoredFile.id == made["id"]
        now = datetime.now(UTC) - timedelta(seconds=1)
        await session.execute(update(StoredFile).where(mine).values(expires_at=now))

    in_transaction(narrow.settings, hurry)
    assert ask(narrow, "public", "GET", f"/files/{made['id']}/content").status_code == 404
    monkeypatch.setattr(worker, "SWEEP_SECONDS", 0.05)
    wait_for(lambda: not orphan.exists() and made["id"] not in stored(narrow))
    assert young.exists()
    assert content(narrow, "public", kept["id"]).content == b"y"

    async def rows(session):
        return set(await session.scalars(select(StoredFile.id)))

    assert made["id"] not in in_transaction(narrow.settings, rows)
    young.unlink()
    delete_all(narrow)


def test_a_content_that_is_lost_or_altered_is_not_handed_out(running):
    made, other = (upload(running, "public", text).json() for text in (b"mine", b"else"))
    folder = running.settings.home / "files"
    (folder / made["id"]).write_bytes((folder / other["id"]).read_bytes())
    for _ in range(2):
        answer = content(running, "public", made["id"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
        assert answer.headers["retry-after"] == "2"
        (folder / made["id"]).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("error", "status", "stays"),
    [(InvalidRequestError("no room"), 400, False), (NotReadyError("no answer"), 503, True)],
    ids=["refused", "unknown"],
)
def test_contents_go_with_a_refusal_and_stay_where_their_row_may_be(
    running, monkeypatch, error, status, stays
):
    """A database that does not answer may have written the row; what has none is swept."""

    async def fail(*_):
        raise error

    monkeypatch.setattr(archive, "add_file", fail)
    before = stored(running)
    assert upload(running, "public", b"x").status_code == status
    assert bool(stored(running) - before) == stays


def test_a_folder_that_cannot_be_written_is_503_and_the_rest_goes_on(request, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("not a folder")
    (tmp_path / "home").mkdir()
    settings = make_settings(request, tmp_path / "home", "sqlite")
    with run_gateway(settings, files_folder=blocked) as running:
        answer = upload(running, "public", b"x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
        assert running.chat("public").status_code == 200


def test_contents_are_in_no_log(running, caplog):
    secret = "a-word-that-nobody-else-says"
    with caplog.at_level(0):
        file = upload(running, "public", jsonl([line(0, user=secret), line(1)])).json()
        given = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        batch = ask(running, "public", "POST", "/batches", json=given).json()
        wait_for(lambda: show(running, "public", batch)["status"] == "completed")
    assert not re.search(secret, caplog.text)
