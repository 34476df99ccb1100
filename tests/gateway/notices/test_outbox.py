"""The outbox: nothing is lost by a crash, nothing is sent by two gateways, nothing told twice."""

import json
import signal
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from types import SimpleNamespace
from urllib.parse import urlsplit

import anyio
import pytest
from sqlalchemy import select, update

from gateway.cli.tables import in_transaction, operator, with_database
from gateway.controlplane import grants, keys, people, webhooks
from gateway.controlplane.key_schemas import KeyIn
from gateway.controlplane.notice_schemas import WebhookIn
from gateway.controlplane.schemas import GrantIn, PersonIn
from gateway.controlplane.webhooks import record_gone
from gateway.db import Database
from gateway.identity.peppers import load_peppers
from gateway.identity.secret import load_secret
from gateway.metrics import Metrics
from gateway.notices.delivery import Failed
from gateway.notices.keys import notice_keys
from gateway.notices.mail import AT_A_TIME as MAILS_AT_A_TIME
from gateway.notices.mail import Mailer
from gateway.notices.postman import CHANNELS, Postman
from gateway.notices.reminders import remind
from gateway.notices.webhooks import Caller
from gateway.policy.notices import Event
from gateway.tables import Address, Grant, Notice, Webhook
from tests.fakes.mail_server import mail_server
from tests.fakes.receiver import Receiver
from tests.gateway.conftest import make_settings
from tests.servers import serving, wait_for

NOW = datetime.now(UTC)
BY = {"actor": "test", "now": NOW}
GIVEN = ("home", "secret_file", "database_url", "webhook_hosts", "webhook_private")
SENDER = """
import json, sys
from gateway.settings import Settings
from tests.gateway.notices.test_outbox import send
send(Settings(**json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def receiver():
    fake = Receiver()
    with serving(fake, lifespan="off") as url:
        yield fake, url


@pytest.fixture
def told(settings, receiver):
    """Settings, with one program that is told of everything, and a person with a grant."""
    fake, url = receiver
    fake.received.clear()
    fake.mode = "ok"
    settings = settings.model_copy(
        update={"webhook_hosts": (urlsplit(url).netloc,), "webhook_private": True}
    )
    made = notice_keys(load_secret(settings))

    async def work(session) -> str:
        given = WebhookIn(url=url)
        await webhooks.add_webhook(session, given, settings=settings, keys=made, **BY)
        given = PersonIn(name="Ada", organisation="x", tier="researcher")
        return (await people.add_person(session, given, **BY)).id

    return settings, in_transaction(settings, work)


@contextmanager
def grant_in(settings, person, *, fails: bool = False):
    async def work(session) -> str:
        given = GrantIn(person_id=person, domain="capitals", reason="r")
        grant = await grants.create_grant(session, given, **BY)
        if fails:
            raise ZeroDivisionError
        return grant.id

    yield in_transaction(settings, work)


def rows(settings) -> list[Notice]:
    async def work(session) -> list[Notice]:
        return list(await session.scalars(select(Notice).order_by(Notice.created_at)))

    return in_transaction(settings, work)


def send(settings) -> int:
    """Send as a gateway does that has just started; return how many were taken."""

    async def main(database: Database) -> int:
        caller, taken = Caller(settings), 0
        made = notice_keys(load_secret(settings))
        postman = Postman(settings, database, made, Metrics("0"), record_gone)
        for channel in CHANNELS:
            while some := await postman.send_some(channel, caller):
                taken += some
        await caller.close()
        return taken

    return with_database(settings, main)


def give_address(settings, person) -> None:
    async def work(session) -> None:
        verified = {"email": "ada@lab.example", "verified_at": NOW, "verified_by": "mail"}
        session.add(Address(id="a", person_id=person, **verified))

    in_transaction(settings, work)


def make_keys(settings, person, number: int) -> None:
    """Make keys of a person, who is told of each."""
    peppers = load_peppers(settings, load_secret(settings))

    async def work(session) -> None:
        for _ in range(number):
            await keys.create_key(
                session,
                KeyIn(person_id=person),
                peppers=peppers,
                maker=operator(BY["now"]),
                now=BY["now"],
            )

    in_transaction(settings, work)


def test_a_change_and_its_notices_are_there_together_or_not_at_all(told):
    settings, person = told
    with pytest.raises(ZeroDivisionError), grant_in(settings, person, fails=True):
        pass
    assert rows(settings) == []
    with grant_in(settings, person) as grant:
        found = rows(settings)
    assert {(row.event, row.subject, row.state) for row in found} == {
        ("grant.created", grant, "waiting")
    }
    assert len(found) == 2, "the holder and the program"


def test_a_crash_between_the_commit_and_the_sending_loses_nothing(told, receiver):
    """The row is all that there is after a SIGKILL; another gateway finds it."""
    settings, person = told
    with grant_in(settings, person):
        pass
    assert receiver[0].received == []
    assert send(settings) == 2
    assert len(receiver[0].received) == 1
    assert {row.state for row in rows(settings)} == {"sent", "dropped"}
    assert send(settings) == 0


def test_a_gateway_that_is_killed_while_it_sends_loses_nothing(told, receiver):
    """SIGKILL in the midst of an attempt: its lease ends, and the id stays the same."""
    settings, person = told
    with grant_in(settings, person):
        pass
    receiver[0].mode = "slow"
    values = settings.model_dump(mode="json", include=set(GIVEN))
    program = subprocess.Popen([sys.executable, "-c", SENDER, json.dumps(values)])
    wait_for(lambda: receiver[0].received, 30)
    program.kill()
    assert program.wait() == -signal.SIGKILL
    receiver[0].mode = "ok"
    hook = next(row for row in rows(settings) if row.webhook_id)
    assert (hook.state, hook.attempts) == ("waiting", 0)
    send(settings)
    assert len(receiver[0].received) == 1, "its lease holds"

    async def later(session) -> None:
        await session.execute(update(Notice).values(next_at=NOW - timedelta(seconds=1)))

    in_transaction(settings, later)
    send(settings)
    assert len({one.headers["webhook-id"] for one in receiver[0].received}) == 1
    assert len({one.body for one in receiver[0].received}) == 1
    assert len(receiver[0].received) == 2
    assert "waiting" not in {row.state for row in rows(settings)}


def test_gateways_at_the_same_time_do_not_send_the_same(told, receiver):
    settings, person = told
    make_keys(settings, person, 30)
    threads = [threading.Thread(target=send, args=(settings,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # A gateway that found the database busy gives up for once; whatever is left is sent now.
    send(settings)
    ids = [one.headers["webhook-id"] for one in receiver[0].received]
    assert len(ids) == 30
    assert len(set(ids)) == 30
    assert "waiting" not in {row.state for row in rows(settings)}


def test_who_has_lost_a_notice_to_another_gateway_does_not_write_to_it(told):
    settings, person = told
    with grant_in(settings, person):
        pass

    async def main(database: Database) -> None:
        caller = Caller(settings)
        postman = Postman(
            settings, database, notice_keys(load_secret(settings)), Metrics("0"), record_gone
        )
        async with database.transaction() as session:
            taken = await postman._take(session, "webhook", datetime.now(UTC))
        async with database.transaction() as session:
            await session.execute(update(Notice).values(claim=Notice.claim + 1))
        for notice in taken:
            await postman._attempt(notice, caller)
        await caller.close()

    with_database(settings, main)
    assert {row.state for row in rows(settings)} == {"waiting"}


def test_a_fault_of_ours_is_an_attempt_and_not_for_ever(told):
    """As when the gateway's secret was replaced: what it has sealed opens no more."""
    settings, person = told
    with grant_in(settings, person):
        pass

    async def spoil(session) -> None:
        await session.execute(update(Webhook).values(secret="sealed under another secret"))

    in_transaction(settings, spoil)
    send(settings)
    hook = next(row for row in rows(settings) if row.webhook_id)
    assert (hook.state, hook.attempts, hook.problem) == ("waiting", 1, "a fault: InvalidToken")


def test_a_reminder_is_left_once_whoever_looks(told):
    settings, person = told
    with grant_in(settings, person) as grant:
        pass
    before_end = timedelta(days=6)

    async def look(session) -> None:
        expires = (await session.get_one(Grant, grant)).expires_at
        for _ in range(2):
            await remind(session, expires - before_end)
        await remind(session, expires - timedelta(hours=2))
        await remind(session, expires + timedelta(hours=2))

    async def both(database: Database) -> None:
        async with database.transaction() as session:
            await look(session)
        async with database.transaction() as session:
            await look(session)

    with_database(settings, both)
    found = [row for row in rows(settings) if row.event != Event.GRANT_CREATED]
    per_person = sorted(row.event for row in found if row.person_id)
    assert per_person == ["grant.expired", "grant.expiring", "grant.expiring"]
    assert len(found) == 2 * len(per_person)


def test_two_gateways_that_look_at_the_same_time_leave_one_reminder(told):
    settings, person = told
    with grant_in(settings, person) as grant:
        pass

    def look() -> None:
        async def work(session) -> None:
            expires = (await session.get_one(Grant, grant)).expires_at
            await remind(session, expires - timedelta(days=6))

        in_transaction(settings, work)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len([row for row in rows(settings) if row.event == "grant.expiring"]) == 2


def test_a_clock_that_was_a_year_ahead_keeps_no_reminder_back(told, monkeypatch):
    settings, person = told
    settings = settings.model_copy(
        update={"notice_remind_seconds": 0.05, "notice_poll_seconds": 0.02}
    )
    with grant_in(settings, person) as grant:
        pass

    def set_wall(at: datetime) -> None:
        monkeypatch.setattr(
            "gateway.notices.postman.datetime", SimpleNamespace(now=lambda zone: at)
        )

    async def main(database: Database) -> None:
        async with database.transaction() as session:
            expires = (await session.get_one(Grant, grant)).expires_at
        set_wall(expires + timedelta(days=365))
        made = notice_keys(load_secret(settings))
        looking = Postman(settings, database, made, Metrics("0"), record_gone)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(looking._look)
            await anyio.sleep(0.5)
            set_wall(expires - timedelta(days=6))
            with anyio.move_on_after(10):
                while not await has_reminder(database):  # noqa: ASYNC110 - a row
                    await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()

    async def has_reminder(database: Database) -> bool:
        async with database.transaction() as session:
            mine = select(Notice.id).where(Notice.event == Event.GRANT_EXPIRING)
            return (await session.scalars(mine)).first() is not None

    with_database(settings, main)
    assert [row.event for row in rows(settings) if row.person_id][1:] == ["grant.expiring"]


def test_without_a_mail_server_a_mail_is_dropped_and_costs_nothing(told):
    settings, person = told
    with grant_in(settings, person):
        pass
    send(settings)
    mail = next(row for row in rows(settings) if row.person_id)
    assert (mail.state, mail.problem) == ("dropped", "no mail server is set")


def test_a_mail_server_that_is_dead_fails_no_change_and_is_asked_again(told):
    settings, person = told
    dead = {"mail_host": "127.0.0.1", "mail_port": 9, "mail_from": "a@b.example"}
    settings = settings.model_copy(update=dead)
    give_address(settings, person)
    with grant_in(settings, person):
        pass
    send(settings)
    mail = next(row for row in rows(settings) if row.person_id)
    assert (mail.state, mail.attempts) == ("waiting", 1)
    assert mail.problem == "the mail server did not take it: ConnectionRefusedError"
    assert mail.next_at > NOW + timedelta(seconds=20)


def test_a_mail_server_that_is_slow_gets_each_mail_once(told, tmp_path):
    """Each of its answers comes in time; all of them take longer than three may, for two rounds."""
    settings, person = told
    give_address(settings, person)
    make_keys(settings, person, MAILS_AT_A_TIME + 1)
    with mail_server(tmp_path) as server:
        server.answer_seconds = 0.8
        slow = server.settings(mail_timeout_seconds=1.2, webhook_timeout_seconds=1.2)
        send(settings.model_copy(update=slow))
    mails = [row for row in rows(settings) if row.person_id]
    assert {(row.state, row.attempts, row.problem) for row in mails} == {("sent", 1, None)}
    ids = sorted(message["message-id"] for _, message in server.received)
    assert ids == sorted(f"<{row.id}@gateway.example>" for row in mails)


def test_a_mail_is_not_begun_that_is_given_up_before_its_end(request, tmp_path):
    """The greeting comes in drops, each of them in time."""
    said: list[bytes] = []

    class InDrops(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for one in b"220 " + 45 * b"." + b"\r\n":
                self.wfile.write(bytes([one]))
                time.sleep(0.1)
            for line in self.rfile:
                said.append(line[:4].upper())
                self.wfile.write(b"221 bye\r\n" if said[-1] == b"QUIT" else b"250 OK\r\n")

    message = EmailMessage()
    message["From"], message["To"] = "airlock@gateway.example", "ada@lab.example"
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), InDrops) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = {"mail_host": "127.0.0.1", "mail_port": server.server_address[1]}
        quick = {"mail_security": "none", "mail_timeout_seconds": 0.5, "mail_from": message["From"]}
        settings = make_settings(request, tmp_path, "sqlite", **own, **quick)
        with pytest.raises(Failed) as failed:
            anyio.run(Mailer(settings).send, "ada@lab.example", message)
        server.shutdown()
    assert failed.value.reason == "the mail server did not take it: TimeoutError"
    assert said == [b"QUIT"]
