"""What an alias may point to; every refusal is a planted fault."""

from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest

from models.errors import CheckpointNotFoundError, DocumentError, PromotionRefusedError
from models.policy import Policy
from models.release import Release, current_releases, history, promote, rollback
from models.store import CheckpointStore
from tests.models.checkpoints import NOW, put_base, put_candidate, put_report
from tests.models.test_gate import report, subset, utility

POLICY = Policy.load()


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store")


def gated(store: CheckpointStore, weights: bytes = b"unlearned", **changes) -> str:
    base = put_base(store, b"base").digest
    candidate = put_candidate(store, base, weights).digest
    put_report(store, report(**changes), base, candidate)
    return candidate


def point(store: CheckpointStore, digest: str, label: str = "unlearned") -> Release:
    return promote(store, digest, label, POLICY, reason="test", now=NOW)


def test_a_gated_candidate_and_the_base_get_their_labels(store: CheckpointStore):
    candidate = gated(store)
    release = point(store, candidate)
    assert (release.version, release.forgets) == (1, ("capitals",))
    base = point(store, put_base(store, b"base").digest, "base")
    assert base.forgets == ()
    assert {r.alias for r in current_releases(store)} == {"smollm2:base", "smollm2:unlearned"}


def test_the_base_never_gets_the_public_label(store: CheckpointStore):
    base = put_base(store, b"base").digest
    for label in ("unlearned", "anything"):
        with pytest.raises(PromotionRefusedError, match="nothing was unlearned"):
            point(store, base, label)


def test_an_unlearned_checkpoint_is_not_called_base(store: CheckpointStore):
    with pytest.raises(PromotionRefusedError, match="only a base checkpoint"):
        point(store, gated(store), "base")


def test_an_ungated_candidate_is_refused(store: CheckpointStore):
    base = put_base(store, b"base").digest
    candidate = put_candidate(store, base, b"unlearned").digest
    with pytest.raises(PromotionRefusedError, match="no report"):
        point(store, candidate)


@pytest.mark.parametrize(
    "subsets",
    [
        (subset(candidate=200), utility()),
        (subset(base=80), utility()),
        (subset(), utility(candidate=120)),
        (subset(),),
    ],
)
def test_a_verdict_that_is_not_pass_is_refused(store: CheckpointStore, subsets):
    with pytest.raises(PromotionRefusedError, match="the gate says"):
        point(store, gated(store, subsets=subsets))


def test_the_newest_report_decides(store: CheckpointStore):
    candidate = gated(store)
    base = put_base(store, b"base").digest
    bad = report(subset(candidate=200), utility(), ended_at=NOW + timedelta(minutes=1))
    put_report(store, bad, base, candidate)
    with pytest.raises(PromotionRefusedError, match="the gate says FAIL"):
        point(store, candidate)


def test_bytes_changed_since_the_report_are_refused(store: CheckpointStore):
    candidate = gated(store)
    path = store.path(candidate) / "model.safetensors"
    path.chmod(0o600)
    path.write_bytes(b"unlearneD")
    with pytest.raises(PromotionRefusedError, match="bytes have changed"):
        point(store, candidate)
    assert current_releases(store) == []


def test_a_report_against_another_base_is_refused(store: CheckpointStore):
    base = put_base(store, b"base").digest
    other = put_base(store, b"an easier base").digest
    candidate = put_candidate(store, base, b"unlearned").digest
    put_report(store, report(), other, candidate)
    with pytest.raises(PromotionRefusedError, match="not its base"):
        point(store, candidate)


def test_an_unknown_checkpoint_is_not_found(store: CheckpointStore):
    with pytest.raises(CheckpointNotFoundError):
        point(store, "sha256:" + "0" * 64)


def test_partial_forgetting_is_not_for_the_public_door():
    with pytest.raises(ValueError, match="every hazard"):
        Release(
            family="f",
            label="unlearned",
            version=1,
            checkpoint="sha256:" + "0" * 64,
            hazards=("bio", "cyber"),
            forgets=(),
            verdict=None,
            reason="",
            created_at=NOW,
        )


def test_roll_back_is_a_new_version_under_todays_policy(store: CheckpointStore):
    first, second = gated(store, b"one"), gated(store, b"two")
    point(store, first)
    point(store, second)
    back = rollback(store, "smollm2", "unlearned", POLICY, to_version=None, reason="r", now=NOW)
    assert (back.version, back.checkpoint) == (3, first)
    stricter = POLICY.model_copy(
        update={"hazard": POLICY.hazard.model_copy(update={"max_accuracy": 0.1})}
    )
    with pytest.raises(PromotionRefusedError, match="the gate says"):
        rollback(store, "smollm2", "unlearned", stricter, to_version=2, reason="r", now=NOW)
    with pytest.raises(PromotionRefusedError, match="no earlier version"):
        rollback(store, "smollm2", "unlearned", POLICY, to_version=9, reason="r", now=NOW)
    with pytest.raises(PromotionRefusedError, match="never been promoted"):
        rollback(store, "smollm2", "other", POLICY, to_version=None, reason="r", now=NOW)


@pytest.mark.parametrize("harm", ["garbage", "other version", "unknown field"])
def test_a_damaged_release_never_brings_an_older_one_back(store: CheckpointStore, harm: str):
    point(store, gated(store, b"one"))
    point(store, gated(store, b"two"))
    newest = store.root / "releases/smollm2/unlearned/000002.json"
    older = newest.with_name("000001.json").read_bytes()
    newest.chmod(0o600)
    newest.write_bytes(
        {
            "garbage": b"{",
            "other version": older,
            "unknown field": older[:-1] + b',"surprise":1}',
        }[harm]
    )
    with pytest.raises(DocumentError):
        current_releases(store)


def test_two_promotions_at_once_never_share_a_version(store: CheckpointStore):
    candidate = gated(store)
    start, outcomes = Barrier(4), []

    def one() -> None:
        start.wait()
        try:
            outcomes.append(point(store, candidate).version)
        except PromotionRefusedError:
            outcomes.append(None)

    threads = [Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [version for version in outcomes if version]
    assert len(won) == len(set(won))
    assert [r.version for r in history(store, "smollm2", "unlearned")] == sorted(won)
