"""Revocations: one person, at once, for ever."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from models.errors import SignatureError
from models.revocation import revocation_of, revocation_path, revoke, verified_revocations
from models.store import CheckpointStore
from models.trust import TrustStore
from tests.models.checkpoints import NOW, put_base, trusted
from tests.models.trusting import ALICE, BOB, ENGINE, TRUST


def test_one_releaser_is_enough_and_the_first_reason_stays(store: CheckpointStore):
    digest = put_base(store, b"base").digest
    assert revocation_of(store, digest) is None
    first = revoke(store, TRUST, digest, ALICE, reason="leaks", now=NOW)
    assert revoke(store, TRUST, digest, BOB, reason="again", now=NOW) == first
    assert revocation_of(store, digest) == "leaks"
    assert verified_revocations(store, TRUST) == {digest: first}


def test_it_outlasts_a_power_cut(store: CheckpointStore, monkeypatch):
    """Its name is on the disk too, when the verb says that it is done."""
    flushed, flush = [], os.fsync

    def note(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    digest = put_base(store, b"base").digest
    revoke(store, TRUST, digest, ALICE, reason="leaks", now=NOW)
    assert flushed[-1] == revocation_path(store, digest).parent.resolve()


def test_nobody_else_can_revoke(store: CheckpointStore):
    digest = put_base(store, b"base").digest
    with pytest.raises(SignatureError):
        revoke(store, TRUST, digest, ENGINE, reason="x", now=NOW)
    assert revocation_of(store, digest) is None


def test_it_outlives_its_key(store: CheckpointStore):
    digest = put_base(store, b"base").digest
    revoke(store, TRUST, digest, ALICE, reason="leaks", now=NOW)
    expired = TrustStore(keys=(trusted(ALICE, "alice", expires_at=NOW + timedelta(hours=1)),))
    assert digest in verified_revocations(store, expired)
    assert revocation_of(store, digest) == "leaks"


def test_a_file_that_nobody_has_signed_closes_but_is_not_remembered(store: CheckpointStore):
    digest = put_base(store, b"base").digest
    path = revocation_path(store, digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")
    assert "cannot be read" in (revocation_of(store, digest) or "")
    assert verified_revocations(store, TRUST) == {}
    revoke(store, TRUST, digest, ALICE, reason="leaks", now=NOW)
    assert revocation_of(store, digest) == "leaks"


def test_a_revocation_under_another_checkpoints_name_is_not_that_ones(store: CheckpointStore):
    one, other = put_base(store, b"one").digest, put_base(store, b"other").digest
    revoke(store, TRUST, one, ALICE, reason="leaks", now=NOW)
    revocation_path(store, other).write_bytes(revocation_path(store, one).read_bytes())
    assert set(verified_revocations(store, TRUST)) == {one}
    # Alone it is nobody's: the checkpoint that it speaks of has no file of its own name any more.
    revocation_path(store, one).unlink()
    assert verified_revocations(store, TRUST) == {}
