"""Contents that are destroyed before their time: by two people, for ever, and seen in the log."""

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, update

from gateway.cli import main
from gateway.cli.tables import in_transaction
from gateway.contents.bundle import open_bundle
from gateway.contents.holder import read_private
from gateway.tables import ContentDestruction, ContentKey, KeptContent
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.contents.test_contents import (
    Board,
    as_a_role_goes,
    asked,
    keeping_of,
    log_key_of,
    with_holder,
)
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.dataplane.test_audit import entries

DAY = timedelta(days=1)


class Wreckers(Board):
    """People who may destroy contents, or not."""

    def post(self, who: str, path: str = "", dry_run: bool = False, **body) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[who]}"}
        url = f"{self.running.url}/admin/v1/contents/destructions{path}"
        given = {"params": {} if dry_run else {"dry_run": "false"}, "json": body or None}
        return httpx.post(url, headers=headers, timeout=30, **given)

    def propose(self, **what) -> str:
        answer = self.post("ulla", reason="case 13", **what)
        assert answer.status_code == 201, answer.text
        return answer.json()["destruction"]["id"]

    def agree(self, destruction: str, who: str = "app", dry_run: bool = False) -> httpx.Response:
        return self.post(who, f"/{destruction}/approve", dry_run)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def running(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("destructions")
    given = {**with_holder(home), "keep_contents": "base"}
    with run_gateway(make_settings(request, home, request.param), **given) as made:
        yield made


@pytest.fixture(scope="module")
def board(running) -> Wreckers:
    return Wreckers(running)


def kept(running) -> set[str]:
    async def names(session) -> set[str]:
        return set(await session.scalars(select(KeptContent.request_id)))

    return in_transaction(running.settings, names)


def tags(running, subject: str) -> list[dict]:
    return running.admin("GET", f"/audit-events?subject={subject}").json()[::-1]


def opens(running, board, answer) -> bool:
    bundle = board.open(answer.headers["x-request-id"])
    private = read_private(running.settings.home / "holder.pem", None)
    return open_bundle(bundle, private, log_key_of(running)).answer == answer.content


def test_of_one_request_and_no_other(running, board):
    answer, other = asked(running), asked(running)
    request_id = answer.headers["x-request-id"]
    tried = board.post("ulla", request_id=request_id, reason="r", dry_run=True)
    one = {"requests": 1, "parts": 2, "keys": 0}
    assert (tried.status_code, tried.json()) == (200, {"concerned": one, "destruction": None})
    assert running.admin("GET", "/contents/destructions").json() == []
    destruction = board.propose(request_id=request_id)
    assert board.agree(destruction, dry_run=True).json() == tried.json()
    assert request_id in kept(running), "one person's word and a dry run destroy nothing"
    done = board.agree(destruction)
    assert (done.status_code, done.json()["concerned"]) == (200, one), done.text
    assert request_id not in kept(running)
    assert board.call("ulla", "", request_id=request_id, reason="r").status_code == 404
    assert opens(running, board, other)
    first, second = tags(running, destruction)
    assert (first["tag"], second["tag"]) == (
        "contents:destruction:asked", "contents:destruction:approved")  # fmt: skip
    person = f"person:{board.people['app']}"
    assert second["actor"] == person
    assert second["detail"]["asked_by"] == first["actor"] == f"person:{board.people['ulla']}"
    assert second["detail"].items() >= {**one, "request": request_id, "reason": "case 13"}.items()
    (row,) = running.admin("GET", "/contents/destructions").json()
    assert (row["id"], row["about"]) == (destruction, running.people["researcher"])
    # What was asked stays known, and its receipt holds.
    intent, end = entries(running, request_id, 2)
    assert intent["detail"]["kept"]["request"]
    assert end["detail"]["kept"]["answer"]
    headers = {"authorization": f"Bearer {running.keys['researcher']}"}
    assert httpx.get(f"{running.url}/v1/receipts/{request_id}", headers=headers).status_code == 200


def age_keys(running) -> None:
    """Let the day of every key be over, also in the gateway's memory."""

    async def age(session) -> None:
        await session.execute(update(ContentKey).values(made_at=datetime.now(UTC) - 2 * DAY))

    in_transaction(running.settings, age)
    keeping_of(running)._keys.clear()


def test_of_a_grant_with_the_keys_that_nobody_seals_to_any_more(running, board):
    grant = running.grants["researcher"]
    old = asked(running)
    age_keys(running)
    new = asked(running)
    both = {answer.headers["x-request-id"] for answer in (old, new)}
    tried = board.post("ulla", grant_id=grant, reason="r", dry_run=True).json()["concerned"]
    assert tried["requests"] == len(kept(running))
    assert tried["parts"] == 2 * tried["requests"]
    assert tried["keys"] >= 1
    done = board.agree(board.propose(grant_id=grant), who="otto")
    assert done.json()["concerned"] == tried
    assert not both & kept(running)

    async def keys(session) -> list[ContentKey]:
        return list(await session.scalars(select(ContentKey)))

    rows = {row.id: row for row in in_transaction(running.settings, keys)}
    before, after = (
        rows[entries(running, answer.headers["x-request-id"], 2)[0]["detail"]["kept"]["key"]]
        for answer in (old, new)
    )
    assert before.sealed_private is None
    assert after.sealed_private is not None
    (gone,) = tags(running, before.id)
    assert (gone["tag"], gone["actor"]) == (
        "contents:key:destroyed", f"person:{board.people['otto']}")  # fmt: skip
    assert gone["detail"]["destruction"] == done.json()["destruction"]["id"]
    assert opens(running, board, asked(running)), "what is asked from now on is kept as before"


def test_it_takes_two_people_neither_the_caller(running, board):
    request_id = asked(running).headers["x-request-id"]
    what = {"request_id": request_id, "reason": "r"}
    for who in ("app", "ivy"):
        assert code(board.post(who, **what)) == (403, "not_permitted")
    assert running.admin("POST", "/contents/destructions", json=what).status_code == 401
    destruction = board.propose(request_id=request_id)
    for who in ("ulla", "ivy"):
        assert code(board.agree(destruction, who)) == (403, "not_permitted")
    researcher = running.people["researcher"]
    for role in ("auditor", "approver"):
        running.admin("PUT", f"/people/{researcher}/roles", json={"roles": [role]})
        key = running.admin("POST", "/keys", json={"person_id": researcher, "workflow": True})
        board.keys["ada"] = key.json()["key"]
        own = {"grant_id": running.grants["researcher"], "reason": "r"}
        for mine in (what, own):
            assert code(board.post("ada", **mine)) == (403, "not_permitted")
        assert code(board.agree(destruction, "ada")) == (403, "not_permitted")
    running.admin("PUT", f"/people/{researcher}/roles", json={"roles": []})
    ulla = f"/people/{board.people['ulla']}/roles"
    running.admin("PUT", ulla, json={"roles": []})
    assert "ask again" in board.agree(destruction).json()["error"]["message"]
    running.admin("PUT", ulla, json={"roles": ["auditor"]})
    assert request_id in kept(running)
    assert board.agree(destruction).status_code == 200
    assert code(board.agree(destruction, "otto")) == (409, "conflict")


@pytest.mark.parametrize("who", ["ulla", "app"])
def test_who_loses_a_role_at_this_moment_is_no_longer_one_of_two(running, board, who):
    request_id = asked(running).headers["x-request-id"]
    destruction = board.propose(request_id=request_id)
    answer = as_a_role_goes(board, who, lambda: board.agree(destruction))
    assert answer.status_code == 403, answer.text
    assert request_id in kept(running)


def test_what_somebody_has_asked_to_read_is_not_destroyed(running, board):
    request_id = asked(running).headers["x-request-id"]
    destruction = board.propose(request_id=request_id)
    opening = board.ask(request_id, "otto")
    refused = board.agree(destruction)
    assert code(refused) == (409, "conflict")
    assert request_id in refused.json()["error"]["message"]
    assert code(board.agree(board.propose(grant_id=running.grants["researcher"]))) == (
        409, "conflict")  # fmt: skip
    assert board.call("app", f"/{opening}/approve").status_code == 200
    assert board.agree(destruction).status_code == 409
    assert board.call("otto", f"/{opening}/release").status_code == 200
    assert board.agree(destruction).status_code == 200


def test_a_week_later_the_word_has_lapsed(running, board):
    destruction = board.propose(request_id=asked(running).headers["x-request-id"])

    async def age(session) -> None:
        mine = update(ContentDestruction).where(ContentDestruction.id == destruction)
        await session.execute(mine.values(asked_at=datetime.now(UTC) - 7 * DAY))

    in_transaction(running.settings, age)
    assert "lapsed" in board.agree(destruction).json()["error"]["message"]


def test_what_is_not_there_or_not_said(board):
    for what in ({"request_id": "req_" + "0" * 32}, {"grant_id": str(uuid4())}):
        assert code(board.post("ulla", reason="r", **what)) == (404, "not_found")
    assert code(board.agree("none")) == (404, "not_found")
    both = {"request_id": "req_" + "0" * 32, "grant_id": "x"}
    for what in ({}, both):
        assert code(board.post("ulla", reason="r", **what)) == (400, "invalid_request")


def test_the_verbs_do_the_same(running, board, tmp_path, capsys, monkeypatch):
    settings = running.settings
    request_id = asked(running).headers["x-request-id"]
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(settings.secret_file))
    if settings.database_url:
        monkeypatch.setenv("AIRLOCK_DATABASE_URL", settings.database_url)
    for name in ("ulla", "app"):
        (tmp_path / name).write_text(board.keys[name])
    words = ["--home", str(settings.home), "contents"]
    ulla, app = (["--key-file", str(tmp_path / name)] for name in ("ulla", "app"))
    destroy = [*words, "destroy", "--request", request_id, "--reason", "case 13", *ulla]
    assert main(destroy) == 0
    assert "this was a dry run" in capsys.readouterr().out
    assert main([*destroy, "--submit", "--json"]) == 0
    destruction = json.loads(capsys.readouterr().out)["destruction"]["id"]
    agree = [*words, "approve-destruction", destruction, "--submit"]
    assert main([*agree, *ulla]) == 2
    assert request_id in kept(running)
    assert main([*agree, *app]) == 0
    assert request_id not in kept(running)
    capsys.readouterr()
    assert main([*words, "destructions", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["approved_by"] == board.people["app"]
