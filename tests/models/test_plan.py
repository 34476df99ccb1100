"""The chain of plans: what is changed, missing, forked or unsigned is noticed."""

import json
from datetime import timedelta
from threading import Barrier, Thread

import pytest

from models.errors import DocumentError, SignatureError
from models.plan import Plan, announce, plan_path, read_chain, verify_chain
from models.policy import Policy
from models.signing import seal
from models.store import CheckpointStore
from models.trust import TrustStore
from tests.models.checkpoints import EVALUATOR, NOW, TRUST, WALT, trusted

POLICY = Policy.load()
BASE, OTHER = "sha256:" + "a" * 64, "sha256:" + "c" * 64


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store")


def announce_one(store: CheckpointStore, days: float = 0, key=EVALUATOR, **changes) -> Plan:
    given = {
        "family": "smollm2",
        "base": BASE,
        "candidate": "sha256:" + "b" * 64,
        "suite": "capitals",
        "subsets": ("general", "capitals"),
        "now": NOW + timedelta(days=days),
    }
    trust = TrustStore(keys=(trusted(key, "eve", "evaluator"),))
    return announce(store, trust, key, POLICY, **{**given, **changes})


def test_attempts_on_a_family_and_base_are_counted_in_the_window(store):
    first = announce_one(store)
    assert (first.number, first.attempt, first.previous) == (1, 1, None)
    assert first.subsets == ("capitals", "general")
    second = announce_one(store, 1, candidate=OTHER)
    assert (second.attempt, second.previous) == (2, first.document_digest)
    assert announce_one(store, 2, base=OTHER).attempt == 1
    assert announce_one(store, 3, family="other").number == 1
    assert announce_one(store, 4, suite="depth").number == 4
    assert announce_one(store, 5).attempt == 3, "attacks on the weights spend nothing"
    assert announce_one(store, 365.5).attempt == 3, "the first is out of the window"
    assert len(verify_chain(store, TRUST, "smollm2")) == 6


def test_in_no_window_is_more_than_alpha_spent(store):
    """Attempts that age out do not give back what a window holds."""
    for days in range(0, 1500, 100):
        announce_one(store, days)
    plans = read_chain(store, "smollm2")
    for start in plans:
        end = start.announced_at + timedelta(days=POLICY.statistics.window_days)
        inside = [p for p in plans if start.announced_at <= p.announced_at < end]
        assert all(plan.attempt >= k for k, plan in enumerate(inside, start=1))


def rewrite(store, number: int, **changes) -> None:
    plan = read_chain(store, "smollm2")[number - 1]
    path = plan_path(store, plan)
    path.chmod(0o600)
    path.write_bytes(seal(plan.model_copy(update=changes), [EVALUATOR]))


def remove(store, number: int) -> None:
    plan_path(store, read_chain(store, "smollm2")[number - 1]).unlink()


def renumber(store) -> None:
    """Close the gap that a deleted plan leaves."""
    plans = read_chain(store, "smollm2")
    plan_path(store, plans[1]).unlink()
    moved = plans[2].model_copy(update={"number": 2, "attempt": 2})
    plan_path(store, plans[2]).unlink()
    plan_path(store, moved).write_bytes(seal(moved, [EVALUATOR]))


def fork(store) -> None:
    """Put another second plan beside the one that the third follows."""
    rewrite(store, 2, candidate=OTHER)


def second_file(store) -> None:
    path = plan_path(store, read_chain(store, "smollm2")[1])
    path.with_name("000002.copy.dsse.json").write_bytes(path.read_bytes())


def flip(store) -> None:
    path = plan_path(store, read_chain(store, "smollm2")[1])
    envelope = json.loads(path.read_bytes())
    payload = envelope["payload"]
    path.chmod(0o600)
    path.write_text(json.dumps({**envelope, "payload": payload[:40] + "A" + payload[41:]}))


HARM = {
    "one in the middle is deleted": lambda store: remove(store, 2),
    "the first is deleted": lambda store: remove(store, 1),
    "deleted and renumbered": renumber,
    "one is replaced: a fork": fork,
    "a second file of one number": second_file,
    "bytes are changed": flip,
    "the last says a lower attempt": lambda store: rewrite(store, 3, attempt=1),
    "the last is of an earlier day": lambda store: rewrite(
        store, 3, announced_at=NOW - timedelta(days=1), attempt=1
    ),
    "garbage": lambda store: (store.root / "plans/smollm2/000004.dsse.json").write_text("{"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
def test_harm_to_the_chain_is_noticed(store, harm):
    for days in range(3):
        announce_one(store, days)
    harm(store)
    with pytest.raises(DocumentError):
        verify_chain(store, TRUST, "smollm2")
    with pytest.raises(DocumentError):
        announce_one(store, 9)


def test_a_clock_that_was_ahead_stops_nobody_who_says_so(store):
    announce_one(store)
    ahead = announce_one(store, 400)
    with pytest.raises(DocumentError, match=r"if that one was ahead.*--clock-was-ahead"):
        announce_one(store, 1)
    after = announce_one(store, 1, newest_was_ahead=True)
    assert (ahead.attempt, after.attempt) == (1, 3), "each before it is an attempt, when ever"
    assert announce_one(store, 2).attempt == 4, "it is said once"
    assert announce_one(store, 365.5).attempt == 4, "what is out of the window is out"
    assert len(verify_chain(store, TRUST, "smollm2")) == 5


def test_a_plan_that_is_dated_back_does_not_leave_the_window_early(store):
    announce_one(store, 300)
    assert announce_one(store, 0, newest_was_ahead=True).attempt == 2
    assert announce_one(store, 366).attempt == 3
    assert announce_one(store, 666).attempt == 2


def test_a_plan_by_no_evaluator_breaks_the_chain(store):
    announce_one(store, key=WALT)
    with pytest.raises(DocumentError, match="evaluator"):
        verify_chain(store, TRUST, "smollm2")


def test_attempts_stay_counted_when_their_key_expires_or_is_revoked(store):
    announce_one(store)
    for change in ({"expires_at": NOW + timedelta(days=1)}, {"revoked_at": NOW}):
        trust = TrustStore(keys=(trusted(EVALUATOR, "eve", "evaluator", **change),))
        assert len(verify_chain(store, trust, "smollm2")) == 1
    late = TrustStore(keys=(trusted(EVALUATOR, "eve", "evaluator", expires_at=NOW),))
    with pytest.raises(DocumentError):
        verify_chain(store, late, "smollm2")


def test_runs_announced_at_once_are_different_attempts(store):
    start, plans = Barrier(4), []

    def one() -> None:
        start.wait()
        plans.append(announce_one(store))

    threads = [Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(plan.attempt for plan in plans) == [1, 2, 3, 4]
    assert len(verify_chain(store, TRUST, "smollm2")) == 4


NOT_COUNTING = {
    "no trust store": TrustStore(keys=()),
    "a key for something else": TrustStore(keys=(trusted(EVALUATOR, "eve", "releaser"),)),
    "a key that is not valid yet": TrustStore(
        keys=(trusted(EVALUATOR, "eve", "evaluator", not_before=NOW + timedelta(hours=1)),)
    ),
    "a key that has expired": TrustStore(
        keys=(trusted(EVALUATOR, "eve", "evaluator", expires_at=NOW),)
    ),
}


@pytest.mark.parametrize("trust", NOT_COUNTING.values(), ids=NOT_COUNTING.keys())
def test_a_key_that_does_not_count_announces_nothing(store, trust):
    """A plan that nobody trusted signed would make its family INVALID for good."""
    plan = announce_one(store)
    with pytest.raises(SignatureError, match=r"nothing was announced.*trust add"):
        announce(
            store,
            trust,
            EVALUATOR,
            POLICY,
            family="smollm2",
            base=BASE,
            candidate=OTHER,
            suite="capitals",
            subsets=("capitals",),
            now=NOW,
        )
    assert verify_chain(store, TRUST, "smollm2") == [plan]
