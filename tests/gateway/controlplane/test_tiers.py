"""Tiers changed by two people, through HTTP, on SQLite and on PostgreSQL."""

import time
from datetime import datetime, timedelta

import httpx
import pytest

from gateway.controlplane.changes import Tag
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.workflow import Workflow
from tests.gateway.dataplane.test_doors import stream_until_end
from tests.servers import wait_for
from tests.two_people import TwoPeople


def propose(two: TwoPeople, who: str, tier: str, *, dry_run: bool = False, **change):
    given = {"tier": tier, "change": change, "reason": "r"}
    key = two.keys.get(who, two.admin_key)
    return two.ask(key, "POST", f"/tier-changes?dry_run={str(dry_run).lower()}", given)


def approve(two: TwoPeople, who: str, change: dict, digest: str | None = None):
    body = {"digest": digest or change["digest"]}
    return two.ask(
        two.keys.get(who, two.admin_key), "POST", f"/tier-changes/{change['id']}/approve", body
    )


def tier(running, name: str) -> dict:
    return next(row for row in running.admin("GET", "/tiers").json() if row["name"] == name)


def tags(running) -> list[str]:
    return [row["tag"] for row in running.admin("GET", "/audit-events?limit=5").json()]


def test_what_gives_more_takes_two_named_people(fresh):
    two = TwoPeople(fresh.url, fresh.admin_key)
    more = {"capabilities": ["echo", "raw_completions"]}
    refused = propose(two, "an administrator's key", "public", **more)
    assert code(refused) == (403, "not_permitted")
    change = propose(two, "proposer", "public", **more).json()["change"]
    assert change["takes_two"]
    assert change["version"] is None
    assert tier(fresh, "public")["capabilities"] == ["raw_completions"], "one alone changes nothing"
    assert code(approve(two, "proposer", change)) == (403, "not_permitted")
    assert code(approve(two, "an administrator's key", change)) == (401, "invalid_api_key")
    other = "sha256:" + "0" * 64
    assert code(approve(two, "approver", change, other)) == (409, "conflict")
    approved = approve(two, "approver", change).json()
    assert approved["version"] == 2
    assert approved["proposed_by"] == f"person:{two.people['proposer']}"
    assert approved["approved_by"] == f"person:{two.people['approver']}"
    assert tier(fresh, "public")["version"] == 2
    fresh.wait_until_seen()
    raw = {"model": "smollm2", "prompt": "Hi", "echo": True, "max_tokens": 2}
    assert fresh.post("public", raw, "/v1/completions").status_code == 200
    assert code(approve(two, "approver", change)) == (409, "conflict")
    history = fresh.admin("GET", "/tiers/public/history").json()
    assert [row["version"] for row in history] == [2, 1]
    assert history[1]["terms"]["capabilities"] == ["raw_completions"]
    assert tags(fresh)[:2] == [Tag.TIER_CHANGED, Tag.TIER_PROPOSED]


def test_a_role_that_was_taken_away_neither_proposes_nor_approves(fresh):
    two = TwoPeople(fresh.url, fresh.admin_key)
    change = propose(two, "proposer", "lab", grantable=True).json()["change"]
    roles = f"/people/{two.people['proposer']}/roles"
    two.call(two.admin_key, "PUT", roles, {"roles": ["auditor"]})
    assert code(approve(two, "approver", change)) == (403, "not_permitted")
    assert code(propose(two, "proposer", "lab", grantable=True)) == (403, "not_permitted")
    two.call(two.admin_key, "PUT", roles, {"roles": ["operator"]})
    assert approve(two, "approver", change).json()["version"] == 1
    assert tier(fresh, "lab")["grantable"]


def test_a_proposal_is_about_the_version_that_it_was_made_on(fresh):
    two = TwoPeople(fresh.url, fresh.admin_key)
    change = propose(two, "proposer", "public", priority=5).json()["change"]
    restricted = propose(two, "an administrator's key", "public", max_concurrent=3).json()["change"]
    assert restricted["version"] == 2, "what only restricts takes one, at once"
    assert restricted["proposed_by"].startswith("admin:")
    assert code(approve(two, "approver", change)) == (409, "conflict")
    withdrawn = two.call(two.keys["proposer"], "POST", f"/tier-changes/{change['id']}/withdraw")
    assert withdrawn["withdrawn_by"] == f"person:{two.people['proposer']}"
    assert code(approve(two, "approver", change)) == (409, "conflict")
    assert tags(fresh)[0] == Tag.TIER_WITHDRAWN
    assert [row["id"] for row in fresh.admin("GET", "/tier-changes?state=withdrawn").json()] == [
        change["id"]
    ]
    assert fresh.admin("GET", "/tier-changes?state=open").json() == []
    assert tier(fresh, "public")["priority"] == 0


def test_the_dry_run_says_who_would_lose_what_and_changes_nothing(fresh):
    workflow = Workflow(fresh)
    workflow.verify()
    grant = workflow.to_grant()["grants"][0]["id"]
    two = TwoPeople(fresh.url, fresh.admin_key)
    before = tier(fresh, "researcher")
    rules = before["verifications"] | {"oversight": ["dac"]}
    found = propose(
        two, "proposer", "researcher", dry_run=True, verifications=rules, max_grant_days=1
    ).json()
    assert found["change"] is None
    effects = found["effects"]
    assert effects["takes_two"], "another source, not only fewer"
    assert {each["field"] for each in effects["differences"]} == {"verifications", "max_grant_days"}
    assert effects["members"] == len(effects["people"]) == 9
    by_name = {person["name"]: person for person in effects["people"]}
    assert by_name["ada"]["loses"] == ["capitals"]
    assert [each["id"] for each in by_name["ada"]["grants"]] == [grant]
    assert by_name["ada"]["grants"][0]["state_after"] == "suspended"
    # An administrator's grant rests on no evidence; it only becomes shorter.
    assert by_name["researcher"]["loses"] == []
    (shorter,) = by_name["researcher"]["grants"]
    ends = [datetime.fromisoformat(shorter[name]) for name in ("ends_before", "ends_after")]
    assert ends[0] - ends[1] == timedelta(days=89)
    assert by_name["ivy"]["grants"] == []
    assert tier(fresh, "researcher") == before
    page = two.ask(two.keys["approver"], "POST", "/tier-changes?limit=1&offset=1", {
        "tier": "researcher", "change": {"grantable": False}, "reason": "r"})  # fmt: skip
    assert page.status_code == 200
    assert len(page.json()["effects"]["people"]) == 1


@pytest.mark.timed
def test_what_a_tier_requires_is_in_force_within_a_second_in_running_streams_too(fresh):
    workflow = Workflow(fresh)
    workflow.verify()
    workflow.to_grant()
    assert workflow.base() == 200
    two = TwoPeople(fresh.url, fresh.admin_key)
    for engine in fresh.engines.values():
        engine.tokens, engine.delay_seconds = 200, 0.05
    stream = stream_until_end(fresh, "ada")
    required = tier(fresh, "researcher")["verifications"] | {"oversight": ["dac"]}
    two.change_tier("researcher", verifications=required)
    restricted = time.monotonic()
    stream["thread"].join(10)
    for engine in fresh.engines.values():
        engine.tokens, engine.delay_seconds = 4, 0.0
    assert stream["ended"] - restricted < 1.0
    assert '"code":"grant_revoked"' in stream["text"]
    assert workflow.base() == 403
    # An administrator's grant rests on no evidence; a busy gateway may not be able to tell at once.
    wait_for(lambda: fresh.chat("researcher", "smollm2:base").status_code == 200)
    two.change_tier("researcher", verifications=required | {"oversight": ["so"]})
    assert workflow.base() == 200


def test_a_tier_whose_requests_are_all_logged_gets_no_answer_without_the_log(fresh):
    path = f"/people/{fresh.people['public']}"
    fresh.admin("PATCH", path, json={"tier": "operator"})
    fresh.wait_until_seen()
    answer = fresh.chat("public")
    assert answer.status_code == 200
    request = answer.headers["x-request-id"]

    def entries() -> list[str]:
        found = fresh.admin("GET", f"/audit-events?subject={request}").json()
        return sorted(row["tag"] for row in found)

    wait_for(lambda: len(entries()) == 2)
    assert entries() == ["dataplane:request:ended", "dataplane:request:intended"]
    receipt = httpx.get(
        f"{fresh.url}/v1/receipts/{request}", headers={"authorization": f"Bearer {fresh.admin_key}"}
    )
    assert code(receipt) == (404, "not_found"), "nothing rests on a grant"
    fresh.gateway.data_plane._recorder._writer._database.transaction = None
    assert code(fresh.chat("public")) == (503, "audit_unavailable")
    assert fresh.chat("researcher", "smollm2:unlearned").status_code == 200
