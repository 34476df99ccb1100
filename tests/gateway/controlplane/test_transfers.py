"""Import and export of people: complete, done once, and never wider than before."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import update

from gateway.cli.tables import in_transaction, with_database
from gateway.controlplane.people_export import export_lines
from gateway.controlplane.people_import import import_lines
from gateway.controlplane.sessions import begin_session
from gateway.identity.cookie import SESSION, csrf_token
from gateway.identity.login import LoggedIn
from gateway.identity.peppers import first_pepper
from gateway.identity.proof import Assurance, Proof
from gateway.identity.secret import load_secret
from gateway.setting_types import IssuerSetting
from gateway.tables import Person
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.workflow import Workflow
from tests.servers import PLAIN

LAB = IssuerSetting(name="lab", issuer="https://lab.example")
NOW = datetime.now(UTC)
LATER = (NOW + timedelta(days=30)).isoformat()


def line(subject="zoe", **changes) -> dict:
    return {
        "record": "airlock.person/1",
        "name": "Zoe",
        "organisation": "Elsewhere",
        "tier": "public",
        "state": "active",
        "identities": [{"issuer": LAB.issuer, "subject": subject}],
    } | changes


GRANT = {
    "id": "grant-elsewhere",
    "domain": "capitals",
    "not_before": NOW.isoformat(),
    "expires_at": LATER,
    "approved_by": "person:a, person:b",
    "application": {"purpose": "To measure.", "project": "Atlas", "oversight_ref": "IRB 7"},
}
EVIDENCE = {
    "kind": "training",
    "domain": "capitals",
    "source": "Course 12",
    "asserted_by": "so",
    "asserted_at": NOW.isoformat(),
    "expires_at": LATER,
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def office(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("transfers")
    with run_gateway(make_settings(request, home, request.param), issuers=(LAB,)) as running:
        yield Workflow(running)


def bring(office, *records, dry_run=False, key=None):
    content = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in records)
    path = f"/people-import?dry_run={str(dry_run).lower()}"
    answer = office.running.admin("POST", path, content=content)
    assert answer.status_code == 200, answer.text
    return answer.json()


def exported(office, query="") -> list[dict]:
    answer = office.running.admin("GET", f"/people-export{query}")
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(one) for one in answer.text.splitlines()]


def test_a_dry_run_says_what_would_be_and_does_nothing(office):
    before = exported(office)
    found = bring(office, line("dry", evidence=[EVIDENCE], grants=[GRANT]), dry_run=True)
    assert (found["dry_run"], found["made"]) == (True, 1)
    assert any("drafted an application" in did for did in found["lines"][0]["did"])
    assert exported(office) == before


def test_a_person_comes_without_any_right_and_once(office):
    given = line("new", tier="researcher", roles=["approver"], email="zoe@lab.example",
                 evidence=[EVIDENCE], grants=[GRANT])  # fmt: skip
    given["identities"].append({"issuer": LAB.issuer, "subject": "s", "domains": ["capitals"]})
    (made,) = bring(office, given)["lines"]
    person = made["person_id"]
    assert made["outcome"] == "made"
    assert {left.partition(":")[0] for left in made["left"]} == {
        "services", "tier researcher", "email", "roles",
    }  # fmt: skip
    shown = office.admin("GET", f"/people/{person}").json()
    assert (shown["tier"], shown["state"]) == ("public", "active")
    assert office.admin("GET", f"/people/{person}/roles").json()["roles"] == []
    assert office.admin("GET", f"/grants?person_id={person}").json() == []
    (item,) = office.admin("GET", f"/evidence?person_id={person}").json()
    assert (item["accepted_at"], item["asserted_by"]) == (None, "so")
    (application,) = [
        row for row in office.admin("GET", "/applications?state=draft&limit=1000").json()
        if row["person_id"] == person
    ]  # fmt: skip
    assert (application["state"], application["purpose"]) == ("draft", "To measure.")
    assert application["statements"] == []
    explained = office.admin("GET", f"/explain?person_id={person}&model=smollm2:base").json()
    assert (explained["effect"], explained["rule"]) == ("deny", "grant_required")
    (again,) = bring(office, given)["lines"]
    assert (again["outcome"], again["person_id"], again["did"]) == ("unchanged", person, [])


def test_what_a_source_has_ended_is_accepted_for_no_longer(office):
    (made,) = bring(office, line("evidence", evidence=[EVIDENCE]))["lines"]
    (item,) = office.admin("GET", f"/evidence?person_id={made['person_id']}").json()
    given = {"asserted_by": "so", "asserted_at": NOW.isoformat(), "no_conflict": True}
    path = f"/evidence/{item['id']}/accept"
    too_long = (NOW + timedelta(days=31)).isoformat()
    refused = office.call("ivy", "POST", path, expires_at=too_long, **given)
    assert code(refused) == (400, "invalid_request")
    office.must("ivy", "POST", path, expires_at=LATER, **given)


def test_imports_at_once_that_name_the_same_new_organisations_crosswise(office):
    names = [f"New {number}" for number in range(6)]

    def of(turn: int) -> list[dict]:
        mine = names if turn % 2 else names[::-1]
        return [line(f"{turn}-{name}", organisation=name) for name in mine]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda turn: bring(office, *of(turn)), range(4)))
    assert [answer["made"] for answer in answers] == [len(names)] * 4
    shown = office.admin("GET", "/organisations?limit=1000").json()
    assert sorted(row["name"] for row in shown if row["name"] in names) == names


def test_what_a_source_holds_for_longer_is_accepted_for_five_years(office):
    far = [(NOW + timedelta(days=days)).isoformat() for days in (4000, 3999, 1800)]
    given = line("far-off", evidence=[EVIDENCE | {"expires_at": far[0]}])
    (made,) = bring(office, given)["lines"]
    (item,) = office.admin("GET", f"/evidence?person_id={made['person_id']}").json()
    given = {"asserted_by": "so", "asserted_at": NOW.isoformat(), "no_conflict": True}
    path = f"/evidence/{item['id']}/accept"
    refused = office.call("ivy", "POST", path, expires_at=far[1], **given)
    assert refused.json()["error"]["param"] == "expires_at"
    assert "five years" in refused.json()["error"]["message"]
    office.must("ivy", "POST", path, expires_at=far[2], **given)


def test_a_services_identity_is_not_its_sponsor(office):
    """Or whoever names it would suspend them."""
    given = {"issuer": "lab", "subject": "robot", "domains": []}
    bound = office.admin("POST", "/identities", person_id=office.people["ivy"], **given).json()
    (found,) = bring(office, line("robot", state="suspended"))["lines"]
    assert office.running.admin("DELETE", f"/identities/{bound['id']}").status_code == 204
    assert (found["outcome"], found["left"]) == ("refused", ["the identity is a service's here"])
    assert office.admin("GET", f"/people/{office.people['ivy']}").json()["state"] == "active"


def test_an_import_restricts_and_never_permits(office):
    (made,) = bring(office, line("back"))["lines"]
    person = made["person_id"]
    (found,) = bring(office, line("back", state="suspended"))["lines"]
    assert (found["outcome"], found["did"]) == ("changed", ["suspended"])
    assert office.admin("GET", f"/people/{person}").json()["state"] == "suspended"
    wider = line("back", tier="researcher", organisation="Another", name="Zo")
    wider["identities"].append({"issuer": LAB.issuer, "subject": "a second login"})
    (found,) = bring(office, wider)["lines"]
    assert (found["outcome"], found["did"]) == ("unchanged", [])
    assert len(found["left"]) == 5
    shown = office.admin("GET", f"/people/{person}").json()
    assert (shown["state"], shown["tier"], shown["name"]) == ("suspended", "public", "Zoe")
    identities = office.admin("GET", f"/identities?person_id={person}").json()
    assert len(identities) == 1


@pytest.mark.parametrize(
    "wrong",
    ["no json", "[]", line(record="airlock.person/2"), line(identities=[]), line(more=1),
     line(state="administrator"), line(name=""), line(grants=[GRANT | {"domain": "*"}]),
     line(identities=[{"issuer": "https://evil.example", "subject": "zoe"}]),
     line(identities=[{"issuer": LAB.issuer, "subject": "s", "domains": []}]),
     line(identities=[{"issuer": LAB.issuer, "subject": "both"}] * 2),
     line(identities=[{"issuer": LAB.issuer, "subject": "own"},
                      {"issuer": LAB.issuer, "subject": "own", "domains": []}]),
     line("far", evidence=[EVIDENCE | {"expires_at": "9999-12-31T23:59:59-12:00"}])],
)  # fmt: skip
def test_a_line_that_is_wrong_is_refused_and_the_others_are_done(office, wrong):
    number = len(exported(office))
    found = bring(office, wrong, "", line("beside"))
    assert found["lines"][0]["outcome"] == "refused"
    assert found["lines"][1]["line"] == 3
    assert found["lines"][1]["outcome"] in ("made", "unchanged")
    assert len(exported(office)) - number in (0, 1)


def test_two_lines_of_one_identity_and_one_line_of_two_people(office):
    found = bring(office, line("twice"), line("twice", state="suspended"), line("other"))
    assert [each["outcome"] for each in found["lines"]] == ["made", "refused", "made"]
    both = line("twice")
    both["identities"].append({"issuer": LAB.issuer, "subject": "other"})
    (refused,) = bring(office, both)["lines"]
    assert refused["left"] == ["its identities are two people here"]


def test_what_is_over_has_no_zone_or_was_mailed_elsewhere_is_left_out(office):
    over = {"expires_at": (NOW - timedelta(days=1)).isoformat()}
    naive = {"expires_at": "2100-01-01T00:00:00"}
    mail = {"kind": "institution_mail", "domain": None, "asserted_by": "system"}
    evidence = [EVIDENCE | over, EVIDENCE | {"domain": None}, EVIDENCE | mail]
    given = line("late", grants=[GRANT | over, GRANT | naive], evidence=evidence)
    (found,) = bring(office, given)["lines"]
    assert found["outcome"] == "made"
    assert len(found["left"]) == 5
    assert not [did for did in found["did"] if "drafted" in did or "evidence" in did]


def test_what_only_a_signature_can_say_is_not_typed_in(office):
    visa = EVIDENCE | {"kind": "affiliation_visa", "domain": None}
    (found,) = bring(office, line("visa", evidence=[visa]))["lines"]
    assert found["left"] == ["evidence affiliation_visa: its holder brings the visa"]
    assert office.admin("GET", f"/evidence?person_id={found['person_id']}").json() == []


def test_the_export_is_complete_and_comes_back_as_it_was(office, request, tmp_path):
    office.verify()
    office.to_grant()
    ada = office.people["ada"]
    given = {"issuer": "lab", "subject": "ada", "person_id": ada, "label": "login"}
    office.admin("POST", "/identities", **given)
    records = exported(office)
    mine = next(record for record in records if record["name"] == "ada")
    assert mine["identities"] == [{"issuer": LAB.issuer, "subject": "ada", "domains": None}]
    assert {each["kind"] for each in mine["evidence"]} == {
        "federation", "training", "approval_letter",
    }  # fmt: skip
    assert mine["grants"][0]["application"]["purpose"] == "to test"
    assert mine["email"] is None
    found = bring(office, *records)
    known = [each for each in found["lines"] if each["outcome"] != "refused"]
    assert {each["outcome"] for each in known} == {"unchanged"}, "nothing that is there is done"
    refused = [record for record, each in zip(records, found["lines"], strict=True)
               if each["outcome"] == "refused"]  # fmt: skip
    assert not [record for record in refused if record["identities"]]

    elsewhere = make_settings(request, tmp_path, "sqlite")
    lines = [json.dumps(mine).encode()]
    context = {"issuers": {LAB.issuer}, "actor": "test", "now": NOW}
    there = with_database(elsewhere, lambda d: import_lines(d, lines, dry_run=False, **context))
    assert there.made == 1
    assert len([did for did in there.lines[0].did if "evidence" in did]) == 3
    assert len([did for did in there.lines[0].did if "drafted" in did]) == 1

    async def lines_there(database) -> list[bytes]:
        return [one async for one in export_lines(database, NOW, with_addresses=True)]

    (back,) = [json.loads(one) for one in with_database(elsewhere, lines_there)]
    for name in ("name", "organisation", "identities", "state"):
        assert back[name] == mine[name]
    assert (back["tier"], back["evidence"], back["grants"]) == ("public", [], [])


def test_a_sponsor_of_many_services_goes_out_and_comes_back(office):
    """Services count as identities of their sponsor."""
    for number in range(40):
        given = {"issuer": "lab", "subject": f"service {number}", "domains": []}
        office.admin("POST", "/identities", person_id=office.people["rex"], **given)
    (rex,) = [record for record in exported(office) if len(record["identities"]) >= 40]
    rex["identities"].append({"issuer": LAB.issuer, "subject": "rex"})
    (found,) = bring(office, rex)["lines"]
    assert found["outcome"] == "made"


def test_what_no_import_would_take_is_exported_all_the_same(office):
    """A name, for one, may be older than what it is held to."""
    office.admin("POST", "/people", name="Una", organisation="Lab")
    unnamed = update(Person).where(Person.name == "Una").values(name="")
    in_transaction(office.running.settings, lambda session: session.execute(unnamed))
    assert [record["name"] for record in exported(office)].count("") == 1


def test_who_may_export_addresses(office):
    key = {"authorization": f"Bearer {office.keys['eve']}"}
    office.admin("PUT", f"/people/{office.people['eve']}/roles", roles=["auditor"])
    path = "/people-export"
    assert office.running.admin("GET", path, headers=key).status_code == 200
    refused = office.running.admin("GET", f"{path}?addresses=true", headers=key)
    assert code(refused) == (403, "not_permitted")
    assert code(office.running.admin("POST", "/people-import", headers=key)) == (
        403, "not_permitted",
    )  # fmt: skip
    assert office.running.admin("GET", f"{path}?addresses=true").status_code == 200
    events = office.admin("GET", "/audit-events?tag=transfer:people:exported").json()
    assert [event["detail"] for event in events][:2] == [
        {"addresses": True}, {"addresses": False},
    ]  # fmt: skip


def test_an_import_is_bounded(office):
    answer = office.running.admin("POST", "/people-import", content=b"\n" * 10_002)
    assert code(answer) == (400, "invalid_request")
    answer = office.running.admin("POST", "/people-import", content=b"x" * (16 * 1024 * 1024 + 1))
    assert code(answer) == (413, "request_too_large")


@pytest.mark.parametrize("idempotent", [True, False])
def test_who_logged_in_a_while_ago_imports_too(office, idempotent):
    """The session's row is written beside the import's own transactions; SQLite has one writer."""
    person, running = office.people["rex"], office.running
    subject = f"rex-{idempotent}"
    office.admin("POST", "/identities", issuer="lab", subject=subject, person_id=person)
    office.admin("PUT", f"/people/{person}/roles", roles=["administrator"])
    now, pepper = datetime.now(UTC), first_pepper(load_secret(running.settings))
    assurance = Assurance(LAB.issuer, None, now.timestamp())
    proof = Proof(LAB.issuer, subject, now.timestamp() + 3600, assurance)

    async def log_in(session) -> str:
        given = {"pepper": pepper, "settings": running.settings, "now": now}
        new = await begin_session(session, LoggedIn(proof, "Rex", None, None), person, **given)
        new.row.seen_at = now - timedelta(minutes=5)
        return new.secret

    secret = in_transaction(running.settings, log_in)
    headers = {
        "cookie": f"{SESSION}={secret}",
        "sec-fetch-site": "same-origin",
        "x-csrf-token": csrf_token(pepper, secret),
    } | ({"idempotency-key": subject} if idempotent else {})
    url = f"{running.url}/admin/v1/people-import?dry_run=false"
    answer = httpx.post(
        url, headers=headers, content=json.dumps(line(f"by-{subject}")), verify=PLAIN, timeout=30
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["made"] == 1
