"""The verification workflow through HTTP, on SQLite and on PostgreSQL."""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from sqlalchemy import select, update

from gateway.cli.tables import in_transaction
from gateway.controlplane import applications, organisations, person_changes
from gateway.controlplane.changes import Tag
from gateway.controlplane.schemas import PersonChange
from gateway.controlplane.verification_schemas import AcceptanceIn
from gateway.identity.grant_terms import load_grants
from gateway.identity.principal import Member
from gateway.tables import Grant
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.workflow import Workflow, acceptance, content


@pytest.fixture(scope="module")
def shared(running) -> Workflow:
    """A workflow whose applicant is verified, for tests that leave no grant behind."""
    workflow = Workflow(running)
    workflow.verify()
    return workflow


def test_from_an_application_to_the_base_door_and_every_way_back(fresh):
    workflow = Workflow(fresh)
    assert workflow.base() == 403
    items = workflow.verify()
    application = workflow.to_grant()
    (grant,) = application["grants"]
    approvers = {workflow.people["dan"], workflow.people["app"]}
    assert {who.removeprefix("person:") for who in grant["approved_by"].split(", ")} == approvers
    assert grant["domain"] == "capitals"
    assert grant["application_id"] == application["id"]
    lasts = datetime.fromisoformat(grant["expires_at"]) - datetime.fromisoformat(
        grant["not_before"]
    )
    assert lasts == timedelta(days=90)
    assert workflow.base() == 200
    again = workflow.step("ada", application, "grants", terms=workflow.terms)
    assert (again.status_code, again.json()["grants"]) == (200, application["grants"])

    workflow.organisation("The Lab", "suspended")
    assert workflow.base() == 403
    workflow.organisation("The Lab", "verified")
    assert workflow.base() == 200

    path = f"/grants/{grant['id']}"
    workflow.must("dan", "POST", f"{path}/suspend", reason="odd use")
    assert workflow.base() == 403
    assert code(workflow.call("dan", "POST", f"{path}/resume")) == (403, "not_permitted")
    assert code(workflow.call("ada", "POST", f"{path}/resume")) == (403, "not_permitted")
    assert code(workflow.call("mate", "POST", f"{path}/resume")) == (403, "not_permitted")
    workflow.must("app", "POST", f"{path}/resume")
    assert workflow.base() == 200
    review = {"outcome": "continue", "rationale": "as declared"}
    reviewed = workflow.must("dan", "POST", f"{path}/usage-reviews", **review)
    assert reviewed["usage_review_due_at"] > grant["usage_review_due_at"]

    workflow.must("ivy", "POST", f"/evidence/{items['training']}/retract")
    assert workflow.base() == 403
    explained = workflow.must(
        "ada", "GET", f"/explain?person_id={workflow.people['ada']}&model=smollm2:base"
    )
    assert (explained["effect"], explained["rule"]) == ("deny", "grant_required")
    assert "verification has lapsed" in str(explained["grounds"])
    given = {"kind": "training", "domain": "capitals", "source": "again"}
    item = workflow.must("ada", "POST", "/evidence", **given)["id"]
    assert workflow.base() == 403, "what nobody has accepted counts for nothing"
    workflow.must("ivy", "POST", f"/evidence/{item}/accept", **acceptance("so"))
    assert workflow.base() == 200

    soon = datetime.now(UTC) + timedelta(seconds=2)
    terms = workflow.admin("POST", "/terms", text="New.", mandatory_from=soon.isoformat()).json()
    while datetime.now(UTC) < soon:
        fresh.wait_until_seen()
    assert workflow.base() == 403, "the terms in force are not accepted"
    workflow.must("ada", "POST", f"/terms/{terms['digest']}/accept")
    assert workflow.base() == 200

    review["outcome"] = "revoke"
    assert workflow.must("app", "POST", f"{path}/usage-reviews", **review)["revoked_at"]
    assert workflow.base() == 403
    for who, last in (("app", "resume"), ("dan", "usage-reviews")):
        body = {"json": review} if last == "usage-reviews" else {}
        answer = workflow.call(who, "POST", f"{path}/{last}", **body.get("json", {}))
        assert code(answer) == (409, "conflict"), "revoked is final"


def test_steps_at_the_same_time_follow_one_another(fresh):
    """Two approvals at once are both seen; the last step taken five times makes one grant."""
    workflow = Workflow(fresh)
    workflow.verify()
    application = workflow.to_approval(workflow.apply("capitals"))

    def until_served(step):
        """SQLite turns away a writer whose view is old; such a caller tries again."""
        while (answer := step()).status_code == 503:
            pass
        return answer.json()

    with ThreadPoolExecutor(5) as threads:
        list(
            threads.map(
                lambda who: until_served(lambda: workflow.judge(who, application, "approve")),
                ("dan", "app", "rex"),
            )
        )
        shown = workflow.must("ada", "GET", f"/applications/{application['id']}")
        assert shown["state"] == "approved"
        given = {"terms": workflow.terms}
        answers = list(
            threads.map(
                lambda _: until_served(
                    lambda: workflow.step("ada", application, "grants", **given)
                ),
                range(5),
            )
        )
    grants = {grant["id"] for answer in answers for grant in answer["grants"]}
    assert len(grants) == 1
    whose = workflow.people["ada"]
    assert len(workflow.admin("GET", f"/grants?person_id={whose}").json()) == 1


def test_who_has_had_a_grant_taken_away_does_not_take_it_back_alone(fresh):
    """By an application that was approved before: of these there may be any number."""
    workflow = Workflow(fresh)
    workflow.verify()
    before, half, other = workflow.to_approved(), workflow.apply("capitals"), workflow.to_approved()
    workflow.to_approval(half)
    assert workflow.judge("dan", half, "approve").status_code == 200

    def refused(application: dict, because: str) -> None:
        answer = workflow.step("ada", application, "grants", terms=workflow.terms)
        assert code(answer) == (409, "conflict"), answer.text
        assert because in answer.json()["error"]["message"]
        assert workflow.must("ada", "GET", path(application))["state"] == "approved"

    def path(application: dict) -> str:
        return f"/applications/{application['id']}"

    grant = f"/grants/{workflow.to_grant()['grants'][0]['id']}"
    refused(other, "is there until")
    workflow.must("dan", "POST", f"{grant}/suspend", reason="odd use")
    refused(other, "was suspended after")
    assert workflow.base() == 403
    workflow.must("app", "POST", f"{grant}/resume")
    review = {"outcome": "revoke", "rationale": "misuse"}
    workflow.must("dan", "POST", f"{grant}/usage-reviews", **review)
    assert workflow.judge("app", half, "approve").json()["state"] == "approved"
    for application in (before, half, other):
        refused(application, "was revoked after")
    assert workflow.base() == 403
    # A new review knows of it.
    edited = workflow.must(
        "ada", "PUT", path(before), digest=before["digest"], **content("capitals")
    )
    workflow.to_approval(edited)
    for who in ("dan", "app"):
        assert workflow.judge(who, edited, "approve").status_code == 200
    assert workflow.step("ada", edited, "grants", terms=workflow.terms).status_code == 200
    assert workflow.base() == 200


@pytest.mark.parametrize("hours", [-1, 1])
def test_what_was_taken_away_first_is_so_by_no_gateways_clock(fresh, hours):
    """One that runs behind another, or ahead of it, dates what it does so."""
    workflow = Workflow(fresh)
    workflow.verify()
    before = workflow.to_approved()
    grant = workflow.to_grant()["grants"][0]["id"]
    workflow.admin("POST", f"/grants/{grant}/revoke")
    by_its_clock = update(Grant).where(Grant.id == grant)
    by_its_clock = by_its_clock.values(revoked_at=datetime.now(UTC) + timedelta(hours=hours))
    in_transaction(fresh.settings, lambda session: session.execute(by_its_clock))
    after = workflow.to_approved()
    accept = {"terms": workflow.terms}
    assert code(workflow.step("ada", before, "grants", **accept)) == (409, "conflict")
    assert workflow.step("ada", after, "grants", **accept).status_code == 200


@pytest.mark.parametrize("taken", ["role", "state"])
def test_a_grant_takes_two_who_may_approve_also_at_that_moment(fresh, taken):
    """One approver's role was taken away, or they were suspended, while the grant was made."""
    workflow = Workflow(fresh)
    workflow.verify()
    application, app = workflow.to_approved(), workflow.people["app"]
    held = threading.Event()

    async def take(session) -> None:
        by = {"actor": "test", "now": datetime.now(UTC)}
        if taken == "role":
            await organisations.set_roles(session, app, [], **by)
        else:
            change = PersonChange(state="suspended")
            await person_changes.change_person(session, app, change, **by)
        held.set()
        await anyio.sleep(0.5)  # By now the last step has read who may approve, or waits.

    with ThreadPoolExecutor(1) as threads:
        taking = threads.submit(in_transaction, fresh.settings, take)
        assert held.wait(10)
        answer = workflow.step("ada", application, "grants", terms=workflow.terms)
        taking.result()
    assert code(answer) == (409, "conflict"), answer.text
    assert "two approvals" in answer.json()["error"]["message"]


def test_a_renewal_waits_for_the_end_of_what_it_renews(fresh):
    workflow = Workflow(fresh)
    workflow.verify()
    first, renewal = workflow.to_grant(), workflow.to_approved()
    accept = {"terms": workflow.terms}
    assert code(workflow.step("ada", renewal, "grants", **accept)) == (409, "conflict")
    grants = select(Grant.id).where(Grant.application_id == first["id"])

    async def end(session, **values) -> None:
        await session.execute(update(Grant).where(Grant.id.in_(grants)).values(**values))

    now = datetime.now(UTC)
    overdue = {"usage_review_due_at": now - timedelta(days=1)}
    # The end is when the renewal has lapsed: nothing begins so long after its approval.
    late = overdue | {"expires_at": now + timedelta(days=30, minutes=1)}
    in_transaction(fresh.settings, lambda session: end(session, **late))
    assert code(workflow.step("ada", renewal, "grants", **accept)) == (409, "conflict")
    over = {"not_before": now - timedelta(days=90), "expires_at": now - timedelta(seconds=1)}
    in_transaction(fresh.settings, lambda session: end(session, **over))
    renewed = workflow.step("ada", renewal, "grants", **accept)
    assert (renewed.status_code, renewed.json()["state"]) == (200, "granted")
    assert workflow.base() == 200


@pytest.fixture
def renewed(fresh) -> tuple[Workflow, dict[str, str], datetime]:
    """A workflow, the ids of a grant and of its renewal, and when the one ends."""
    workflow = Workflow(fresh)
    workflow.verify()
    first, renewal = workflow.to_grant()["grants"][0]["id"], workflow.to_approved()
    ends_at = datetime.now(UTC) + timedelta(days=29)
    soon = update(Grant).where(Grant.id == first).values(expires_at=ends_at)
    in_transaction(fresh.settings, lambda session: session.execute(soon))
    accepted = workflow.step("ada", renewal, "grants", terms=workflow.terms)
    assert accepted.status_code == 200, accepted.text
    (grant,) = accepted.json()["grants"]
    return workflow, {"first": first, "renewal": grant["id"]}, ends_at


def states(workflow: Workflow, ids: dict[str, str]) -> dict[str, str | None]:
    """Return what was done to grants, by their names here."""
    shown = workflow.admin("GET", f"/grants?person_id={workflow.people['ada']}").json()
    rows = {row["id"]: row for row in shown}
    return {
        name: rows[grant]["revoked_by"] or rows[grant]["suspended_by"]
        for name, grant in ids.items()
    }


def test_a_renewal_that_is_accepted_before_the_end_begins_at_it(renewed):
    workflow, ids, ends_at = renewed
    shown = workflow.admin("GET", f"/grants?person_id={workflow.people['ada']}").json()
    grant = next(row for row in shown if row["id"] == ids["renewal"])
    begins, due = (
        datetime.fromisoformat(grant[name]) for name in ("not_before", "usage_review_due_at")
    )
    assert begins == ends_at
    assert due == ends_at + timedelta(days=45)
    assert datetime.fromisoformat(grant["expires_at"]) == ends_at + timedelta(days=90)
    terms = in_transaction(
        workflow.running.settings, lambda session: load_grants(session, {workflow.people["ada"]})
    )[workflow.people["ada"]]
    moment = timedelta(microseconds=1)
    for now in (ends_at - timedelta(days=20), ends_at - moment, ends_at, ends_at + moment):
        live = [each.id for each in terms if each.state(now) == "active"]
        assert live == [ids["first" if now < ends_at else "renewal"]]
    assert workflow.base() == 200
    third = workflow.to_approved()
    refused = workflow.step("ada", third, "grants", terms=workflow.terms)
    assert code(refused) == (409, "conflict"), "one grant waits at most"


def test_a_renewal_is_taken_away_with_what_it_renews(renewed):
    workflow, ids, _ = renewed
    dan, path = f"person:{workflow.people['dan']}", f"/grants/{ids['first']}"
    workflow.must("dan", "POST", f"{path}/suspend", reason="odd use")
    assert states(workflow, ids) == {"first": dan, "renewal": dan}
    assert code(workflow.call("dan", "POST", f"/grants/{ids['renewal']}/resume")) == (
        (403, "not_permitted")
    )
    workflow.must("app", "POST", f"{path}/resume")
    assert states(workflow, ids) == {"first": None, "renewal": None}
    review = {"outcome": "revoke", "rationale": "misuse"}
    workflow.must("dan", "POST", f"{path}/usage-reviews", **review)
    assert states(workflow, ids) == {"first": dan, "renewal": dan}
    events = workflow.admin("GET", f"/audit-events?subject={ids['renewal']}").json()
    assert [event["tag"] for event in events] == [
        Tag.GRANT_REVOKED,
        Tag.GRANT_RESUMED,
        Tag.GRANT_SUSPENDED,
        Tag.GRANT_CREATED,
    ]


def test_what_is_suspended_or_no_grant_of_the_workflow_is_not_renewed_before_its_end(fresh):
    """Nor one that a shorter tier ends: in a longer one it could go on beside its renewal."""
    workflow = Workflow(fresh)
    workflow.verify()
    first = workflow.to_grant()["grants"][0]["id"]
    workflow.must("dan", "POST", f"/grants/{first}/suspend", reason="odd use")
    renewal, now = workflow.to_approved(), datetime.now(UTC)
    soon = {"expires_at": now + timedelta(days=9)}
    usual = soon | {"suspended_at": None, "suspended_by": None}
    by_hand = usual | {"application_id": None, "usage_review_due_at": None}
    shortened = usual | {"not_before": now - timedelta(days=175)}

    async def change(session, **values) -> None:
        await session.execute(update(Grant).where(Grant.id == first).values(**values))

    for values in (soon, by_hand, shortened):
        in_transaction(fresh.settings, functools.partial(change, **values))
        refused = workflow.step("ada", renewal, "grants", terms=workflow.terms)
        assert "is there until" in refused.json()["error"]["message"], values


def test_of_a_revocation_and_a_renewal_at_once_no_renewal_is_left(fresh):
    workflow = Workflow(fresh)
    workflow.verify()
    first, renewal = workflow.to_grant()["grants"][0]["id"], workflow.to_approved()
    soon = update(Grant).where(Grant.id == first)
    soon = soon.values(expires_at=datetime.now(UTC) + timedelta(days=9))
    in_transaction(fresh.settings, lambda session: session.execute(soon))
    member, held = Member("key", workflow.people["ada"]), threading.Event()
    given = AcceptanceIn(digest=renewal["digest"], terms=workflow.terms)

    async def accept(session) -> None:
        now = datetime.now(UTC)
        await applications.accept_and_grant(session, renewal["id"], given, member=member, now=now)
        held.set()
        await anyio.sleep(0.5)  # By now the revocation has read what there is, or waits.

    with ThreadPoolExecutor(1) as threads:
        accepting = threads.submit(in_transaction, fresh.settings, accept)
        assert held.wait(10)
        workflow.admin("POST", f"/grants/{first}/revoke")
        accepting.result()
    shown = workflow.admin("GET", f"/grants?person_id={workflow.people['ada']}").json()
    assert len(shown) == 2
    assert all(row["revoked_at"] for row in shown)


def test_of_applications_that_are_accepted_at_once_one_makes_a_grant(fresh):
    workflow = Workflow(fresh)
    workflow.verify()
    approved = [workflow.to_approved() for _ in range(4)]

    def accept(application: dict) -> int:
        """SQLite turns away a writer whose view is old; such a caller tries again."""
        while True:
            answer = workflow.step("ada", application, "grants", terms=workflow.terms)
            if answer.status_code != 503:
                return answer.status_code

    with ThreadPoolExecutor(len(approved)) as threads:
        assert sorted(threads.map(accept, approved)) == [200, 409, 409, 409]


def test_every_step_leaves_an_event(fresh):
    workflow = Workflow(fresh)
    items = workflow.verify()
    rejected = workflow.apply("capitals")
    rejected = workflow.must(
        "ada", "PUT", f"/applications/{rejected['id']}",
        digest=rejected["digest"], **content("capitals", days=10),
    )  # fmt: skip
    workflow.step("ada", rejected, "submit")
    workflow.step("ivy", rejected, "take-up")
    assert workflow.judge("ivy", rejected, "reject").json()["state"] == "rejected"
    assert workflow.step("ada", rejected, "appeal").json()["round"] == 2
    assert code(workflow.step("ivy", rejected, "take-up")) == (403, "not_permitted")
    assert workflow.step("rex", rejected, "take-up").json()["state"] == "identity_review"
    assert workflow.judge("rex", rejected, "return").json()["state"] == "returned"
    assert workflow.step("ada", rejected, "withdraw").json()["state"] == "withdrawn"
    grant = workflow.to_grant()["grants"][0]["id"]
    workflow.must("app", "POST", f"/grants/{grant}/suspend", reason="r")
    workflow.must("dan", "POST", f"/grants/{grant}/resume")
    review = {"outcome": "continue", "rationale": "r"}
    workflow.must("dan", "POST", f"/grants/{grant}/usage-reviews", **review)
    workflow.must("ada", "POST", f"/evidence/{items['training']}/retract")
    closure = workflow.must("dan", "POST", "/closures", reason="r")["id"]
    opening = workflow.must("rex", "POST", f"/closures/{closure}/lift", reason="r")["id"]
    workflow.must("app", "POST", f"/openings/{opening}/confirm")
    events = workflow.admin("GET", "/audit-events?limit=1000").json()
    workflow_tags = {str(tag) for tag in Tag if tag.startswith("workflow:")}
    assert {event["tag"] for event in events} >= workflow_tags, "a tag that nothing emits"
    for event in events:
        if event["tag"].startswith("workflow:application:"):
            assert event["actor"].startswith("person:")


def test_two_approvers_neither_the_applicant_nor_their_colleague(shared):
    application = shared.to_approval(shared.apply("capitals"))
    for who in ("ada", "mate", "ivy", "eve", "nobody"):
        assert code(shared.judge(who, application, "approve")) == (403, "not_permitted"), who
    for _ in range(2):
        answer = shared.judge("dan", application, "approve").json()
        assert answer["state"] == "approval"
        assert len([said for said in answer["statements"] if said["kind"] == "approval"]) == 1
    refused = shared.step("ada", application, "grants", terms=shared.terms)
    assert code(refused) == (409, "conflict")
    assert shared.judge("app", application, "approve").json()["state"] == "approved"
    edited = shared.must(
        "ada", "PUT", f"/applications/{application['id']}",
        digest=application["digest"], **content("capitals", "rivers"),
    )  # fmt: skip
    assert edited["state"] == "draft"
    assert edited["digest"] != application["digest"]
    assert code(shared.judge("dan", application, "approve")) == (409, "conflict")
    shared.step("ada", edited, "submit")
    assert code(shared.step("ivy", application, "take-up")) == (409, "conflict")
    shared.step("ivy", edited, "take-up")
    shared.judge("ivy", edited, "pass")
    assert code(shared.judge("eve", edited, "pass")) == (409, "conflict"), "no training for rivers"
    assert shared.judge("dan", edited, "pass").json()["state"] == "domain_review"


def test_grants_need_the_terms_in_force_and_a_tier_that_holds_them(shared):
    application = shared.to_approval(shared.apply("capitals"))
    for who in ("dan", "app"):
        shared.judge(who, application, "approve")
    wrong = shared.step("ada", application, "grants", terms="sha256:" + "0" * 64)
    assert code(wrong) == (409, "conflict")
    other = shared.step("dan", application, "grants", terms=shared.terms)
    assert code(other) == (403, "not_permitted")
    person = f"/people/{shared.people['ada']}"
    shared.admin("PATCH", person, tier="public")
    assert code(shared.step("ada", application, "grants", terms=shared.terms)) == (409, "conflict")
    shared.admin("PATCH", person, tier="researcher")
    assert shared.must("ada", "GET", f"/applications/{application['id']}")["grants"] == []
    shared.organisation("The Lab", "suspended")
    assert code(shared.step("ada", application, "grants", terms=shared.terms)) == (409, "conflict")
    shared.organisation("The Lab", "verified")


def test_an_approver_who_is_one_no_more_opens_nothing(shared):
    application = shared.to_approval(shared.apply("capitals"))
    for who in ("dan", "app"):
        assert shared.judge(who, application, "approve").status_code == 200
    roles, person = f"/people/{shared.people['app']}/roles", f"/people/{shared.people['app']}"
    for change, back in (
        (("PUT", roles, {"roles": []}), ("PUT", roles, {"roles": ["approver"]})),
        (("PATCH", person, {"state": "suspended"}), ("PATCH", person, {"state": "active"})),
    ):
        shared.admin(*change[:2], **change[2])
        refused = shared.step("ada", application, "grants", terms=shared.terms)
        shared.admin(*back[:2], **back[2])
        assert code(refused) == (409, "conflict")
        assert "two approvals" in refused.json()["error"]["message"]
    assert shared.step("ada", application, "withdraw").status_code == 200


def test_a_second_return_by_the_same_reviewer_keeps_its_reasons(shared):
    application = shared.to_approval(shared.apply("capitals"))
    assert shared.judge("dan", application, "return", rationale="one").status_code == 200
    path, digest = f"/applications/{application['id']}", application["digest"]
    again = shared.must("ada", "PUT", path, digest=digest, **content("capitals"))
    said = shared.judge("dan", shared.to_approval(again), "reject", rationale="two").json()
    against = [(one["decision"], one["rationale"]) for one in said["statements"]]
    assert [one for one in against if one[0] != "pass"] == [("return", "one"), ("reject", "two")]


REFUSALS = {
    "an unknown field": ("/applications", content("capitals", tier="x"),
                         (400, "unsupported_parameter")),
    "every domain": ("/applications", content(), (400, "invalid_request")),
    "a domain twice": ("/applications", content("bio", "bio"), (400, "invalid_request")),
    "a domain's evidence for none": ("/evidence", {"kind": "training", "source": "x"},
                                     (400, "invalid_request")),
    "a person's evidence for a domain": (
        "/evidence", {"kind": "orcid", "source": "x", "domain": "bio"}, (400, "invalid_request")),
    "no such application": ("/applications/no/submit", {"digest": "sha256:" + "0" * 64},
                            (404, "not_found")),
    "no such evidence": ("/evidence/no/retract", {}, (404, "not_found")),
    "no such grant": ("/grants/no/resume", {}, (404, "not_found")),
    "no such terms": ("/terms/no/accept", {}, (404, "not_found")),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body", "expected"), list(REFUSALS.values()), ids=list(REFUSALS))
def test_refusals(shared, path, body, expected):
    assert code(shared.call("ada", "POST", path, **body)) == expected


def test_evidence_is_accepted_by_an_independent_reviewer_from_a_source_that_counts(shared):
    item = shared.must("ada", "POST", "/evidence", kind="orcid", source="0000-0000")["id"]
    path = f"/evidence/{item}/accept"
    for who in ("ada", "mate", "dan", "nobody"):
        assert code(shared.call(who, "POST", path, **acceptance("so"))) == (403, "not_permitted")
    for by in ("self", "unknown", "peer"):
        assert code(shared.call("ivy", "POST", path, **acceptance(by))) == (400, "invalid_request")
    over = acceptance("so", "2020-01-01T00:00:00+00:00")
    assert code(shared.call("ivy", "POST", path, **over)) == (400, "invalid_request")
    no_word = acceptance("so") | {"no_conflict": False}
    assert code(shared.call("ivy", "POST", path, **no_word)) == (400, "invalid_request")
    shared.must("ivy", "POST", path, **acceptance("so"))
    assert code(shared.call("ivy", "POST", path, **acceptance("so"))) == (409, "conflict")
    assert code(shared.call("dan", "POST", f"/evidence/{item}/retract")) == (403, "not_permitted")


def test_a_moment_that_is_of_no_year_is_the_callers_fault_and_not_the_databases(shared):
    item = shared.must("ada", "POST", "/evidence", kind="federation", source="x")["id"]
    given = acceptance("system", "9999-12-31T23:59:59-12:00")
    refused = shared.call("ivy", "POST", f"/evidence/{item}/accept", **given)
    assert code(refused) == (400, "invalid_request")


def test_evidence_is_accepted_for_no_longer_than_five_years(shared):
    item = shared.must("ada", "POST", "/evidence", kind="federation", source="x")["id"]
    path, now = f"/evidence/{item}/accept", datetime.now(UTC)
    for end in ("9999-12-01T00:00:00+00:00", (now + timedelta(days=5 * 366 + 1)).isoformat()):
        refused = shared.call("ivy", "POST", path, **acceptance("system", end))
        assert code(refused) == (400, "invalid_request")
        assert "five years" in refused.text
    long = (now + timedelta(days=5 * 366 - 1)).isoformat()
    shared.must("ivy", "POST", path, **acceptance("system", long))


def test_people_see_their_own_and_reviewers_see_all(shared):
    application = shared.apply("capitals")
    path = f"/applications/{application['id']}"
    assert code(shared.call("nobody", "GET", path)) == (404, "not_found")
    assert shared.must("nobody", "GET", "/applications") == []
    whose = f"person_id={shared.people['ada']}"
    for listing in (f"/applications?{whose}", f"/evidence?{whose}", f"/explain?{whose}&model=x"):
        assert code(shared.call("nobody", "GET", listing)) == (403, "not_permitted")
        assert shared.call("ivy", "GET", listing).status_code == 200
    assert shared.must("ivy", "GET", path)["purpose"] == "to test"
    assert shared.admin("GET", path).json()["id"] == application["id"]


def test_a_workflow_key_is_its_owners_and_opens_no_other_door(shared):
    key = shared.keys["rex"]
    assert code(shared.running.chat(key)) == (401, "invalid_api_key")
    assert code(shared.call("rex", "GET", "/people")) == (403, "not_permitted")
    application = shared.apply("capitals")
    answer = shared.running.admin(
        "POST", f"/applications/{application['id']}/take-up", json={"digest": "sha256:" + "0" * 64}
    )
    assert code(answer) == (401, "invalid_api_key"), "an administrator is nobody's reviewer"
    shared.admin("PATCH", f"/people/{shared.people['nobody']}", state="suspended")
    assert code(shared.call("nobody", "GET", "/applications")) == (401, "revoked_api_key")
    shared.admin("PATCH", f"/people/{shared.people['nobody']}", state="active")
    both = {"admin": True, "workflow": True}
    assert code(shared.running.admin("POST", "/keys", json=both)) == (400, "invalid_request")


@pytest.mark.parametrize("role", ["root", "domain_reviewer", "approver:bio", "domain_reviewer:"])
def test_unknown_roles_are_refused(shared, role):
    path = f"/people/{shared.people['nobody']}/roles"
    answer = shared.running.admin("PUT", path, json={"roles": [role]})
    assert code(answer) == (400, "invalid_request")
    assert shared.admin("GET", path).json()["roles"] == []


def test_terms_begin_one_after_the_other(shared):
    earlier = {"text": "Between.", "mandatory_from": "2020-01-01T00:00:00+00:00"}
    assert code(shared.running.admin("POST", "/terms", json=earlier)) == (400, "invalid_request")
    last = {"text": "For ever.", "mandatory_from": "9999-01-01T00:00:00+00:00"}
    assert code(shared.running.admin("POST", "/terms", json=last)) == (400, "invalid_request")
    same = {"text": "Be careful.", "mandatory_from": "2036-01-01T00:00:00+00:00"}
    assert code(shared.running.admin("POST", "/terms", json=same)) == (409, "conflict")


def test_the_explanation_is_what_the_door_does(shared):
    checkpoints = {
        f"{row['family']}:{row['label']}": row["checkpoint"]
        for row in shared.admin("GET", "/aliases").json()
    }
    people = shared.running.people | {"ada": shared.people["ada"]}
    rules = {200: {"covered_by_grants", "forgets_every_hazard"}, 403: {"grant_required"},
             404: {"unknown_model"}}  # fmt: skip
    for who in ("public", "researcher", "ada"):
        for model in ("smollm2", "smollm2:base", "smollm2:unlearned", "smollm2:no", "no"):
            answer = shared.running.chat(who, model)
            path = f"/explain?person_id={people[who]}&model={model}"
            explained = shared.admin("GET", path).json()
            assert explained["rule"] in rules[answer.status_code], (who, model)
            assert (explained["effect"] == "allow") is (answer.status_code == 200)
            if answer.status_code == 200:
                served = answer.headers["x-airlock-checkpoint"]
                assert served == checkpoints[explained["served"]]
    unknown = shared.running.admin("GET", "/explain?person_id=no&model=smollm2")
    assert code(unknown) == (404, "not_found")
