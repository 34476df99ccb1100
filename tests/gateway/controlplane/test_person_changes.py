"""People who are renamed, and who move to another organisation: what goes with them at once."""

import pytest

from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.workflow import Workflow, content


@pytest.fixture
def workflow(fresh) -> Workflow:
    made = Workflow(fresh)
    made.verify()
    return made


def move(workflow: Workflow, who: str, organisation: str) -> dict:
    path = f"/people/{workflow.people[who]}"
    return workflow.admin("PATCH", path, organisation=organisation).json()


def state(workflow: Workflow, application: dict) -> str:
    return workflow.must("ada", "GET", f"/applications/{application['id']}")["state"]


def edit(workflow: Workflow, application: dict) -> dict:
    path, digest = f"/applications/{application['id']}", application["digest"]
    return workflow.must("ada", "PUT", path, digest=digest, **content("capitals"))


def test_a_name_is_changed_and_is_not_in_the_log(workflow):
    path = f"/people/{workflow.people['ada']}"
    shown = workflow.admin("PATCH", path, name="Ada Byron").json()
    assert (shown["name"], shown["organisation"]) == ("Ada Byron", "The Lab")
    assert workflow.admin("GET", path).json()["name"] == "Ada Byron"
    (entry,) = workflow.admin("GET", "/audit-events?limit=1").json()
    assert (entry["tag"], entry["detail"]) == ("admin:person:changed", {"name": "changed"})
    empty = workflow.running.admin("PATCH", path, json={"name": " "})
    assert code(empty) == (400, "invalid_request")


def test_what_waits_comes_back_to_who_has_moved_and_names_the_new_organisation(workflow):
    draft, submitted = workflow.apply("capitals"), workflow.apply("capitals")
    workflow.step("ada", submitted, "submit")
    waiting = workflow.to_approval(workflow.apply("capitals"))
    approved = workflow.to_approval(workflow.apply("capitals"))
    for who in ("dan", "app"):
        assert workflow.judge(who, approved, "approve").status_code == 200
    rejected = workflow.to_approval(workflow.apply("capitals"))
    assert workflow.judge("dan", rejected, "reject").status_code == 200

    assert move(workflow, "ada", "Elsewhere")["organisation"] == "Elsewhere"
    for each in (submitted, waiting, approved):
        assert state(workflow, each) == "returned"
    assert (state(workflow, draft), state(workflow, rejected)) == ("draft", "rejected")
    refused = workflow.step("ada", approved, "grants", terms=workflow.terms)
    assert code(refused) == (409, "conflict")
    refused = workflow.step("ada", draft, "submit")
    assert code(refused) == (409, "conflict")
    assert "takes an edit first" in refused.text
    assert workflow.step("ada", rejected, "appeal").status_code == 200
    assert code(workflow.step("rex", rejected, "take-up")) == (409, "conflict")
    for each in (draft, approved, rejected):
        edited = edit(workflow, each)
        assert edited["organisation"] == "Elsewhere"
        assert workflow.step("ada", edited, "submit").json()["state"] == "submitted"


def test_who_may_judge_whom_goes_by_the_new_organisation_at_once(workflow):
    move(workflow, "ada", "Board")
    application = workflow.apply("capitals")
    assert workflow.step("ada", application, "submit").status_code == 200
    refused = workflow.step("ivy", application, "take-up")
    assert code(refused) == (403, "not_permitted")
    assert "not of the applicant's organisation" in refused.text
    assert workflow.step("mate", application, "take-up").status_code == 200
    move(workflow, "mate", "Board")
    assert code(workflow.judge("mate", application, "pass")) == (403, "not_permitted")


def test_a_move_is_in_the_log_with_all_that_it_did_and_another_spelling_is_none(workflow):
    application = workflow.to_approval(workflow.apply("capitals"))
    move(workflow, "ada", "the  lab")
    assert state(workflow, application) == "approval"
    assert workflow.admin("GET", f"/people/{workflow.people['ada']}").json()["organisation"] == (
        "The Lab"
    )
    move(workflow, "ada", "BOARD")
    events = workflow.admin("GET", "/audit-events?limit=3").json()
    assert [each["tag"] for each in events] == [
        "admin:person:changed", "workflow:application:return", "admin:person:moved",
    ]  # fmt: skip
    changed, returned, moved = (each["detail"] for each in events)
    lab, board = (workflow.organisations[name] for name in ("The Lab", "Board"))
    assert changed == {"organisation": board}
    assert moved == {"left": lab, "organisation": board}
    assert (returned["digest"], returned["state"]) == (application["digest"], "returned")
    assert {each["actor"].partition(":")[0] for each in events} == {"admin"}


def test_the_doors_follow_who_moves(workflow):
    workflow.to_grant()
    assert workflow.base() == 200
    workflow.admin("POST", "/people", name="x", organisation="Closed", tier="public")
    workflow.organisations |= {
        row["name"]: row["id"] for row in workflow.admin("GET", "/organisations").json()
    }
    workflow.organisation("Closed", "suspended")
    move(workflow, "ada", "Closed")
    assert workflow.base() == 403
    move(workflow, "ada", "The Lab")
    assert workflow.base() == 200, "a grant that was made is kept"


def test_an_organisation_that_nobody_sees_is_none_to_move_to(workflow):
    path = f"/people/{workflow.people['ada']}"
    refused = workflow.running.admin("PATCH", path, json={"organisation": "\u200b"})
    assert code(refused) == (400, "invalid_request")
