"""Mail by a real SMTP server: addresses that are confirmed, and who is told what."""

import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import httpx
import pytest
from sqlalchemy import select, update

from gateway.cli.tables import in_transaction
from gateway.controlplane.changes import Tag
from gateway.identity.secret import Secret
from gateway.notices.delivery import Dropped, Failed
from gateway.notices.keys import notice_keys
from gateway.notices.letters import Sender, letter
from gateway.notices.mail import Mailer
from gateway.notices.recipients import _to_confirm, moment_text
from gateway.policy.notices import Event
from gateway.tables import Address, AuditEntry, Notice
from tests.fakes.mail_server import mail_server
from tests.gateway.conftest import make_settings
from tests.gateway.controlplane.test_admin_api import code
from tests.servers import PLAIN, wait_for


def test_a_code_is_no_option_on_a_command_line():
    keys = notice_keys(Secret(b"s" * 32))
    for number in range(200):
        assert re.fullmatch("[A-Z2-7]{52}", keys.code("a", "ada@lab.example", str(number)))


def test_a_mail_of_an_earlier_request_does_not_bring_the_code_of_a_later_one():
    keys, now = notice_keys(Secret(b"s" * 32)), datetime(2026, 6, 1, tzinfo=UTC)
    address = Address(
        id="a", person_id="p", pending_email="ada@lab.example", nonce="n",
        pending_until=now + timedelta(hours=1), asked_at=now,
    )  # fmt: skip
    mail = Notice(data={"asked_at": moment_text(address)})
    assert _to_confirm(address, mail, keys, now).email == "ada@lab.example"
    address.asked_at = now + timedelta(minutes=11)
    with pytest.raises(Dropped):
        _to_confirm(address, mail, keys, now)


@pytest.mark.parametrize("local", ["=?utf-8?q?ada?=", "=?utf-8?q?eve=40evil.example?=", "a, b"])
def test_no_mail_is_written_whose_header_names_another_mailbox(local):
    now, sender = datetime(2026, 6, 1, tzinfo=UTC), Sender("airlock@gateway.example", None)
    assert written(sender, "a.=?b@lab.example", now)["to"] == "a.=?b@lab.example"
    with pytest.raises(Failed) as failed:
        written(sender, f"{local}@lab.example", now)
    assert failed.value.is_final


def written(sender: Sender, to: str, now: datetime) -> EmailMessage:
    return letter(sender, to, "n", Event.KEY_CREATED, {"key": "k"}, created_at=now)


async def test_a_mail_goes_to_whom_it_is_for_and_not_to_whom_its_header_names(request, tmp_path):
    with mail_server(tmp_path) as server:
        message = EmailMessage()
        message["From"], message["To"] = "airlock@gateway.example", "eve@evil.example"
        settings = make_settings(request, tmp_path, "sqlite", **server.settings())
        await Mailer(settings).send("ada@lab.example", message)
    assert [to for to, _ in server.received] == ["ada@lab.example"]


@pytest.mark.parametrize("farewell", ["250 OK", "421 closing", "nonsense", "221-" + "x" * 9000])
@pytest.mark.parametrize("mode", ["ok", "refused"])
async def test_what_became_of_a_mail_is_known_whatever_is_said_to_quit(
    request, tmp_path, farewell, mode
):
    with mail_server(tmp_path) as server:
        server.farewell, server.mode = farewell, mode
        message = EmailMessage()
        message["From"] = "airlock@gateway.example"
        mailer = Mailer(make_settings(request, tmp_path, "sqlite", **server.settings()))
        if mode == "ok":
            await mailer.send("ada@lab.example", message)
        else:
            with pytest.raises(Failed, match="the address was refused") as failed:
                await mailer.send("ada@lab.example", message)
            assert failed.value.is_final
    assert len(server.received) == (mode == "ok")


def test_an_address_is_its_readers_once_the_link_was_opened(office):
    asked = office.call("ada", "PUT", "/me/address", email="ada@lab.example").json()
    assert (asked["email"], asked["pending_email"]) == (None, "ada@lab.example")
    text = wait_for(lambda: office.mail.text("ada@lab.example", "Confirm"))
    (link,) = re.findall(r"http://\S+", text)
    assert link.startswith(f"{office.running.url}/confirm-address/")
    assert office.mail.was_encrypted[-1]
    page = httpx.get(link, verify=PLAIN)
    assert "ada@lab.example" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"
    assert "script" not in page.text
    seen = office.call("ada", "GET", "/me/address").json()
    assert seen["email"] is None, "a program that scans mail opens links, too"
    assert (
        httpx.post(link[:-1] + ("A" if link[-1] != "A" else "B"), verify=PLAIN).status_code == 404
    )
    assert httpx.post(link, verify=PLAIN).status_code == 200
    assert httpx.post(link, verify=PLAIN).status_code == 404, "good once"
    assert httpx.get(link, verify=PLAIN).status_code == 404
    seen = office.call("ada", "GET", "/me/address").json()
    assert (seen["email"], seen["verified_by"]) == ("ada@lab.example", "mail")
    assert seen["pending_email"] is None


def test_who_may_see_and_erase_an_address(office):
    office.give_address("dan")
    path = f"/people/{office.workflow.people['dan']}/address"
    assert office.admin("GET", path).json()["email"] == "dan@lab.example"
    for who in ("ivy", "app", "nobody"):
        assert code(office.call(who, "GET", path)) == (403, "not_permitted")
    people = office.admin("GET", "/people?limit=1000").text
    assert "@lab.example" not in people
    again = office.call("dan", "PUT", "/me/address", email="other@lab.example")
    assert code(again) == (409, "conflict"), "nobody's mailbox is filled from here"
    assert office.call("dan", "DELETE", "/me/address").status_code == 204
    assert office.admin("GET", path).json()["email"] is None
    assert code(office.admin("DELETE", path)) == (404, "not_found")

    async def everything(session) -> bytes:
        leaves = b"".join(await session.scalars(select(AuditEntry.leaf)))
        rows = await session.execute(select(Address.email, Address.pending_email))
        return leaves + str(rows.all()).encode()

    assert b"dan@lab.example" not in in_transaction(office.running.settings, everything)


@pytest.mark.parametrize(
    "email",
    ["ada", "ada@lab", "a b@lab.example", "ada@lab.example\nBcc: eve@evil.example", "@lab.example",
     "<ada@lab.example>", "ada@lab.example,eve@evil.example", "a" * 65 + "@lab.example",
     "=?utf-8?q?ada?=@lab.example"],
)  # fmt: skip
def test_what_is_no_address_is_refused(office, email):
    answer = office.call("nobody", "PUT", "/me/address", email=email)
    assert code(answer) == (400, "invalid_request")


def test_the_old_address_is_told_that_another_one_was_named(office):
    old = office.give_address("app")

    async def long_ago(session) -> None:
        await session.execute(update(Address).values(asked_at=datetime(2026, 1, 1, tzinfo=UTC)))

    in_transaction(office.running.settings, long_ago)
    office.call("app", "PUT", "/me/address", email="new@lab.example")
    text = wait_for(lambda: office.mail.text(old, "about to change"))
    assert "new@lab.example" not in text
    assert office.call("app", "GET", "/me/address").json()["email"] == old
    assert office.confirm("new@lab.example").status_code == 200
    assert office.call("app", "GET", "/me/address").json()["email"] == "new@lab.example"


def test_an_applicant_is_told_of_every_state_and_of_nothing_that_was_written(office):
    email = office.give_address("ada")
    office.workflow.verify()
    office.mail.received.clear()
    application = office.workflow.to_grant()
    wanted = ["submitted", "reviewed", "passed", "approved", "complete", "new grant"]
    wait_for(lambda: all(office.mail.text(email, word) for word in wanted))
    assert len([s for s in office.mail.subjects(email) if "approved" in s]) == 1
    mails = "".join(message.as_string() for _, message in office.mail.received)
    assert application["purpose"] not in mails
    assert "as seen" not in mails
    assert application["id"] in mails
    one = office.mail.received[0][1]
    assert one["from"] == "airlock@gateway.example"
    assert one["auto-submitted"] == "auto-generated"
    ids = [message["message-id"] for _, message in office.mail.received]
    assert len(set(ids)) == len(ids)
    assert one.get_content_type() == "text/plain"
    links = set(re.findall(r"https?://[^\s/]+", mails))
    assert links == {office.running.url}


def test_a_sponsor_is_told_once_that_a_grant_has_begun_to_be_used(office):
    ada, sponsor = office.give_address("ada"), office.give_address("rex")
    (grant,) = [
        row for row in office.admin("GET", "/grants?limit=1000").json()
        if row["person_id"] == office.workflow.people["ada"] and row["revoked_at"] is None
    ] or office.workflow.to_grant()["grants"]  # fmt: skip
    path = f"/grants/{grant['id']}/sponsor"
    assert code(office.admin("GET", path)) == (404, "not_found")
    own = office.workflow.people["ada"]
    assert code(office.admin("PUT", path, person_id=own)) == (409, "conflict")
    assert code(office.admin("PUT", path)) == (400, "invalid_request")
    named = office.admin("PUT", path, person_id=office.workflow.people["rex"])
    assert named.json()["person_id"] == office.workflow.people["rex"]
    for _ in range(2):
        wait_for(lambda: office.running.chat("ada", "smollm2:base").status_code == 200)
    assert grant["id"] in wait_for(lambda: office.mail.text(sponsor, "first time"))
    assert office.mail.text(ada, "first time") is None
    rows = office.notices(event="grant.first_used")
    assert len([row for row in rows if row["subject"] == grant["id"]]) == 1
    office.workflow.call("app", "POST", f"/grants/{grant['id']}/suspend", reason="a private word")
    text = wait_for(lambda: office.mail.text(sponsor, "suspended"))
    assert "a private word" not in text
    assert office.admin("DELETE", path).status_code == 204


def test_without_a_sponsor_the_organisations_contact_is_told(office):
    organisation = next(
        row["id"] for row in office.admin("GET", "/organisations").json() if row["name"] == "o"
    )
    path = f"/organisations/{organisation}/contact"
    assert office.admin("GET", path).json()["email"] is None
    assert office.admin("PUT", path, email="office@o.example").status_code == 202
    assert office.confirm("office@o.example").status_code == 200
    assert office.admin("GET", path).json()["email"] == "office@o.example"
    assert code(office.call("app", "GET", path)) == (403, "not_permitted")
    assert office.running.chat("researcher", "smollm2:base").status_code == 200
    wait_for(lambda: office.mail.text("office@o.example", "first time"))
    assert office.admin("DELETE", path).status_code == 204
    assert office.admin("GET", path).json()["email"] is None


def test_a_person_turns_off_what_is_not_about_security(office):
    email = office.give_address("ada")
    refused = office.call("ada", "PUT", "/me/unwanted-notices", unwanted=["key.created"])
    assert code(refused) == (400, "invalid_request")
    chosen = ["application.submitted"]
    office.workflow.must("ada", "PUT", "/me/unwanted-notices", unwanted=chosen)
    shown = office.workflow.must("ada", "GET", "/me/unwanted-notices")
    assert shown["unwanted"] == chosen
    assert "key.created" not in shown["may_be_unwanted"]
    office.mail.received.clear()
    application = office.workflow.apply("capitals")
    office.workflow.step("ada", application, "submit")
    office.workflow.step("ada", application, "withdraw")
    wait_for(lambda: office.mail.text(email, "withdrawn"))
    assert office.mail.text(email, "submitted") is None
    (row,) = [
        row for row in office.notices(event="application.submitted")
        if row["subject"] == application["id"] and row["person_id"]
    ]  # fmt: skip
    assert (row["state"], row["problem"]) == ("dropped", "the person does not want it")
    office.call("ada", "PUT", "/me/unwanted-notices", unwanted=[])


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(office):
    email = office.give_address("ada")
    office.mail.mode = "busy"
    office.mail.received.clear()
    key = office.admin("POST", "/keys", person_id=office.workflow.people["ada"]).json()["id"]

    def row() -> dict:
        return next(row for row in office.notices(event="key.created") if row["subject"] == key)

    wait_for(lambda: row()["attempts"] >= 2)
    assert row()["state"] == "waiting"
    assert email not in row()["problem"]
    office.mail.mode = "refused"
    wait_for(lambda: row()["state"] == "dead")
    assert row()["problem"] == "the address was refused"
    assert office.running.metric('airlock_notices_total{channel="mail",outcome="dead"}') >= 1
    office.mail.mode = "ok"
    assert code(office.call("nobody", "POST", f"/notices/{row()['id']}/resend")) == (
        403, "not_permitted",
    )  # fmt: skip
    assert office.admin("POST", f"/notices/{row()['id']}/resend").json()["state"] == "waiting"
    assert key in wait_for(lambda: office.mail.text(email, "new key"))
    wait_for(lambda: row()["state"] == "sent")
    assert code(office.admin("POST", f"/notices/{row()['id']}/resend")) == (409, "conflict")


def test_every_contact_tag_is_emitted_and_no_address_is_in_the_log(office):
    office.give_address("eve")
    office.call("eve", "DELETE", "/me/address")
    office.admin("PUT", f"/grants/{office.running.grants['researcher']}/sponsor",
                 person_id=office.workflow.people["rex"])  # fmt: skip
    office.admin("DELETE", f"/grants/{office.running.grants['researcher']}/sponsor")
    lab = f"/organisations/{office.workflow.organisations['The Lab']}"
    office.admin("PATCH", lab, mail_domains=["lab.example"])
    office.call("mate", "POST", "/me/institution-mail", email="mate@lab.example")
    office.call("mate", "POST", "/me/institution-mail/confirm", code="x")
    hook = office.add_webhook()["id"]
    office.admin("POST", f"/webhooks/{hook}/rotate", overlap_hours=1)
    office.admin("DELETE", f"/webhooks/{hook}")
    office.receiver.mode = 410
    office.add_webhook("/gone", events=["door.closed"])
    office.workflow.must("dan", "POST", "/closures", domain="rivers", reason="r")
    gone = {"tag": Tag.WEBHOOK_GONE}
    wait_for(lambda: office.running.admin("GET", "/audit-events", params=gone).json())
    office.receiver.mode = "ok"
    events = office.running.admin("GET", "/audit-events?limit=1000&tag=contact")
    tags = {str(tag) for tag in Tag if tag.startswith("contact:")}
    assert {event["tag"] for event in events.json()} == tags
    assert "@" not in events.text
