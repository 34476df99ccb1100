"""Which release an alias points to; every refusal is a planted fault."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from models import release as module
from models.errors import ReleaseInvalidError
from models.release import Release, Seen, current_release, current_releases, release_path
from models.revocation import revoke
from models.signing import seal
from models.store import CheckpointStore
from models.trust import TrustStore
from tests.models.checkpoints import NOW, PROFILE, put_base, put_candidate, put_report, trusted
from tests.models.test_gate import report
from tests.models.trusting import ALICE, ALICES_SPARE, BOB, TRUST, point

LATER = NOW + timedelta(days=1)


def gated(store: CheckpointStore, weights: bytes = b"unlearned") -> str:
    base = put_base(store, b"base").digest
    candidate = put_candidate(store, base, weights).digest
    put_report(store, report(), base, candidate)
    return candidate


def current(store: CheckpointStore, *, trust=TRUST, now=LATER, seen: Seen | None = None) -> Release:
    return current_release(store, trust, "smollm2", "unlearned", now, seen)


def seen_of(release: Release) -> Seen:
    return Seen(version=release.version, digest=release.document_digest)


def test_the_newest_release_of_every_alias(store: CheckpointStore):
    first = point(store, gated(store, b"one"))
    second = point(store, gated(store, b"two"))
    base = point(store, put_base(store, b"base").digest, "base")
    assert (second.version, second.previous) == (2, first.document_digest)
    assert (base.verdict, base.forgets, second.forgets) == (None, (), ("capitals",))
    found = current_releases(store, TRUST, LATER, {second.alias: seen_of(first)})
    assert found.valid == (base, second)
    assert found.refused == ()


def test_an_alias_without_files_is_refused_only_where_one_was_seen(store: CheckpointStore):
    release = point(store, gated(store))
    (store.root / "releases/smollm2/empty").mkdir()
    assert current_releases(store, TRUST, LATER, {}).refused == ()
    shutil.rmtree(store.root / "releases")
    (refused,) = current_releases(store, TRUST, LATER, {release.alias: seen_of(release)}).refused
    assert refused.alias == release.alias


def one_expired() -> TrustStore:
    return TrustStore(keys=(trusted(ALICE, "alice"), trusted(BOB, "bob", expires_at=LATER)))


def one_revoked() -> TrustStore:
    return TrustStore(keys=(trusted(ALICE, "alice"), trusted(BOB, "bob", revoked_at=NOW)))


def file_of(store: CheckpointStore, version: int) -> Path:
    path = release_path(store, "smollm2", "unlearned", version)
    if path.exists():
        path.chmod(0o600)
    return path


def resign(store: CheckpointStore, release: Release, keys, **changes) -> None:
    changed = Release.model_construct(**{**dict(release), **changes})
    file_of(store, release.version).write_bytes(seal(changed, keys))


HARM = {
    "one signature": lambda s, r: resign(s, r, [ALICE]),
    "two keys of one holder": lambda s, r: resign(s, r, [ALICE, ALICES_SPARE]),
    "an older version in its file": lambda s, r: shutil.copy(file_of(s, 1), file_of(s, 2)),
    "an older version as the next": lambda s, r: shutil.copy(file_of(s, 1), file_of(s, 3)),
    "garbage": lambda s, r: file_of(s, 2).write_bytes(b"{"),
    "its content changed": lambda s, r: file_of(s, 2).write_bytes(
        file_of(s, 2).read_bytes().replace(b'"payload":"ey', b'"payload":"eX')
    ),
    "the one before is gone": lambda s, r: file_of(s, 1).unlink(),
    "the one before is another": lambda s, r: resign(
        s, r.model_copy(update={"version": 1, "previous": None}), [ALICE, BOB]
    ),
    "it names none before": lambda s, r: resign(s, r, [ALICE, BOB], previous=None),
    "from the future": lambda s, r: resign(
        s, r, [ALICE, BOB], created_at=LATER + timedelta(hours=1)
    ),
    "another alias": lambda s, r: resign(s, r, [ALICE, BOB], family="other"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
def test_a_newest_release_that_does_not_count_never_brings_an_older_one_back(
    store: CheckpointStore, harm
):
    point(store, gated(store, b"one"))
    newest = point(store, gated(store, b"two"))
    assert current(store) == newest
    harm(store, newest)
    with pytest.raises(ReleaseInvalidError):
        current(store)
    found = current_releases(store, TRUST, LATER, {})
    assert found.valid == ()
    assert [refusal.alias for refusal in found.refused] == ["smollm2:unlearned"]


def test_expiry_of_release_or_key_ends_it(store: CheckpointStore):
    point(store, gated(store, b"one"), now=NOW)
    newest = point(store, gated(store, b"two"), lifetime=timedelta(days=2))
    assert current(store, now=newest.expires_at - timedelta(seconds=1)) == newest
    with pytest.raises(ReleaseInvalidError, match="expired"):
        current(store, now=newest.expires_at)
    assert current(store, trust=one_expired(), now=NOW) == newest
    with pytest.raises(ReleaseInvalidError, match="1 of the 2"):
        current(store, trust=one_expired(), now=LATER)
    with pytest.raises(ReleaseInvalidError, match="1 of the 2"):
        current(store, trust=one_revoked())


def test_an_older_pointer_from_a_backup_is_known_by_what_was_seen(store: CheckpointStore):
    first = point(store, gated(store, b"one"))
    second = point(store, gated(store, b"two"))
    file_of(store, 2).unlink()
    # A reader that has seen nothing cannot tell; whoever has, can.
    assert current(store) == first
    with pytest.raises(ReleaseInvalidError, match="version 1 is older than 2"):
        current(store, seen=seen_of(second))
    # Another version 2, well signed: the two do not descend from each other.
    other = point(store, gated(store, b"three"))
    with pytest.raises(ReleaseInvalidError, match="not the one that was seen"):
        current(store, seen=seen_of(second))
    assert current(store, seen=seen_of(other)) == other


def test_the_chain_is_that_of_the_release_that_was_verified(store: CheckpointStore, monkeypatch):
    """Its file may be another one when it is read again."""
    seen = point(store, gated(store, b"one"))
    file_of(store, 1).unlink()
    point(store, gated(store, b"fork"))
    newest = point(store, gated(store, b"two"))
    unsigned = newest.model_copy(update={"previous": seen.document_digest})

    def swap(*_) -> None:
        file_of(store, 2).write_bytes(seal(unsigned, []))
        file_of(store, 1).write_bytes(seal(seen, []))

    monkeypatch.setattr(module, "revocation_of", swap)
    with pytest.raises(ReleaseInvalidError, match="not what was signed"):
        current(store, seen=seen_of(seen))


def test_releases_before_the_one_that_was_seen_need_not_be_kept(store: CheckpointStore):
    point(store, gated(store, b"one"))
    second = point(store, gated(store, b"two"))
    third = point(store, gated(store, b"three"))
    file_of(store, 1).unlink()
    assert current(store, seen=seen_of(second)) == third


def test_a_revoked_checkpoint_ends_its_alias(store: CheckpointStore):
    candidate = gated(store)
    point(store, candidate)
    revoke(store, TRUST, candidate, ALICE, reason="leaks", now=NOW)
    with pytest.raises(ReleaseInvalidError, match="leaks"):
        current(store)


def test_what_a_release_may_not_claim(store: CheckpointStore):
    release = point(store, gated(store))
    assert release.verdict is not None
    failed = release.verdict.model_copy(update={"outcome": "FAIL", "forgets": ()})
    digest = failed.document_digest
    for changes, why in (
        ({"forgets": ()}, "what the verdict proves"),
        ({"label": "base", "verdict": None, "verdict_digest": None}, "what the verdict proves"),
        ({"verdict": None, "verdict_digest": None, "forgets": ()}, "only the base"),
        ({"verdict_digest": "sha256:" + "0" * 64}, "must be the verdict's"),
        ({"checkpoint": "sha256:" + "0" * 64}, "another checkpoint"),
        ({"profile": PROFILE.model_copy(update={"dtype": "int4"})}, "another profile"),
        (
            {"label": "x", "forgets": (), "verdict": failed, "verdict_digest": digest},
            "the verdict is FAIL",
        ),
        ({"hazards": ("capitals", "rivers")}, "every hazard"),
        ({"version": 2}, "names the one before"),
        ({"expires_at": NOW}, "must expire after"),
        ({"expires_at": NOW + timedelta(days=91)}, "must not outlast"),
    ):
        with pytest.raises(ValueError, match=why):
            Release.model_validate({**dict(release), **changes})
    assert release.profile == PROFILE
