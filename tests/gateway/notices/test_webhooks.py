"""Webhooks to a real receiver: signed by the standard, tried again, never led elsewhere."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from sqlalchemy import select
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from gateway.cli.tables import in_transaction
from gateway.tables import Webhook
from tests.gateway.controlplane.test_admin_api import code
from tests.servers import wait_for

# What differs between the databases is in the tests of mail and of the outbox.
pytestmark = pytest.mark.parametrize("office", ["postgresql"], indirect=True)


@pytest.fixture
def hook(office):
    """A webhook of its own for a test."""
    office.receiver.received.clear()
    made = office.add_webhook(f"/{time.monotonic_ns()}", events=["door.closed"])
    made["path"] = "/" + made["url"].rpartition("/")[2]
    yield made
    office.admin("DELETE", f"/webhooks/{made['id']}")


def close(office) -> str:
    """Do something that programs are told of."""
    closure = office.workflow.must("dan", "POST", "/closures", domain="rivers", reason="secret")
    return closure["id"]


def came(office, hook) -> list:
    return [one for one in list(office.receiver.received) if one.path == hook["path"]]


def row_of(office, hook, subject) -> dict:
    return next(
        row for row in office.notices(event="door.closed")
        if (row["webhook_id"], row["subject"]) == (hook["id"], subject)
    )  # fmt: skip


def test_a_webhook_is_signed_by_the_standard(office, hook):
    closure = close(office)
    (one,) = wait_for(lambda: came(office, hook))
    body = Verifier(hook["secret"]).verify(one.body, one.headers)
    assert body["type"] == "door.closed"
    assert body["data"] == {"subject": closure, "closure": closure}
    assert b"secret" not in one.body
    assert one.headers["webhook-id"] == row_of(office, hook, closure)["id"]
    for wrong in (
        {"webhook-id": "another"},
        {"webhook-timestamp": str(int(one.headers["webhook-timestamp"]) + 1)},
    ):
        with pytest.raises(WebhookVerificationError):
            Verifier(hook["secret"]).verify(one.body, one.headers | wrong)
    with pytest.raises(WebhookVerificationError):
        Verifier(hook["secret"]).verify(one.body + b" ", one.headers)
    wait_for(lambda: row_of(office, hook, closure)["state"] == "sent")


def test_two_secrets_sign_while_one_is_replaced(office, hook):
    path = f"/webhooks/{hook['id']}"
    new = office.admin("POST", f"{path}/rotate", overlap_hours=1).json()
    assert new["secret"] != hook["secret"]
    close(office)
    (one,) = wait_for(lambda: came(office, hook))
    for secret in (hook["secret"], new["secret"]):
        Verifier(secret).verify(one.body, one.headers)
    newest = office.admin("POST", f"{path}/rotate", overlap_hours=0).json()
    close(office)
    _, two = wait_for(lambda: len(came(office, hook)) == 2 and came(office, hook))
    Verifier(newest["secret"]).verify(two.body, two.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(new["secret"]).verify(two.body, two.headers)
    shown = office.admin("GET", "/webhooks").text
    assert newest["secret"] not in shown

    async def stored(session) -> list[str]:
        return list(await session.scalars(select(Webhook.secret)))

    assert all("whsec" not in text for text in in_transaction(office.running.settings, stored))


@pytest.mark.parametrize("mode", [500, 429, 302, "elsewhere", "slow"])
def test_what_does_not_take_it_is_asked_again_under_the_same_id(office, hook, mode):
    office.receiver.mode = mode
    closure = close(office)
    wait_for(lambda: row_of(office, hook, closure)["attempts"] >= 1)
    assert row_of(office, hook, closure)["state"] == "waiting"
    office.receiver.mode = "ok"
    wait_for(lambda: row_of(office, hook, closure)["state"] == "sent")
    got = came(office, hook)
    assert len({one.headers["webhook-id"] for one in got}) == 1
    assert len({one.body for one in got}) == 1
    assert len(got) >= 2
    assert not [one for one in office.receiver.received if one.path == "/inside"]


@pytest.fixture
def asks_for_time(office):
    """A receiver that refuses, with what is set as `Retry-After`."""
    yield office.receiver.headers
    office.receiver.mode, office.receiver.headers = "ok", {}


def in_ten_minutes() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)


@pytest.mark.parametrize(
    ("say", "least", "most"),
    [
        pytest.param(lambda: "600", 580, 600, id="seconds"),
        pytest.param(in_ten_minutes, 580, 600, id="date"),
        pytest.param(lambda: "999999999", 21_580, 21_600, id="too long"),
    ],
)
def test_a_receiver_that_says_when_is_asked_again_then(
    office, hook, asks_for_time, say, least, most
):
    office.receiver.mode, asks_for_time["retry-after"] = 503, say()
    closure = close(office)
    wait_for(lambda: row_of(office, hook, closure)["attempts"] >= 1)
    next_at = datetime.fromisoformat(row_of(office, hook, closure)["next_at"])
    assert least < (next_at - datetime.now(UTC)).total_seconds() <= most
    assert len(came(office, hook)) == 1


@pytest.mark.parametrize("said", ["0", "-1", "soon", "Fri, 99 Xyz 2026"])
def test_a_receiver_that_says_nothing_of_use_is_asked_as_usual(office, hook, asks_for_time, said):
    office.receiver.mode, asks_for_time["retry-after"] = 503, said
    closure = close(office)
    wait_for(lambda: row_of(office, hook, closure)["attempts"] >= 3)


def test_a_slow_receiver_holds_up_neither_requests_nor_mail(office, hook):
    email = office.give_address("ada")
    office.receiver.mode = "slow"
    office.mail.received.clear()
    close(office)
    wait_for(lambda: came(office, hook))
    began = time.monotonic()
    assert office.running.chat("public").status_code == 200
    office.admin("POST", "/keys", person_id=office.workflow.people["ada"])
    wait_for(lambda: office.mail.text(email, "new key"))
    assert time.monotonic() - began < 3, "as long as it sleeps"


def test_who_is_gone_is_told_no_more(office, hook):
    office.receiver.mode = 410
    closure = close(office)
    wait_for(lambda: row_of(office, hook, closure)["state"] == "dropped")
    office.receiver.mode = "ok"
    shown = {row["id"]: row for row in office.admin("GET", "/webhooks").json()}
    assert shown[hook["id"]]["ended_at"] is not None
    (gone,) = office.admin("GET", "/audit-events?tag=contact:webhook:gone").json()
    assert (gone["actor"], gone["subject"]) == ("gateway", hook["id"])
    again = close(office)
    assert [row for row in office.notices(event="door.closed") if row["subject"] == again
            and row["webhook_id"] == hook["id"]] == []  # fmt: skip


def test_only_what_was_asked_for_comes(office, hook):
    office.admin("POST", "/keys", person_id=office.workflow.people["nobody"])
    close(office)
    wait_for(lambda: came(office, hook))
    assert {json.loads(one.body)["type"] for one in came(office, hook)} == {"door.closed"}
    private = office.admin(
        "POST", "/webhooks", url=office.receiver_url, events=["address.changing"]
    )
    assert code(private) == (400, "invalid_request")


def test_a_host_that_is_not_listed_any_more_gets_nothing(office, hook, monkeypatch):
    refused = office.admin("POST", "/webhooks", url="http://169.254.169.254/latest/meta-data")
    assert code(refused) == (400, "invalid_request")
    settings = office.running.settings.model_copy(update={"webhook_hosts": ()})
    monkeypatch.setattr("gateway.notices.webhooks.check_destination", _with(settings))
    closure = close(office)
    wait_for(lambda: row_of(office, hook, closure)["state"] == "dead")
    assert "AIRLOCK_WEBHOOK_HOSTS" in row_of(office, hook, closure)["problem"]
    assert came(office, hook) == []
    metric = 'airlock_notices_total{channel="webhook",outcome="dead"}'
    wait_for(lambda: office.running.metric(metric) >= 1)
    wait_for(lambda: office.running.metric("airlock_notices_dead") >= 1)
    monkeypatch.undo()
    again = office.admin("POST", f"/notices/{row_of(office, hook, closure)['id']}/resend")
    assert again.status_code == 200
    wait_for(lambda: came(office, hook))


def _with(settings):
    from gateway.notices.destinations import check_destination

    return lambda url, _: check_destination(url, settings)


def test_a_webhook_that_was_taken_away_cannot_be_changed(office, hook):
    assert office.admin("DELETE", f"/webhooks/{hook['id']}").status_code == 204
    assert code(office.admin("DELETE", f"/webhooks/{hook['id']}")) == (409, "conflict")
    assert code(office.admin("DELETE", "/webhooks/none")) == (404, "not_found")
    assert httpx.get(office.receiver_url).status_code == 204
