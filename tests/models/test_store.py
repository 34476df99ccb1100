"""The store: complete or invisible, content-addressed, and never a pickle."""

import errno
import json
import os
from datetime import UTC, datetime

import pytest

from models import scratch
from models.errors import (
    CheckpointCorruptError,
    CheckpointNotFoundError,
    CheckpointRefusedError,
    DocumentError,
    StoreFullError,
    StoreReadOnlyError,
)
from models.store import CheckpointStore
from tests.models.checkpoints import NOW, SOURCE, put_base, put_candidate


def test_the_digest_depends_on_the_files_alone(store: CheckpointStore):
    first = put_base(store, b"weights")
    later = put_base(store, b"weights", created_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert first.digest == later.digest
    assert later.created_at == NOW, "what is stored already stays as it is"
    assert put_base(store, b"other").digest != first.digest
    assert len(store.manifests()) == 2


def test_a_stored_checkpoint_is_read_only_and_whole(store: CheckpointStore):
    manifest = put_base(store, b"weights")
    assert store.verify(manifest.digest) == manifest
    modes = {path.stat().st_mode & 0o222 for path in store.path(manifest.digest).iterdir()}
    assert modes == {0}
    assert list((store.root / "staging").iterdir()) == []


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "add", "link"])
def test_changed_bytes_are_noticed(store: CheckpointStore, harm: str):
    manifest = put_base(store, b"weights")
    path = store.path(manifest.digest) / "model.safetensors"
    path.chmod(0o600)
    if harm == "flip":
        path.write_bytes(b"weightz")
    elif harm == "truncate":
        path.write_bytes(b"weight")
    elif harm == "remove":
        path.unlink()
    elif harm == "add":
        (path.parent / "extra.json").write_text("{}")
    else:
        copy = path.with_name("copy")
        path.rename(copy)
        path.symlink_to(copy)
    with pytest.raises(CheckpointCorruptError):
        store.verify(manifest.digest)


def test_a_manifest_of_another_checkpoint_is_noticed(store: CheckpointStore):
    one, other = put_base(store, b"one"), put_base(store, b"other")
    target = store.path(one.digest) / "manifest.json"
    target.chmod(0o600)
    target.write_bytes((store.path(other.digest) / "manifest.json").read_bytes())
    with pytest.raises(CheckpointCorruptError):
        store.get(one.digest)


@pytest.mark.parametrize("name", ["model.bin", "weights.pt", "code.py", "data.pkl", "m.gguf"])
def test_only_safetensors_enter(store: CheckpointStore, name: str):
    with store.staging() as staged:
        (staged / "model.safetensors").write_bytes(b"w")
        (staged / name).write_bytes(b"x")
        with pytest.raises(CheckpointRefusedError):
            store.put(staged, family="f", hazards=("h",), source=SOURCE, created_at=NOW)


def test_remote_code_links_and_empty_checkpoints_do_not_enter(store: CheckpointStore):
    for write in (
        lambda d: (d / "config.json").write_text(json.dumps({"auto_map": {"a": "b"}})),
        lambda d: (d / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"a": "b"}})),
        lambda d: (d / "config.json").write_bytes(b"{"),
        lambda d: (d / "config.json").write_bytes(b"5"),
        lambda d: (d / "config.json").write_bytes(b"\xff"),
        lambda d: (d / "config.json").write_text("[" * 100_000),
        lambda d: os.mkfifo(d / "pipe.json"),
        lambda d: (d / "linked.json").symlink_to("/etc/hostname"),
        lambda d: (d / "model.safetensors").unlink(),
    ):
        with store.staging() as staged:
            (staged / "model.safetensors").write_bytes(b"w")
            write(staged)
            with pytest.raises(CheckpointRefusedError):
                store.put(staged, family="f", hazards=("h",), source=SOURCE, created_at=NOW)


def test_a_full_disk_is_reported_and_leaves_nothing_visible(store: CheckpointStore, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFullError, match="no room"):
        put_base(store, b"weights")
    assert store.manifests() == []
    assert list((store.root / "staging").iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_live_one_writes_is_not(
    store: CheckpointStore,
):
    staging = store.root / "staging"
    (staging / f"{os.getpid()}-another-containers-of-the-same-number").mkdir(parents=True)
    with store.staging() as alive:
        dead = os.fork()
        if dead == 0:
            with store.staging():
                os._exit(0)
        os.waitpid(dead, 0)
        assert len(list(staging.iterdir())) == 2, "the killed one's is there"
        with store.staging() as another:
            assert sorted(staging.iterdir()) == sorted((alive.parent, another.parent))
    assert list(staging.iterdir()) == []


def test_names_resolve_to_one_checkpoint_or_to_none(store: CheckpointStore):
    digest = put_base(store, b"weights").digest
    assert store.resolve(digest) == store.resolve(digest[7:15]) == digest
    for name in (digest[7:10], "feedfacefeed", "", "sha256:"):
        with pytest.raises(CheckpointNotFoundError):
            store.resolve(name)


def test_a_damaged_manifest_keeps_no_other_checkpoint_from_being_named(store: CheckpointStore):
    digest, other = put_base(store, b"weights").digest, put_base(store, b"other").digest
    damaged = store.path(other) / "manifest.json"
    damaged.chmod(0o600)
    damaged.write_bytes(b"")
    assert store.resolve(digest[7:15]) == digest
    with pytest.raises(DocumentError):
        store.get(store.resolve(other))


def test_lineage_leads_to_the_base(store: CheckpointStore):
    base = put_base(store, b"weights")
    candidate = put_candidate(store, base.digest, b"unlearned")
    assert not candidate.is_base
    assert candidate.lineage is not None
    assert store.get(candidate.lineage.base) == base


def test_an_unreadable_report_is_an_error_not_a_gap(store: CheckpointStore):
    (store.root / "reports").mkdir(parents=True)
    (store.root / "reports" / ("0" * 64 + ".dsse.json")).write_text("{}")
    with pytest.raises(DocumentError):
        store.reports_for("sha256:" + "1" * 64)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_store_is_said_as_that(store: CheckpointStore, monkeypatch, code: int):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(scratch.tempfile, "mkdtemp", refuse)
    with pytest.raises(StoreReadOnlyError, match="cannot be written"):
        put_base(store, b"weights")


def test_known_bytes_are_not_taken_under_other_hazards(store):
    put_base(store, b"base", hazards=("capitals", "rivers"))
    put_base(store, b"base", hazards=("rivers", "capitals"))
    with pytest.raises(CheckpointRefusedError, match=r"here already.*capitals, rivers"):
        put_base(store, b"base", hazards=("capitals",))
