"""What may be promoted, by whom; every refusal is a planted fault."""

from datetime import timedelta
from threading import Barrier, Thread

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.admission import MANIFEST
from models.approval import approve, proposed
from models.documents import canonical_json, write_bytes
from models.errors import (
    CheckpointNotFoundError,
    PromotionRefusedError,
    ReleaseInvalidError,
    SignatureError,
)
from models.fingerprint import Answer, Fingerprint
from models.promotion import Wanted, draft, rollback_target
from models.release import Release, current_releases, history, proposal_path, release_path
from models.report import Report
from models.revocation import revoke
from models.signing import seal
from models.store import CheckpointStore
from tests.models.checkpoints import NOW, PROFILE, put_base, put_candidate, put_report
from tests.models.test_evidence import depth
from tests.models.test_gate import report, subset, utility
from tests.models.trusting import ALICE, ALICES_SPARE, BOB, ENGINE, POLICY, TRUST, point, propose

STRICTER = POLICY.model_copy(
    update={"hazard": POLICY.hazard.model_copy(update={"max_accuracy": 0.1})}
)


def gated(store: CheckpointStore, weights: bytes = b"unlearned", **changes) -> str:
    base = put_base(store, b"base").digest
    candidate = put_candidate(store, base, weights).digest
    put_report(store, report(**changes), base, candidate)
    return candidate


def current(store: CheckpointStore):
    return current_releases(store, TRUST, NOW, {}).valid


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
    propose(store, candidate)
    path = store.path(candidate) / "model.safetensors"
    path.chmod(0o600)
    path.write_bytes(b"unlearneD")
    with pytest.raises(PromotionRefusedError, match="bytes have changed"):
        point(store, candidate)
    waiting = proposed(store, TRUST, "smollm2", "unlearned", NOW)
    with pytest.raises(PromotionRefusedError, match="bytes have changed"):
        approve(store, TRUST, waiting, BOB, POLICY, NOW)
    assert current(store) == ()


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


@pytest.mark.parametrize("days", [0, -1, 91])
def test_a_release_lives_for_a_bounded_time(store: CheckpointStore, days: int):
    with pytest.raises(PromotionRefusedError, match="expires within"):
        point(store, gated(store), lifetime=timedelta(days=days))


def test_adapters_and_another_checkpoints_fingerprint_are_refused(store: CheckpointStore):
    adapted = PROFILE.model_copy(update={"adapters": ("x",)})
    with pytest.raises(PromotionRefusedError, match="adapters"):
        point(store, gated(store), profile=adapted)
    foreign = Fingerprint(
        checkpoint=put_base(store, b"base").digest,
        profile=PROFILE.document_digest,
        answers=(Answer(prompt="x", tokens=(1,)),),
    )
    with pytest.raises(ValueError, match="fingerprint"):
        point(store, gated(store), fingerprint=foreign)


def test_a_release_that_nobody_signed_lowers_nothing(store: CheckpointStore):
    """Or who writes to the store would choose what the next candidate is compared with."""
    released = point(store, gated(store))
    depth(store, report_of(store, released.checkpoint), 0.2)
    attacked = gated(store, b"worse")
    depth(store, report_of(store, attacked), 0.5)
    with pytest.raises(PromotionRefusedError, match="than in the released checkpoint"):
        point(store, attacked)
    assert released.verdict is not None
    forged = released.verdict.model_copy(update={"candidate": attacked})
    planted = released.model_copy(
        update={
            "version": 2,
            "previous": released.document_digest,
            "checkpoint": attacked,
            "verdict": forged,
            "verdict_digest": forged.document_digest,
        }
    )
    write_bytes(release_path(store, "smollm2", "unlearned", 2), seal(planted, [ALICE]))
    with pytest.raises(PromotionRefusedError, match="than in the released checkpoint"):
        point(store, attacked)


def report_of(store: CheckpointStore, candidate: str) -> Report:
    return store.reports_for(candidate)[0]


def test_two_people_one_after_the_other(store: CheckpointStore):
    candidate = gated(store)
    first = propose(store, candidate, keys=[ALICE])
    assert not first.is_complete
    assert current(store) == ()
    waiting = proposed(store, TRUST, "smollm2", "unlearned", NOW)
    assert waiting == first.release
    assert approve(store, TRUST, waiting, BOB, POLICY, NOW).is_complete
    assert current(store) == (waiting,)
    assert not proposal_path(store, "smollm2", "unlearned", 1).exists()
    with pytest.raises(PromotionRefusedError, match="no next release"):
        proposed(store, TRUST, "smollm2", "unlearned", NOW)


@pytest.mark.parametrize("key", [ALICE, ALICES_SPARE, ENGINE, Ed25519PrivateKey.generate()])
def test_who_is_no_second_releaser_cannot_approve(store: CheckpointStore, key):
    waiting = propose(store, gated(store)).release
    with pytest.raises(SignatureError):
        approve(store, TRUST, waiting, key, POLICY, NOW)
    assert current(store) == ()


@pytest.mark.parametrize("keys", [[], [ENGINE], [Ed25519PrivateKey.generate()]])
def test_who_is_no_releaser_cannot_propose(store: CheckpointStore, keys):
    candidate = gated(store)
    with pytest.raises(SignatureError):
        propose(store, candidate, keys=keys)


def test_two_keys_of_one_holder_only_propose(store: CheckpointStore):
    assert not propose(store, gated(store), keys=[ALICE, ALICES_SPARE]).is_complete
    assert current(store) == ()


def test_an_approval_is_for_what_was_read_and_holds_today(store: CheckpointStore):
    waiting = propose(store, gated(store)).release
    with pytest.raises(PromotionRefusedError, match="the gate says"):
        approve(store, TRUST, waiting, BOB, STRICTER, NOW)
    with pytest.raises(PromotionRefusedError, match="expired"):
        approve(store, TRUST, waiting, BOB, POLICY, waiting.expires_at)
    other = propose(store, gated(store, b"two")).release
    assert other != waiting
    with pytest.raises(PromotionRefusedError, match="another release is proposed"):
        approve(store, TRUST, waiting, BOB, POLICY, NOW)
    # What claims more than the gate says here is not signed, whoever proposes it.
    assert other.verdict is not None
    verdict = other.verdict.model_copy(update={"report": other.checkpoint})
    forged = other.model_copy(
        update={"verdict": verdict, "verdict_digest": verdict.document_digest}
    )
    path = proposal_path(store, "smollm2", "unlearned", 1)
    path.chmod(0o600)
    path.write_bytes(seal(forged, [ALICE]))
    with pytest.raises(PromotionRefusedError, match="not what the gate says"):
        approve(store, TRUST, forged, BOB, POLICY, NOW)


def as_proposed(
    store: CheckpointStore, release: Release, family: str = "smollm2", label: str = "base"
) -> None:
    """Put a release that Alice wrote and signed by hand where a proposal is looked for."""
    path = proposal_path(store, family, label, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, seal(release, [ALICE]))


FORGED = {
    "a hazard fewer": {"hazards": ("capitals",)},
    "another family": {"family": "other"},
    "a version that does not follow": {"version": 2, "previous": "sha256:" + "1" * 64},
    "a moment to come": {
        "created_at": NOW + timedelta(hours=1),
        "expires_at": NOW + timedelta(hours=2),
    },
    "an end that has passed": {
        "created_at": NOW - timedelta(days=2),
        "expires_at": NOW - timedelta(days=1),
    },
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED.keys())
def test_the_second_signature_relies_on_nothing_that_the_first_wrote(
    store: CheckpointStore, changes
):
    base = put_base(store, b"base", hazards=("capitals", "rivers")).digest
    wanted = Wanted(label="base", checkpoint=base, profile=PROFILE, reason="test")
    release = draft(store, TRUST, wanted, POLICY, NOW)
    forged = release.model_copy(update=changes)
    as_proposed(store, forged, forged.family)
    with pytest.raises(PromotionRefusedError, match=r"registry|the future|expired"):
        approve(store, TRUST, forged, BOB, POLICY, NOW)
    assert current(store) == ()
    as_proposed(store, release)
    assert approve(store, TRUST, release, BOB, POLICY, NOW).is_complete


def test_a_proposal_is_shown_as_the_alias_that_was_asked_for_alone(store: CheckpointStore):
    release = propose(store, put_base(store, b"base").digest, "base").release
    as_proposed(store, release, label="unlearned")
    with pytest.raises(PromotionRefusedError, match="as smollm2:unlearned is smollm2:base"):
        proposed(store, TRUST, "smollm2", "unlearned", NOW)


def test_no_release_lives_longer_than_one_may_be_signed_for(store: CheckpointStore):
    release = propose(store, put_base(store, b"base").digest, "base").release
    eternal = release.model_copy(update={"expires_at": NOW + timedelta(days=36500)})
    as_proposed(store, eternal)
    with pytest.raises(SignatureError, match="within 90 days"):
        proposed(store, TRUST, "smollm2", "base", NOW)
    write_bytes(release_path(store, "smollm2", "base", 1), seal(eternal, [ALICE, BOB]))
    found = current_releases(store, TRUST, NOW, {})
    assert found.valid == ()
    assert "within 90 days" in found.refused[0].reason


def relist(store: CheckpointStore, digest: str, *hazards: str) -> None:
    """Change a manifest in place, which changes no digest."""
    manifest = store.get(digest).model_copy(update={"hazards": hazards})
    path = store.path(digest) / MANIFEST
    path.chmod(0o600)
    path.write_bytes(canonical_json(manifest.model_dump(mode="json")))


def test_a_family_loses_no_hazard_that_was_once_released(store: CheckpointStore):
    base = put_base(store, b"base", hazards=("capitals", "rivers")).digest
    point(store, base, "base")
    candidate = put_candidate(store, base, b"unlearned", hazards=("capitals", "rivers")).digest
    put_report(store, report(), base, candidate)
    for digest in (base, candidate):
        relist(store, digest, "capitals")
    with pytest.raises(PromotionRefusedError, match=r"listed without rivers.*smollm2:base"):
        point(store, candidate)
    with pytest.raises(PromotionRefusedError, match="listed without rivers"):
        point(store, base, "base")


@pytest.mark.parametrize("which", ["base", "candidate"])
def test_a_candidate_has_its_bases_hazards(store: CheckpointStore, which: str):
    base = put_base(store, b"base", hazards=("capitals", "rivers")).digest
    candidate = put_candidate(store, base, b"unlearned", hazards=("capitals", "rivers")).digest
    put_report(store, report(), base, candidate)
    relist(store, {"base": base, "candidate": candidate}[which], "capitals")
    with pytest.raises(PromotionRefusedError, match="not those of its base"):
        point(store, candidate)


def test_a_revoked_checkpoint_is_neither_promoted_nor_approved(store: CheckpointStore):
    candidate = gated(store)
    waiting = propose(store, candidate).release
    revoke(store, TRUST, candidate, BOB, reason="leaks", now=NOW)
    with pytest.raises(PromotionRefusedError, match="leaks"):
        point(store, candidate)
    with pytest.raises(PromotionRefusedError, match="leaks"):
        approve(store, TRUST, waiting, BOB, POLICY, NOW)


def test_roll_back_is_a_new_version_under_todays_policy(store: CheckpointStore):
    first, second = gated(store, b"one"), gated(store, b"two")
    point(store, first)
    point(store, second)
    target = rollback_target(store, "smollm2", "unlearned", None)
    assert target.checkpoint == first
    back = point(store, target.checkpoint, profile=target.profile)
    assert (back.version, back.checkpoint) == (3, first)
    assert current(store) == (back,)
    with pytest.raises(PromotionRefusedError, match="the gate says"):
        point(store, second, policy=STRICTER)
    with pytest.raises(PromotionRefusedError, match="no earlier version"):
        rollback_target(store, "smollm2", "unlearned", 9)
    with pytest.raises(PromotionRefusedError, match="never been promoted"):
        rollback_target(store, "smollm2", "other", None)


def test_nothing_is_promoted_on_top_of_a_damaged_release(store: CheckpointStore):
    candidate = gated(store)
    point(store, candidate)
    path = release_path(store, "smollm2", "unlearned", 1)
    path.chmod(0o600)
    path.write_bytes(b"{")
    with pytest.raises(ReleaseInvalidError):
        point(store, candidate)


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
