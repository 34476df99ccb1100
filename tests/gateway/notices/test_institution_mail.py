"""The institution mail loop by a real SMTP server: who shows the code reads the address."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import anyio
import httpx
import pytest
from sqlalchemy import select, update

from gateway.cli.tables import in_transaction, with_database
from gateway.controlplane import institution_mail
from gateway.db import Database
from gateway.identity.principal import Member
from gateway.identity.secret import load_secret
from gateway.notices.keys import notice_keys
from gateway.tables import EvidenceItem, InstitutionMail, Person
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.workflow import LATER, acceptance
from tests.servers import wait_for

DAY = timedelta(days=1)
NO_ADDRESSES = [
    "", "ada", "@lab.example", "ada@example", "ada@gmail.com", "ada@mail.lab.example",
    "ada@lab.example.evil.example", "ada@lab.example\nBcc: eve@evil.example", "ada@lab.example\r\n",
    "<ada@lab.example>", "ada@lab.example,eve@evil.example", "eve@evil.example ada@lab.example",
    "a@b@lab.example", "ada@lab.example.", "ada@[127.0.0.1]", "ada@127.0.0.1", "å@lab.example",
    "ada@lab.example\u0000", "a" * 65 + "@lab.example", "=?utf-8?q?ada?=@lab.example",
    "=?utf-8?q?eve=40evil.example?=@lab.example", "ada%evil.example@lab.example",
    "evil.example!ada@lab.example",
]  # fmt: skip
ASK, CONFIRM = "/me/institution-mail", "/me/institution-mail/confirm"
DOMAINS = ["lab.example", "cs.lab.example", "bücher.example"]


@pytest.fixture(autouse=True)
def listed(office) -> Iterator[None]:
    """The Lab has domains, nobody has asked for anything, and nothing was shown."""
    set_domains(office, DOMAINS)
    office.mail.received.clear()
    yield
    shift(office, 3 * DAY)
    for item in office.admin("GET", "/evidence?limit=1000").json():
        if item["kind"] == "institution_mail" and item["retracted_at"] is None:
            office.admin("POST", f"/evidence/{item['id']}/retract")


def set_domains(office, domains: list[str]) -> httpx.Response:
    path = f"/organisations/{office.workflow.organisations['The Lab']}"
    return office.admin("PATCH", path, mail_domains=domains)


def shift(office, by: timedelta) -> None:
    """Let every mail have been asked for so much earlier."""

    async def work(session) -> None:
        for row in await session.scalars(select(InstitutionMail)):
            row.asked_at, row.expires_at = row.asked_at - by, row.expires_at - by

    in_transaction(office.running.settings, work)


def move(office, who: str, organisation: str) -> None:
    async def work(session) -> None:
        mine = update(Person).where(Person.id == office.workflow.people[who])
        await session.execute(mine.values(organisation=organisation))

    in_transaction(office.running.settings, work)


def ask(office, who: str, email: str) -> httpx.Response:
    return office.call(who, "POST", ASK, email=email)


def mailed(office, email: str) -> str:
    text = wait_for(lambda: office.mail.text(email, "your address"))
    return re.findall(r"code=(\S+)", text)[0]


def asked(office, who: str, email: str) -> str:
    """Return the code of a mail to somebody."""
    answer = ask(office, who, email)
    assert answer.status_code == 202, answer.text
    return mailed(office, email)


def confirm(office, who: str, given: str) -> httpx.Response:
    return office.call(who, "POST", CONFIRM, code=given)


def test_who_reads_the_address_has_evidence_that_the_gateway_asserts_and_a_reviewer_judges(office):
    given = asked(office, "ada", "Ada+airlock@lab.example")
    assert office.mail.was_encrypted[-1]
    item = confirm(office, "ada", given).json()
    assert (item["kind"], item["asserted_by"]) == ("institution_mail", "system")
    assert item["source"] == "mail to @lab.example, of The Lab"
    assert item["accepted_at"] is None, "it is evidence, and no approval"
    assert code(confirm(office, "ada", given)) == (404, "not_found"), "good once"
    path = f"/evidence/{item['id']}/accept"
    for who in ("ada", "mate"):
        assert code(office.call(who, "POST", path, **acceptance("system"))) == (
            403, "not_permitted",
        )  # fmt: skip
    for by in ("so", "peer", "unknown"):
        refused = office.call("ivy", "POST", path, **acceptance(by))
        assert code(refused) == (400, "invalid_request")
    far = (datetime.now(UTC) + 200 * DAY).isoformat()
    too_long = office.call("ivy", "POST", path, **acceptance("system", far))
    assert code(too_long) == (400, "invalid_request")
    accepted = office.workflow.must("ivy", "POST", path, **acceptance("system", LATER))
    assert accepted["asserted_at"] == item["asserted_at"], "the gateway's own moment stays"
    assert datetime.fromisoformat(accepted["expires_at"]) == datetime.fromisoformat(LATER)


def test_the_code_is_one_persons(office):
    given = asked(office, "ada", "ada@lab.example")
    for who in ("mate", "ivy", "nobody"):
        assert code(confirm(office, who, given)) == (404, "not_found")
    ask(office, "mate", "mate@lab.example")
    assert code(confirm(office, "mate", given)) == (404, "not_found")
    assert confirm(office, "ada", given).status_code == 201


def test_of_many_who_show_a_code_at_once_one_makes_evidence(office):
    given = asked(office, "ada", "ada@lab.example")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: confirm(office, "ada", given).status_code, range(8)))
    assert sorted(answers) == [201] + [404] * 7


def test_of_many_who_ask_at_once_one_is_sent_a_mail(office):
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: ask(office, "ada", "ada@lab.example").status_code, range(8))
        )
    assert sorted(answers) == [202] + [429] * 7
    mailed(office, "ada@lab.example")
    assert len(office.mail.subjects("ada@lab.example")) == 1


def test_five_wrong_codes_end_it_and_each_is_in_the_log(office):
    given = asked(office, "ada", "ada@lab.example")
    tag = {"tag": "contact:institution_mail:refused", "limit": 1000}
    before = len(office.running.admin("GET", "/audit-events", params=tag).json())
    for _ in range(5):
        assert code(confirm(office, "ada", given[:-1] + "-")) == (404, "not_found")
    assert code(confirm(office, "ada", given)) == (404, "not_found")
    assert len(office.running.admin("GET", "/audit-events", params=tag).json()) == before + 5


def test_an_hour_later_and_after_another_mail_it_is_not_good(office):
    given = asked(office, "ada", "ada@lab.example")
    shift(office, timedelta(hours=1))
    assert code(confirm(office, "ada", given)) == (404, "not_found")
    office.mail.received.clear()
    again = asked(office, "ada", "ada@lab.example")
    assert code(confirm(office, "ada", given)) == (404, "not_found")
    assert confirm(office, "ada", again).status_code == 201


def test_what_is_no_address_of_the_institution_is_refused_and_gets_no_mail(office):
    for email in NO_ADDRESSES:
        answer = ask(office, "ada", email)
        assert code(answer) == (400, "invalid_request"), email
        error = answer.json()["error"]
        assert error["param"] == "email"
        assert "evil" not in error["message"]
    assert ask(office, "ada", "ada@lab.example").status_code == 202, "nothing of it was counted"


def test_an_address_that_the_mail_server_refuses_is_given_up_without_an_alert(office):
    office.mail.mode = "refused"
    mail = ask(office, "ada", "nobody@lab.example").json()["id"]

    def row() -> dict:
        waiting = office.notices(event="institution_mail.to_confirm")
        return next(row for row in waiting if row["subject"] == mail)

    wait_for(lambda: row()["state"] != "waiting")
    assert (row()["state"], row()["problem"]) == ("dropped", "the address was refused")


def test_a_listed_sub_domain_and_another_spelling_count(office):
    assert confirm(office, "ada", asked(office, "ada", "ada@cs.lab.example")).status_code == 201
    shift(office, DAY)
    answer = ask(office, "ada", "ada@BÜCHER.example")
    assert answer.json()["email"] == "ada@xn--bcher-kva.example"
    given = mailed(office, "ada@xn--bcher-kva.example")
    assert "@xn--bcher-kva.example" in confirm(office, "ada", given).json()["source"]


def test_nobody_fills_a_mailbox_from_here_nor_learns_whose_it_is(office):
    asked(office, "ada", "ada@lab.example")
    soon = ask(office, "ada", "other@lab.example")
    assert code(soon) == (429, "rate_limit_exceeded")
    assert 0 < int(soon.headers["retry-after"]) <= 600
    for spelling in ("ADA@lab.example", "ada+x@lab.example"):
        shift(office, timedelta(minutes=10))
        asked(office, "ada", spelling)
    shift(office, timedelta(minutes=10))
    enough = ask(office, "ada", "ada@lab.example")
    assert code(enough) == (429, "rate_limit_exceeded")
    assert int(enough.headers["retry-after"]) > 80_000
    assert len(office.mail.received) == 3
    # The fourth to that mailbox, by another person: the answer is as ever, and nothing is sent.
    silent, usual = (
        ask(office, "mate", "Ada+y@lab.example"),
        {"id", "email", "asked_at", "expires_at"},
    )
    assert (silent.status_code, set(silent.json())) == (202, usual)
    waiting = office.notices(event="institution_mail.to_confirm")
    assert silent.json()["id"] not in {row["subject"] for row in waiting}


def test_of_those_who_ask_at_once_in_two_organisations_no_more_are_sent_a_mail(office):
    """Each is of another organisation that lists the domain, so they share no lock of one."""
    settings, mailbox = office.running.settings, "shared@lab.example"
    asked(office, "ada", mailbox)
    shift(office, timedelta(minutes=10))
    asked(office, "ada", mailbox)
    board = f"/organisations/{office.workflow.organisations['Board']}"
    office.admin("PATCH", board, mail_domains=["lab.example"])
    keys, now = notice_keys(load_secret(settings)), datetime.now(UTC)

    async def one(database: Database, who: str, asked: anyio.Event, end: anyio.Event) -> None:
        member = Member("k", office.workflow.people[who])
        async with database.transaction() as session:
            given = {"member": member, "settings": settings, "keys": keys, "now": now}
            row = await institution_mail.ask(session, mailbox, **given)
            ids.append(row.id)
            asked.set()
            await end.wait()

    async def both(database: Database) -> None:
        first, second, end = anyio.Event(), anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, database, "mate", first, end)
            await first.wait()
            tasks.start_soon(one, database, "rex", second, end)
            with anyio.move_on_after(0.5):
                await second.wait()
            end.set()

    ids: list[str] = []
    with_database(settings, both)
    told = {row["subject"] for row in office.notices(event="institution_mail.to_confirm")}
    assert [row in told for row in ids] == [True, False], "the third mail of the day, and no fourth"
    office.admin("PATCH", board, mail_domains=[])


def test_a_mailbox_stands_for_one_person(office):
    assert confirm(office, "ada", asked(office, "ada", "lab@lab.example")).status_code == 201
    office.mail.received.clear()
    given = asked(office, "mate", "lab+mate@lab.example")
    assert code(confirm(office, "mate", given)) == (409, "conflict")
    (item,) = [
        row for row in office.call("ada", "GET", "/evidence").json()
        if row["kind"] == "institution_mail" and row["retracted_at"] is None
    ]  # fmt: skip
    office.workflow.must("ada", "POST", f"/evidence/{item['id']}/retract")
    assert confirm(office, "mate", given).status_code == 201


def test_what_has_changed_meanwhile_counts(office):
    given = asked(office, "ada", "ada@lab.example")
    set_domains(office, ["cs.lab.example"])
    assert code(confirm(office, "ada", given)) == (400, "invalid_request")
    set_domains(office, DOMAINS)
    office.workflow.organisation("The Lab", "suspended")
    assert code(confirm(office, "ada", given)) == (409, "conflict")
    assert code(ask(office, "ada", "ada@lab.example")) == (409, "conflict")
    office.workflow.organisation("The Lab", "verified")
    move(office, "ada", "o")
    assert code(confirm(office, "ada", given)) == (409, "conflict")
    move(office, "ada", "The Lab")
    item = confirm(office, "ada", given).json()
    move(office, "ada", "o")
    accept = f"/evidence/{item['id']}/accept"
    assert code(office.call("ivy", "POST", accept, **acceptance("system"))) == (409, "conflict")
    move(office, "ada", "The Lab")
    assert office.call("ivy", "POST", accept, **acceptance("system")).status_code == 200


def test_what_was_shown_for_an_organisation_counts_no_more_for_who_is_moved(office):
    accepted = confirm(office, "ada", asked(office, "ada", "ada@lab.example")).json()["id"]
    path = f"/evidence/{accepted}/accept"
    office.workflow.must("ivy", "POST", path, **acceptance("system"))
    other = office.workflow.must("ada", "POST", "/evidence", kind="orcid", source="0")["id"]
    person = f"/people/{office.workflow.people['ada']}"
    office.mail.received.clear()
    shift(office, DAY)
    given = asked(office, "ada", "ada@cs.lab.example")

    def retracted(item: str) -> str | None:
        rows = office.workflow.must("ada", "GET", "/evidence?limit=1000")
        return next(row["retracted_by"] for row in rows if row["id"] == item)

    assert office.admin("PATCH", person, organisation="THE LAB").status_code == 200
    assert retracted(accepted) is None, "it is the same organisation"
    assert office.admin("PATCH", person, organisation="o").status_code == 200
    assert str(retracted(accepted)).startswith("admin")
    assert retracted(other) is None, "nothing says of which organisation it is"
    assert code(confirm(office, "ada", given)) == (409, "conflict")
    events = office.admin("GET", f"/audit-events?subject={accepted}").json()
    assert "workflow:evidence:retracted" in {event["tag"] for event in events}
    assert office.admin("PATCH", person, organisation="The Lab").status_code == 200
    assert retracted(accepted) is not None, "for ever"


def test_nobody_writes_it_down_by_hand(office):
    by_hand = office.call("ada", "POST", "/evidence", kind="institution_mail", source="my word")
    assert code(by_hand) == (400, "invalid_request")

    async def of_before(session) -> None:
        for name, by in (("old", "unknown"), ("imported", "system")):
            session.add(
                EvidenceItem(
                    id=name, person_id=office.workflow.people["ada"], kind="institution_mail",
                    source="test", created_at=datetime.now(UTC), asserted_by=by,
                )
            )  # fmt: skip

    in_transaction(office.running.settings, of_before)
    for name, status in (("old", 400), ("imported", 409)):
        answer = office.call("ivy", "POST", f"/evidence/{name}/accept", **acceptance("system"))
        assert answer.status_code == status, answer.text


def test_a_free_mail_service_is_no_organisations_and_administrators_alone_list_domains(office):
    free = ["gmail.com", "GMail.com", "x.gmail.com", "outlook.com", "proton.me", "tuta.io"]
    for domain in [*free, "edu", "a_b.example", "-x.example", "127.0.0.1", "ada@lab.example", ""]:
        assert code(set_domains(office, [domain])) == (400, "invalid_request"), domain
    shown = set_domains(office, ["LAB.example", "lab.example", "Bücher.example"]).json()
    assert shown["mail_domains"] == ["lab.example", "xn--bcher-kva.example"]
    path = f"/organisations/{office.workflow.organisations['The Lab']}"
    for who in ("ada", "ivy"):
        refused = office.call(who, "PATCH", path, mail_domains=["evil.example"])
        assert code(refused) == (403, "not_permitted")
    events = office.admin("GET", "/audit-events?limit=1&tag=workflow:organisation:changed").json()
    assert events[0]["detail"]["mail_domains"] == ["lab.example", "xn--bcher-kva.example"]
    assert set_domains(office, []).json()["mail_domains"] == []
    assert code(ask(office, "ada", "ada@lab.example")) == (400, "invalid_request")


def test_only_the_mail_holds_the_code_and_a_used_row_no_address(office):
    given = asked(office, "ada", "ada@lab.example")

    async def rows(session) -> str:
        found = await session.execute(select(*InstitutionMail.__table__.columns))
        return str(found.all())

    assert given not in in_transaction(office.running.settings, rows)
    confirm(office, "ada", given)
    assert "ada@lab.example" not in in_transaction(office.running.settings, rows)
    assert "@" not in str(office.notices(event="institution_mail.to_confirm"))

    async def unused(session) -> int:
        await session.execute(
            update(InstitutionMail).where(InstitutionMail.evidence_id.is_(None)).values(
                asked_at=datetime.now(UTC) - 2 * DAY
            )
        )  # fmt: skip
        return 0

    ask(office, "mate", "mate@lab.example")
    in_transaction(office.running.settings, unused)
    wait_for(lambda: "mate@lab.example" not in in_transaction(office.running.settings, rows))
