"""What reviewers find waiting: which applications a list has, in what order, and at what cost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, update

from gateway.cli.tables import in_transaction
from gateway.controlplane.application_rows import list_applications
from gateway.controlplane.applications import OPEN_AT_MOST
from gateway.controlplane.evidence import WAITING_AT_MOST
from gateway.policy.applications import LAPSES_AFTER, State
from gateway.tables import Application
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.workflow import Workflow, acceptance, content


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request, tmp_path_factory) -> Iterator[Workflow]:
    settings = make_settings(request, tmp_path_factory.mktemp("queue"), request.param)
    with run_gateway(settings) as running:
        yield Workflow(running)


def begin(workflow: Workflow, who: str) -> dict:
    return workflow.must(who, "POST", "/applications", **content("capitals"))


def submit(workflow: Workflow, who: str) -> dict:
    answer = workflow.step(who, begin(workflow, who), "submit")
    assert answer.status_code == 200, answer.text
    return answer.json()


def age(workflow: Workflow, application: dict, by: timedelta) -> None:
    """Let an application have come to its state so much earlier."""

    async def work(session) -> None:
        mine = update(Application).where(Application.id == application["id"])
        await session.execute(mine.values(since=datetime.now(UTC) - by))

    in_transaction(workflow.running.settings, work)


def listed(workflow: Workflow, who: str, *states: str) -> list[str]:
    query = "&".join(["limit=1000", *(f"state={state}" for state in states)])
    return [row["id"] for row in workflow.must(who, "GET", f"/applications?{query}")]


def test_who_has_waited_longest_comes_first_where_a_state_is_asked_for(shared):
    late, early, taken = (submit(shared, who) for who in ("ada", "nobody", "mate"))
    assert shared.step("ivy", taken, "take-up").status_code == 200
    age(shared, early, timedelta(days=2))
    age(shared, taken, timedelta(days=1))
    assert listed(shared, "ivy", "submitted") == [early["id"], late["id"]]
    both = listed(shared, "ivy", "submitted", "identity_review")
    assert both == [early["id"], taken["id"], late["id"]]
    assert listed(shared, "ivy")[:3] == [taken["id"], early["id"], late["id"]], "the newest first"
    assert listed(shared, "ada", "submitted") == [late["id"]], "one's own alone"
    wrong = shared.call("ivy", "GET", "/applications?state=waiting")
    assert code(wrong) == (400, "invalid_request")


def test_what_has_lapsed_waits_no_more(shared):
    old = submit(shared, "eve")
    age(shared, old, LAPSES_AFTER)
    assert old["id"] not in listed(shared, "ivy", "submitted")
    assert listed(shared, "ivy", "lapsed") == [old["id"]]


def test_others_drafts_are_there_for_who_asks_for_them(shared):
    mine, other = begin(shared, "ivy")["id"], begin(shared, "ada")["id"]
    assert mine in listed(shared, "ivy")
    assert other not in listed(shared, "ivy")
    assert {mine, other} <= set(listed(shared, "ivy", "draft", "submitted"))
    assert other in listed(shared, "ada")
    assert listed(shared, "app", "lapsed", "submitted").count(other) == 0
    by_key = shared.admin("GET", "/applications?limit=1000").json()
    assert not {mine, other} & {row["id"] for row in by_key}
    by_key = shared.admin("GET", "/applications?limit=1000&state=draft").json()
    assert {mine, other} <= {row["id"] for row in by_key}
    assert listed(shared, "nobody", "draft") == [], "another person's"


def test_a_list_costs_as_many_statements_however_long_it_is(shared):
    for _ in range(6):
        begin(shared, "dan")

    async def statements(session, limit: int) -> int:
        count = 0

        def see(_) -> None:
            nonlocal count
            count += 1

        event.listen(session.sync_session, "do_orm_execute", see)
        given = {"states": [State.DRAFT], "reader": None, "now": datetime.now(UTC)}
        found = await list_applications(session, None, limit, 0, **given)
        assert len(found) == limit
        return count

    settings = shared.running.settings
    few = in_transaction(settings, lambda session: statements(session, 1))
    assert in_transaction(settings, lambda session: statements(session, 6)) == few


def test_nobody_fills_the_queue_alone(shared):
    for _ in range(OPEN_AT_MOST):
        last = begin(shared, "rex")
    refused = shared.call("rex", "POST", "/applications", **content("capitals"))
    assert code(refused) == (409, "conflict")
    assert "20 open applications" in refused.text
    assert begin(shared, "app"), "others have room"
    assert shared.step("rex", last, "withdraw").status_code == 200
    last = begin(shared, "rex")
    assert shared.call("rex", "POST", "/applications", **content("capitals")).status_code == 409
    age(shared, last, LAPSES_AFTER)
    assert begin(shared, "rex"), "what has lapsed is not open"


def test_nobody_fills_the_evidence_that_waits(shared):
    given = {"kind": "orcid", "source": "0000-0000"}
    for _ in range(WAITING_AT_MOST):
        last = shared.must("mate", "POST", "/evidence", **given)["id"]
    refused = shared.call("mate", "POST", "/evidence", **given)
    assert code(refused) == (409, "conflict")
    assert "40 pieces of evidence" in refused.text
    shared.must("ivy", "POST", f"/evidence/{last}/accept", **acceptance("so"))
    last = shared.must("mate", "POST", "/evidence", **given)["id"]
    assert shared.call("mate", "POST", "/evidence", **given).status_code == 409
    shared.must("mate", "POST", f"/evidence/{last}/retract")
    shared.must("mate", "POST", "/evidence", **given)
