"""Requests that come twice, and changes of what was changed meanwhile; on both databases."""

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import Response
from sqlalchemy import select, update

from gateway.cli.tables import in_transaction, with_database
from gateway.controlplane.admin_route import AdminRoute
from gateway.controlplane.idempotency import (
    ABANDONED_AFTER,
    Once,
    _reserve,
    forget_answers,
    keep,
    release,
)
from gateway.db import Database
from gateway.precondition_errors import KeyInFlightError
from gateway.tables import IdempotentRequest
from tests.gateway.conftest import Running, make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code

ADA = {"name": "Ada", "organisation": "Society"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def both(request, tmp_path_factory) -> Iterator[Running]:
    """A gateway for a module of tests, on each kind of database."""
    home = tmp_path_factory.mktemp(request.param)
    with run_gateway(make_settings(request, home, request.param)) as made:
        yield made


def post(running, body: dict, key: str, path: str = "/people", **headers) -> httpx.Response:
    return running.admin("POST", path, json=body, headers={"idempotency-key": key, **headers})


def people(running) -> int:
    return len(running.admin("GET", "/people?limit=1000").json())


def test_sent_twice_is_done_once_and_answered_alike(both):
    before, key = people(both), str(uuid.uuid4())
    first = post(both, ADA, key)
    again = post(both, ADA, f'"{key}"')
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert people(both) == before + 1
    assert code(post(both, ADA | {"name": "Eve"}, key)) == (422, "idempotency_key_reused")
    assert post(both, ADA, str(uuid.uuid4())).json()["id"] != first.json()["id"]
    assert code(post(both, ADA, "with a space")) == (400, "invalid_request")
    other = httpx.post(
        f"{both.url}/admin/v1/people",
        json=ADA,
        headers={"authorization": f"Bearer {new_admin(both)}", "idempotency-key": key},
    )
    assert other.json()["id"] != first.json()["id"], "a key is its caller's"


def new_admin(running) -> str:
    return running.admin("POST", "/keys", json={"admin": True}).json()["key"]


def test_a_new_keys_text_comes_again_and_is_nowhere_to_be_read(both):
    body, key = {"person_id": both.people["public"]}, str(uuid.uuid4())
    made = post(both, body, key, "/keys").json()
    assert post(both, body, key, "/keys").json() == made

    async def rows(session):
        return list(await session.scalars(select(IdempotentRequest)))

    found = in_transaction(both.settings, rows)
    secret = made["key"].split("_")[3]
    for value in (value for row in found for value in (row.id, row.fingerprint, row.answer)):
        text = value if isinstance(value, bytes) else value.encode()
        assert secret.encode() not in text
        assert key.encode() not in text


def test_who_is_let_in_no_more_gets_no_old_answer(both):
    admin = new_admin(both)
    headers = {"authorization": f"Bearer {admin}", "idempotency-key": "k"}
    url = f"{both.url}/admin/v1/people"
    assert httpx.post(url, json=ADA, headers=headers).status_code == 201
    both.admin("POST", f"/keys/{admin.split('_')[2]}/revoke")
    assert code(httpx.post(url, json=ADA, headers=headers)) == (401, "revoked_api_key")


def test_what_was_refused_changed_nothing_and_is_tried_anew(both):
    body, key = {"person_id": "nobody", "domain": "capitals", "reason": "r"}, "once-more"
    assert code(post(both, body, key, "/grants")) == (404, "not_found")
    assert code(post(both, body, key, "/grants")) == (404, "not_found")
    good = body | {"person_id": both.people["researcher"]}
    assert post(both, good, key, "/grants").status_code == 201
    assert code(post(both, body, key, "/grants")) == (422, "idempotency_key_reused")


def test_at_the_same_time_one_is_done_and_the_other_told_to_wait(both):
    before, answers = people(both), []
    threads = [
        threading.Thread(target=lambda: answers.append(post(both, ADA, "together")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert people(both) == before + 1
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert code(answer) == (409, "idempotency_key_in_flight")
    assert post(both, ADA, "together").json()["id"] in made


def test_a_request_whose_gateway_was_killed_can_be_made_again(both):
    key = "killed"
    post(both, ADA, key)

    def set_row(**values) -> None:
        async def change(session):
            await session.execute(update(IdempotentRequest).values(**values))

        in_transaction(both.settings, change)

    set_row(answer=None, status=None)
    assert code(post(both, ADA, key)) == (409, "idempotency_key_in_flight")
    set_row(started_at=datetime.now(UTC) - timedelta(minutes=2))
    assert post(both, ADA, key).status_code == 201
    set_row(started_at=datetime.now(UTC) - timedelta(hours=25))
    again = post(both, ADA, key)
    assert again.status_code == 201
    assert "idempotency-replayed" not in again.headers, "kept for a day"


def test_who_took_so_long_that_another_began_anew_is_undone(settings):
    slow, anew = (Once("key", token, Fernet(Fernet.generate_key())) for token in ("slow", "anew"))
    now = datetime.now(UTC)

    async def main(database: Database) -> None:
        for once, began in ((slow, now - ABANDONED_AFTER * 2), (anew, now)):
            async with database.transaction() as session:
                assert await _reserve(session, once, "fingerprint", began) is None
        with pytest.raises(KeyInFlightError):
            async with database.transaction() as session:
                await keep(session, slow, Response(b"slow"))
        await release(database, slow)
        async with database.transaction() as session:
            await keep(session, anew, Response(b"anew"))

    with_database(settings, main)


def test_an_answer_is_deleted_after_a_day_though_nobody_sends_another_key(settings):
    now = datetime.now(UTC)

    async def put(session) -> None:
        for name, age in {"old": timedelta(hours=25), "new": timedelta(hours=23)}.items():
            kept = {"token": "t", "fingerprint": "f", "answer": b"sealed", "status": 201}
            session.add(IdempotentRequest(id=name, started_at=now - age, **kept))

    async def left(session) -> list[str]:
        return list(await session.scalars(select(IdempotentRequest.id)))

    async def sweep(database: Database) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forget_answers, database)
            with anyio.fail_after(30):
                while True:
                    async with database.transaction() as session:
                        if await left(session) == ["new"]:
                            break
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    in_transaction(settings, put)
    with_database(settings, sweep)


def test_every_post_of_the_admin_api_takes_a_key(running):
    posts = [
        route
        for route in running.gateway.http.routes
        if getattr(route, "path", "").startswith("/admin/v1/") and hasattr(route, "endpoint")
    ]
    without = [
        route.path
        for route in posts
        if not isinstance(route, AdminRoute) and getattr(route, "include_in_schema", False)
    ]
    assert without == []
    assert len([route for route in posts if isinstance(route, AdminRoute)]) > 50


@pytest.mark.parametrize("kind", ["person", "organisation"])
def test_nobodys_change_is_overwritten_unseen(both, kind):
    if kind == "person":
        path, change = f"/people/{both.people['public']}", {"state": "suspended"}
    else:
        row = both.admin("GET", "/organisations").json()[0]
        path, change = f"/organisations/{row['id']}", {"state": "suspended"}
    seen = both.admin("GET", path)
    tag = {"if-match": seen.headers["etag"]}
    changed = both.admin("PATCH", path, json=change, headers=tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != seen.headers["etag"]
    assert code(both.admin("PATCH", path, json=change, headers=tag)) == (412, "changed_meanwhile")
    weak = {"if-match": f"W/{changed.headers['etag']}"}
    assert code(both.admin("PATCH", path, json=change, headers=weak)) == (412, "changed_meanwhile")
    assert both.admin("PATCH", path, json=change).status_code == 200
    either = {"if-match": f'"other", {changed.headers["etag"]}'}
    assert both.admin("PATCH", path, json=change, headers=either).status_code == 200


def test_roles_are_replaced_by_who_has_seen_them(both):
    path = f"/people/{both.people['public']}/roles"
    given = {"roles": ["approver"]}
    assert code(both.admin("PUT", path, json=given, headers={})) == (428, "match_required")
    tag = {"if-match": both.admin("GET", path).headers["etag"]}
    answers: list[int] = []

    def replace(role: str) -> None:
        answer = both.admin("PUT", path, json={"roles": [role]}, headers=tag)
        answers.append(answer.status_code)

    threads = [threading.Thread(target=replace, args=(role,)) for role in ("approver", "operator")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 412], "one has seen what was there, the other no more"


def test_pages(running):
    for path in ("/tiers", "/aliases", "/terms", "/engines", "/people", "/tier-changes"):
        whole = running.admin("GET", path).json()
        assert running.admin("GET", f"{path}?limit=1&offset=1").json() == whole[1:2], path
