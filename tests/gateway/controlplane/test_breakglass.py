"""Doors closed by one and opened by two, through HTTP, on SQLite and on PostgreSQL."""

import time
from datetime import datetime, timedelta

import pytest

from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.workflow import Workflow
from tests.gateway.dataplane.test_doors import stream_until_end


def test_one_closes_and_two_open(fresh):
    workflow = Workflow(fresh)

    def base() -> int:
        fresh.wait_until_seen()
        return fresh.chat("researcher", "smollm2:base").status_code

    assert base() == 200
    for who in ("ada", "nobody"):
        refused = workflow.call(who, "POST", "/closures", reason="r")
        assert code(refused) == (403, "not_permitted")
    workflow.must("dan", "POST", "/closures", domain="rivers", reason="elsewhere")
    assert base() == 200, "another domain's closure"
    closure = workflow.must("eve", "POST", "/closures", domain="capitals", reason="odd use")["id"]
    assert base() == 403
    assert fresh.chat("researcher", "smollm2:unlearned").status_code == 200
    person = fresh.people["researcher"]
    explained = workflow.admin("GET", f"/explain?person_id={person}&model=smollm2:base").json()
    assert "closed for everybody's grants: capitals, rivers" in str(explained["grounds"])

    lift = f"/closures/{closure}/lift"
    for who in ("ivy", "eve", "ada"):
        assert code(workflow.call(who, "POST", lift, reason="r")) == (403, "not_permitted"), who
    opening = f"/openings/{workflow.must('dan', 'POST', lift, reason='r')['id']}/confirm"
    for who in ("dan", "ivy", "eve", "ada"):
        assert code(workflow.call(who, "POST", opening)) == (403, "not_permitted"), who
    assert base() == 403
    workflow.must("app", "POST", opening)
    assert base() == 200
    assert code(workflow.call("rex", "POST", opening)) == (409, "conflict")
    assert code(workflow.call("dan", "POST", lift, reason="r")) == (409, "conflict")

    workflow.admin("POST", "/closures", reason="everything")
    assert base() == 403
    everything = workflow.admin("GET", "/closures").json()[0]["id"]
    refused = workflow.call("dan", "POST", f"/closures/{everything}/lift", reason="r")
    assert code(refused) == (403, "not_permitted"), "a reviewer of one domain opens no other"


def test_an_emergency_grant_is_short_for_another_and_passes_no_gate(fresh):
    workflow = Workflow(fresh)
    assert workflow.base() == 403
    given = {
        "person_id": workflow.people["ada"],
        "domain": "capitals",
        "minutes": 60,
        "reason": "r",
    }
    for who in ("ada", "mate", "ivy", "eve"):
        assert code(workflow.call(who, "POST", "/openings", **given)) == (403, "not_permitted"), who
    longer = workflow.call("dan", "POST", "/openings", **(given | {"minutes": 61}))
    assert code(longer) == (400, "invalid_request")
    public = given | {"person_id": fresh.people["public"]}
    assert code(workflow.call("dan", "POST", "/openings", **public)) == (409, "conflict")
    asked = workflow.must("dan", "POST", "/openings", **given)
    assert workflow.base() == 403, "one person opens nothing"
    path = f"/openings/{asked['id']}/confirm"
    for who in ("dan", "ada", "mate"):
        assert code(workflow.call(who, "POST", path)) == (403, "not_permitted"), who
    dan = f"/people/{workflow.people['dan']}/roles"
    workflow.admin("PUT", dan, roles=["auditor"])
    assert code(workflow.call("app", "POST", path)) == (403, "not_permitted"), "who asked may not"
    workflow.admin("PUT", dan, roles=["domain_reviewer:capitals"])
    opened = workflow.must("app", "POST", path)
    assert workflow.base() == 200
    (grant,) = workflow.admin("GET", f"/grants?person_id={workflow.people['ada']}").json()
    assert grant["id"] == opened["grant_id"]
    lasts = datetime.fromisoformat(grant["expires_at"]) - datetime.fromisoformat(
        grant["not_before"]
    )
    assert lasts == timedelta(minutes=60)
    for who in ("dan", "app"):
        assert workflow.people[who] in grant["approved_by"]
    workflow.must("ivy", "POST", "/closures", domain="capitals", reason="r")
    assert workflow.base() == 403, "a closure closes these too"
    fresh.admin(
        "POST", "/revocations", json={"checkpoint": fresh.engines["base"].digest, "reason": "r"}
    )
    opening = workflow.must("dan", "POST", "/openings", **given)["id"]
    workflow.must("app", "POST", f"/openings/{opening}/confirm")
    closure = workflow.admin("GET", "/closures").json()[0]["id"]
    lift = workflow.must("app", "POST", f"/closures/{closure}/lift", reason="r")["id"]
    workflow.must("dan", "POST", f"/openings/{lift}/confirm")
    assert workflow.base() == 503, "no emergency serves a checkpoint without a valid release"


@pytest.mark.parametrize("how", ["closure", "organisation", "suspension", "evidence"])
@pytest.mark.timed
def test_what_restricts_cuts_the_running_stream_within_a_second(fresh, how):
    workflow = Workflow(fresh)
    items = workflow.verify()
    grant = workflow.to_grant()["grants"][0]["id"]
    assert workflow.base() == 200
    for engine in fresh.engines.values():
        engine.tokens, engine.delay_seconds = 200, 0.05
    stream = stream_until_end(fresh, "ada")
    {
        "closure": lambda: workflow.must("dan", "POST", "/closures", domain="capitals", reason="r"),
        "organisation": lambda: workflow.organisation("The Lab", "suspended"),
        "suspension": lambda: workflow.must("dan", "POST", f"/grants/{grant}/suspend", reason="r"),
        "evidence": lambda: workflow.must(
            "ivy", "POST", f"/evidence/{items['federation']}/retract"
        ),
    }[how]()
    # From the answer on: before it the change is not made, and a commit waits for the disk.
    restricted = time.monotonic()
    stream["thread"].join(10)
    assert stream["ended"] - restricted < 1.0
    assert '"code":"grant_revoked"' in stream["text"]
