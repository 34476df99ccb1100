"""The way from disk to verdict: who signed, what was announced, what was deleted."""

import base64
import json
from datetime import timedelta

import pytest

from models.documents import canonical_json
from models.evidence import (
    collect,
    collect_file,
    find_report,
    report_to_judge,
    trust_or_none,
)
from models.gate import judge
from models.plan import plan_path, read_chain
from models.policy import Policy
from models.report import AttackResult, Report, Score
from models.store import CheckpointStore
from models.trust import TrustStore
from models.waiver import Waiver, write_waiver
from tests.models.checkpoints import (
    EVALUATOR,
    NOW,
    TRUST,
    WALT,
    WANDA,
    put_base,
    put_candidate,
    put_report,
    trusted,
)
from tests.models.test_gate import report

POLICY = Policy.load()


def stored(store: CheckpointStore, weights: bytes = b"unlearned", **changes) -> Report:
    base = put_base(store, b"base").digest
    candidate = put_candidate(store, base, weights).digest
    return put_report(store, report(**changes), base, candidate)


def verdict(store, made: Report, trust=TRUST, now=NOW, profile=None, released=None):
    evidence = collect(store, trust, made.document_digest, now, profile, released=released)
    return judge(evidence.report, POLICY, evidence.facts)


def faults(found) -> str:
    return " ".join(rule.reason for rule in found.rules if rule.rule == "evidence")


def test_a_signed_and_announced_report_passes(store):
    found = verdict(store, stored(store), profile=report().profile)
    assert found.outcome == "PASS", found.complaint


def test_a_later_report_is_a_later_attempt(store):
    stored(store)
    found = verdict(store, stored(store, weights=b"second"))
    assert (found.outcome, found.attempt) == ("PASS", 2)


def only(**changes) -> TrustStore:
    return TrustStore(keys=(trusted(EVALUATOR, "eve", "evaluator", **changes),))


UNTRUSTED = {
    "no trust store": TrustStore(keys=()),
    "an unknown key": TrustStore(keys=(trusted(WALT, "walt", "evaluator"),)),
    "a key for something else": TrustStore(keys=(trusted(EVALUATOR, "eve", "releaser"),)),
    "an expired key": only(expires_at=NOW),
    "a revoked key": only(revoked_at=NOW - timedelta(days=1)),
    "a key that is not valid yet": only(not_before=NOW + timedelta(days=1)),
}


@pytest.mark.parametrize("trust", UNTRUSTED.values(), ids=UNTRUSTED.keys())
def test_a_report_by_nobody_that_counts_is_invalid(store, trust):
    found = verdict(store, stored(store), trust=trust)
    assert found.outcome == "INVALID"
    assert "not signed by a trusted evaluator" in faults(found)


def test_a_key_that_expired_since_then_is_invalid(store):
    trust = only(expires_at=NOW + timedelta(days=10))
    made = stored(store)
    assert verdict(store, made, trust=trust).outcome == "PASS"
    late = verdict(store, made, trust=trust, now=NOW + timedelta(days=11))
    assert late.outcome == "INVALID"
    assert "not signed" in faults(late)


def test_an_unsigned_report_is_invalid(store, tmp_path):
    made = stored(store)
    path = tmp_path / "report.json"
    path.write_text(made.model_dump_json())
    evidence = collect_file(store, TRUST, path, NOW, None)
    found = judge(evidence.report, POLICY, evidence.facts)
    assert (found.outcome, faults(found)) == ("INVALID", "the report is not signed")


def test_a_report_edited_after_it_was_signed_is_invalid(store):
    made = stored(store)
    signed = json.loads(find_report(store, made.document_digest).read_bytes())
    better = made.model_copy(update={"ended_at": NOW + timedelta(minutes=1)})
    payload = canonical_json(better.model_dump(mode="json"))
    forged = store.report_path(better.document_digest)
    forged.write_text(json.dumps({**signed, "payload": base64.b64encode(payload).decode()}))
    found = verdict(store, better)
    assert found.outcome == "INVALID"
    assert "not signed" in faults(found)


def delete_plans(store, made: Report) -> None:
    for plan in read_chain(store, made.family):
        plan_path(store, plan).unlink()


def delete_newest_plan(store, made: Report) -> None:
    plan_path(store, read_chain(store, made.family)[-1]).unlink()


def delete_oldest_plan(store, made: Report) -> None:
    plan_path(store, read_chain(store, made.family)[0]).unlink()


@pytest.mark.parametrize("harm", [delete_plans, delete_newest_plan, delete_oldest_plan])
def test_harm_to_the_plans_makes_every_report_of_the_family_invalid(store, harm):
    reports = [stored(store), stored(store, weights=b"second")]
    assert [verdict(store, made).outcome for made in reports] == ["PASS", "PASS"]
    harm(store, reports[0])
    assert [verdict(store, made).outcome for made in reports] == ["INVALID", "INVALID"]


def stored_after(store, ahead: timedelta, **changes) -> list[Report]:
    """Two reports; the first one's clock was ahead, which the second one says."""
    base = put_base(store, b"base").digest
    times = {"started_at": NOW + ahead, "ended_at": NOW + ahead}
    first = put_candidate(store, base, b"first").digest
    second = put_candidate(store, base, b"second").digest
    return [
        put_report(store, report(**times), base, first),
        put_report(store, report(**changes), base, second, newest_was_ahead=True),
    ]


def test_a_report_counts_while_the_clock_before_it_is_seen_to_have_been_ahead(store):
    _, after = stored_after(store, timedelta(days=10))
    found = verdict(store, after)
    assert (found.outcome, found.attempt) == ("PASS", 2), found.complaint
    late = verdict(store, after, now=NOW + timedelta(days=10))
    assert (late.outcome, "clocks was wrong" in faults(late)) == ("INVALID", True)


def test_a_plan_that_later_ones_are_dated_before_carries_no_report(store):
    """Or a low attempt could be had in advance, and used after as many others as one likes."""
    ahead, _ = stored_after(store, timedelta(days=10))
    found = verdict(store, ahead, now=NOW + timedelta(days=11))
    assert (found.outcome, "clocks was wrong" in faults(found)) == ("INVALID", True)


def test_a_run_that_was_dated_back_is_invalid(store):
    """What was measured before it was announced would be announced as if it had been before."""
    _, back = stored_after(store, timedelta(hours=-1), started_at=NOW - timedelta(days=1))
    assert verdict(store, back).outcome == "INVALID"


def test_a_plan_by_a_key_that_was_revoked_since_then_carries_no_report(store):
    made = stored(store)
    both = TrustStore(
        keys=(
            trusted(EVALUATOR, "eve", "evaluator", revoked_at=NOW),
            trusted(WALT, "walt", "evaluator"),
        )
    )
    store.put_report(made, [WALT])
    found = verdict(store, made, trust=both)
    assert found.outcome == "INVALID"
    assert "plans" in faults(found)


def test_one_plan_carries_one_report(store):
    made = stored(store)
    again = made.model_copy(update={"ended_at": NOW + timedelta(seconds=1)})
    store.put_report(again, [EVALUATOR])
    for one in (made, again):
        found = verdict(store, one)
        assert (found.outcome, faults(found)[:14]) == ("INVALID", "another report")


def test_a_report_on_the_wrong_checkpoints_is_invalid(store):
    base = put_base(store, b"base").digest
    other = put_base(store, b"an easier base").digest
    candidate = put_candidate(store, base, b"unlearned").digest
    for made in (
        put_report(store, report(), other, candidate),
        put_report(store, report(), base, other),
        put_report(store, report(family="other"), base, candidate),
    ):
        found = verdict(store, made)
        assert found.outcome == "INVALID"
        assert faults(found)


def test_the_newest_report_decides_and_depth_reports_are_not_among_them(store):
    first = stored(store)
    late = NOW + timedelta(days=1)
    newest = stored(store, started_at=late, ended_at=late)
    assert first.candidate == newest.candidate
    depth(store, newest, 0.1, at=NOW + timedelta(days=2))
    assert report_to_judge(store, first.candidate, NOW) == newest.document_digest
    assert report_to_judge(store, first.base, NOW) is None


def test_a_report_from_the_future_is_the_newest_until_a_later_plan_is_carried_out(store):
    times = {"started_at": NOW + timedelta(days=10), "ended_at": NOW + timedelta(days=10)}
    ahead = stored(store, **times)
    assert report_to_judge(store, ahead.candidate, NOW) == ahead.document_digest
    unannounced = ahead.model_copy(update={"plan": None, "ended_at": NOW - timedelta(hours=1)})
    store.put_report(unannounced, [EVALUATOR])
    assert report_to_judge(store, ahead.candidate, NOW) == ahead.document_digest
    after = put_report(store, report(), ahead.base, ahead.candidate, newest_was_ahead=True)
    assert report_to_judge(store, ahead.candidate, NOW) == after.document_digest
    late = NOW + timedelta(days=11)
    assert report_to_judge(store, ahead.candidate, late) == ahead.document_digest


def attack(recovered: float, **changes) -> AttackResult:
    def score(k: int) -> Score:
        return Score(k=k, n=1000, lower=0, upper=1)

    given = {
        "attack": "relearn",
        "domain": "capitals",
        "setting": {"examples": 10},
        "candidate_before": score(250),
        "candidate_after": score(250 + round(recovered * 500)),
        "base_before": score(750),
        "base_after": score(750),
        "recovered": 0.0,
        "seconds": 1,
    }
    return AttackResult(**{**given, **changes})


def depth(store, made: Report, recovered: float, key=EVALUATOR, at=NOW, **changes) -> Report:
    given = {"suite": "depth", "plan": None, "attacks": (attack(recovered, **changes),)}
    result = made.model_copy(update=given | {"ended_at": at})
    store.put_report(result, [key])
    return result


def test_attack_results_are_recorded_and_regressions_block(store):
    old, new = stored(store), stored(store, weights=b"second")
    depth(store, old, 0.2)
    depth(store, new, 0.5)
    assert verdict(store, new).outcome == "PASS", "recorded, and nothing is released yet"
    found = verdict(store, new, released=old.candidate)
    assert found.outcome == "FAIL"
    depth(store, new, 0.25, at=NOW + timedelta(days=1))
    assert verdict(store, new, released=old.candidate).outcome == "PASS"


def test_a_candidate_must_be_attacked_like_the_released_one(store):
    old, new = stored(store), stored(store, weights=b"second")
    depth(store, old, 0.2)
    assert verdict(store, new, released=old.candidate).outcome == "INVALID"
    depth(store, new, 0.2, setting={"examples": 1})
    assert verdict(store, new, released=old.candidate).outcome == "INVALID"
    # The released one, attacked anew in today's setting: what was measured before is superseded.
    depth(store, old, 0.2, at=NOW + timedelta(days=1), setting={"examples": 1})
    assert verdict(store, new, released=old.candidate).outcome == "PASS"


def test_attack_results_must_be_signed(store):
    made = stored(store)
    depth(store, made, 0.2, key=WALT)
    assert verdict(store, made).outcome == "INVALID"


def test_waivers_on_disk_count(store):
    made = stored(store)
    given = Waiver(
        family="smollm2",
        subset="chem",
        rule="accuracy",
        reason="r",
        created_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )
    write_waiver(store, given, [WALT, WANDA])
    facts = collect(store, TRUST, made.document_digest, NOW, None).facts
    assert facts.waivers == (given,)


def test_without_a_trust_store_nothing_is_trusted(tmp_path):
    assert trust_or_none(tmp_path) == TrustStore(keys=())
