"""The launcher: what it starts, on which bytes, and what it says of it."""

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from models import launcher
from models.attestation import process_start_ticks, verify_attestation
from models.documents import write_bytes
from models.engine import EngineSpec, engine_name
from models.errors import (
    CheckpointCorruptError,
    EngineError,
    RegistryError,
    ReleaseInvalidError,
    SignatureError,
)
from models.launcher import Launcher, Placement, read_seen
from models.profile import serving_words
from models.release import Release, Seen, current_release, release_path
from models.revocation import revoke
from models.sidecar import SideCar
from models.signing import seal
from models.store import CheckpointStore
from models.supervisor import Running
from models.trust import TrustStore
from tests.models.checkpoints import NOW, PROFILE, put_base, put_candidate, put_report, trusted
from tests.models.test_gate import report
from tests.models.trusting import ALICE, BOB, ENGINE, TRUST, point, trust_in

LATER = NOW + timedelta(hours=1)
RUNNING = Running(pid=os.getpid(), pid_start_ticks=7, started_at=NOW)
NONCE, OTHER_NONCE = "a" * 32, "b" * 32


@dataclass
class House:
    """A home directory with a base checkpoint and its release."""

    home: Path

    def __post_init__(self) -> None:
        self.store = CheckpointStore(self.home / "store")
        self.digest = put_base(self.store, b"weights").digest
        trust_in(self.home)
        installed = EngineSpec("f:l", self.digest, self.store.path(self.digest)).version
        self.profile = PROFILE.model_copy(update={"engine_version": installed})

    def promote(self, digest: str | None = None, **given):
        given = {"profile": self.profile, **given}
        return point(self.store, digest or self.digest, "base", **given)

    def launcher(self, now: datetime = LATER) -> Launcher:
        return Launcher(self.store, self.home, "smollm2:base", ENGINE, lambda: now)

    def spec(self, **given) -> EngineSpec:
        launcher = self.launcher()
        return launcher.spec(launcher.release(), Placement(**given))

    @property
    def shard(self) -> Path:
        return self.store.path(self.digest) / "model.safetensors"


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path)
    made.promote()
    return made


def test_an_engine_is_started_as_it_was_signed(house: House):
    spec = house.spec(port=9, extra=("--gpu-memory-utilization", "0.5"))
    assert (spec.digest, spec.dtype, spec.port) == (house.digest, "float32", 9)
    assert spec.profile() == house.profile
    assert "--gpu-memory-utilization=0.5" in spec.command()
    recorded = house.profile.model_copy(
        update={"flags": (*house.profile.flags, "--max-num-seqs=8"), "dtype": "bfloat16"}
    )
    house.promote(profile=recorded)
    again = house.spec()
    assert again.profile() == recorded
    assert "--max-num-seqs=8" in again.command()


@pytest.mark.parametrize(
    "given",
    [
        {"dtype": "bfloat16"},
        {"max_model_len": 4096},
        {"extra": ("--max-num-seqs", "64")},
        {"extra": ("--quantization=fp8",)},
    ],
)
def test_another_profile_than_the_signed_one_is_refused(house: House, given):
    with pytest.raises(EngineError, match="not the profile"):
        house.spec(**given)


@pytest.mark.parametrize(
    "words",
    [
        ("--lora-modules", "x=/y"),
        ("--enable-lora",),
        ("--trust-remote-code",),
        ("--trust_remote_code",),
        ("--trust-remote",),
        ("--model", "/other"),
        ("--served-model-name=x",),
        ("--tokenizer", "/other"),
        ("--chat-template", "/other"),
        ("--hf-overrides", "{}"),
        ("--speculative-config", "{}"),
        ("--config", "x.yaml"),
        ("--host", "0.0.0.0"),
        ("-tp", "2"),
        ("/another/model",),
        ("--max-num-seqs", "8", "--max-num-seqs", "9"),
        ("--max-num-seqs", "8", "/another/model"),
    ],
)
def test_words_that_are_not_listed_do_not_reach_vllm(house: House, words):
    with pytest.raises(EngineError, match=r"may not be passed|comes twice"):
        house.spec(extra=words)


def test_another_engine_version_or_engine_is_refused(house: House):
    for changes in (
        {"engine_version": "0.0.1"},
        {"engine": "other"},
        {"chat_template": house.digest},
    ):
        house.promote(profile=house.profile.model_copy(update=changes))
        with pytest.raises(EngineError, match=r"not the profile|is for the engine"):
            house.spec()


def test_the_newest_version_is_remembered_across_starts(house: House):
    second = house.promote()
    assert house.launcher().release() == second
    seen = read_seen(house.store, house.home, "smollm2:base")
    assert seen is not None
    assert seen.version == 2
    release_path(house.store, "smollm2", "base", 2).unlink()
    with pytest.raises(ReleaseInvalidError, match="older than 2"):
        house.launcher().release()


def test_no_two_aliases_share_the_name_of_their_files():
    families, labels = ("a", "a-b", "a-b-", "a."), ("b", "b-c", "c", "b-", "b--c", "c.d")
    aliases = [f"{family}:{label}" for family in families for label in labels]
    assert len({engine_name(alias) for alias in aliases}) == len(aliases)
    assert engine_name("zephyr-7b:unlearned") == "zephyr-7b-unlearned"


def test_what_was_remembered_under_a_name_of_two_aliases_stays_remembered(house: House):
    candidate = put_candidate(house.store, house.digest, b"unlearned").digest
    put_report(house.store, report(), house.digest, candidate)
    for _ in range(2):
        newest = point(house.store, candidate, "x-base")
    other = house.launcher().release().model_copy(update={"family": "smollm2-x"})
    write_bytes(release_path(house.store, "smollm2-x", "base", 1), seal(other, (ALICE, BOB)))
    mine, namesake = (
        Launcher(house.store, house.home, alias, ENGINE, lambda: LATER)
        for alias in ("smollm2:x-base", "smollm2-x:base")
    )
    seen = Seen(version=2, digest=newest.document_digest)
    write_bytes(house.home / "seen/smollm2-x-base.json", seen.model_dump_json().encode())
    with pytest.raises(ReleaseInvalidError, match="older than 2"):
        namesake.release()
    assert mine.release() == newest
    assert namesake.release() == other
    assert mine.release() == newest
    release_path(house.store, "smollm2", "x-base", 2).unlink()
    with pytest.raises(ReleaseInvalidError, match="older than 2"):
        mine.release()
    assert namesake.release() == other


def test_who_looked_earlier_does_not_put_an_older_version_back(house: House, monkeypatch):
    """The side-car asks in threads of its own, while the supervisor starts the engine anew."""
    first, is_read, is_promoted = current_release, Event(), Event()

    def slow(*args) -> Release:
        found = first(*args)
        is_read.set()
        is_promoted.wait(1)
        return found

    monkeypatch.setattr(launcher, "current_release", slow)
    early = Thread(target=house.launcher().release)
    early.start()
    is_read.wait()
    monkeypatch.setattr(launcher, "current_release", first)
    second = house.promote()
    late = Thread(target=house.launcher().release)
    late.start()
    late.join(0.2)
    is_promoted.set()
    early.join()
    late.join()
    seen = read_seen(house.store, house.home, "smollm2:base")
    assert seen == Seen(version=2, digest=second.document_digest)


def test_the_engine_gets_the_files_that_were_hashed(house: House):
    spec = house.spec()
    with house.launcher().pinned(spec) as files:
        assert {path.name for path in files.directory.iterdir()} == {"model.safetensors"}
        served = files.directory / "model.safetensors"
        # Another file in its place, after it was hashed: the engine still gets the hashed one.
        house.shard.rename(house.shard.with_name("aside"))
        house.shard.write_bytes(b"evil!!!")
        assert served.read_bytes() == b"weights"
        files.verify()
    assert not served.exists()


@pytest.mark.parametrize("harm", ["flip", "writable", "missing", "link", "extra", "directory"])
def test_harm_between_promotion_and_start_is_not_served(house: House, harm: str):
    shard = house.shard
    if harm == "flip":
        shard.chmod(0o600)
        shard.write_bytes(b"weightz")
        shard.chmod(0o444)
    elif harm == "writable":
        shard.chmod(0o644)
    elif harm == "missing":
        shard.unlink()
    elif harm == "link":
        shard.rename(shard.with_name("aside"))
        shard.symlink_to("aside")
    elif harm == "directory":
        shard.parent.chmod(0o777)
    spec = house.spec()
    if harm == "extra":
        (shard.parent / "adapter_model.safetensors").write_bytes(b"x")
        with house.launcher().pinned(spec) as files:
            assert [path.name for path in files.directory.iterdir()] == ["model.safetensors"]
        return
    with pytest.raises(CheckpointCorruptError), house.launcher().pinned(spec):
        pass


def test_harm_while_it_is_served_is_noticed(house: House):
    with house.launcher().pinned(house.spec()) as files:
        os.link(house.shard, house.home / "backup")  # Touches the status, not a byte.
        files.check()
        house.shard.chmod(0o600)
        with pytest.raises(CheckpointCorruptError, match="written"):
            files.check()
        house.shard.write_bytes(b"weightz")
        house.shard.chmod(0o444)
        with pytest.raises(CheckpointCorruptError, match="other bytes"):
            files.check()


def test_code_in_a_checkpoint_is_refused_at_the_start_too(tmp_path: Path, monkeypatch):
    house = House(tmp_path)
    # A store may be older than its own check.
    monkeypatch.setattr("models.admission.names_code", lambda content: False)
    with house.store.staging() as staged:
        (staged / "model.safetensors").write_bytes(b"w")
        (staged / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"x": "y.z"}}))
        source = house.store.get(house.digest).source
        digest = house.store.put(
            staged, family="smollm2", hazards=("h",), source=source, created_at=NOW
        ).digest
    house.promote(digest)
    with (
        pytest.raises(CheckpointCorruptError, match="auto_map"),
        house.launcher().pinned(house.spec()),
    ):
        pass


def test_a_running_launcher_follows_its_alias(house: House):
    spec, first = house.spec(), house.launcher().release()

    def attested():
        raw = house.launcher().attest(spec, RUNNING, NONCE)
        return verify_attestation(raw, TRUST, NONCE, LATER)

    found = attested()
    assert (found.checkpoint, found.release) == (house.digest, first.document_digest)
    assert (found.profile, found.alias) == (house.profile.document_digest, "smollm2:base")
    assert found.engine_start == f"{NOW.isoformat()}/{os.getpid()}/7"
    # A new release of the same bytes, before the old one expires, needs no new start.
    assert attested().release_version == 1
    house.promote()
    assert attested().release_version == 2
    house.promote(put_base(house.store, b"other").digest)
    with pytest.raises(EngineError, match="points to"):
        attested()
    with pytest.raises(EngineError, match="points to"), house.launcher().pinned(spec):
        pass


def test_a_release_of_the_same_bytes_in_another_profile_is_another_engines(house: House):
    spec = house.spec()
    house.promote(profile=house.profile.model_copy(update={"dtype": "bfloat16"}))
    with pytest.raises(EngineError, match="points to something else"):
        house.launcher().attest(spec, RUNNING, NONCE)
    with pytest.raises(EngineError, match="not the profile"), house.launcher().pinned(spec):
        pass
    assert house.spec().dtype == "bfloat16"


def test_nothing_is_attested_or_started_without_a_release_that_counts(house: House):
    spec, late = house.spec(), house.launcher().release().expires_at
    with pytest.raises(EngineError, match="no engine"):
        house.launcher().attest(spec, None, NONCE)
    with pytest.raises(ReleaseInvalidError, match="expired"):
        house.launcher(late).attest(spec, RUNNING, NONCE)
    revoke(house.store, TRUST, house.digest, ALICE, reason="leaks", now=NOW)
    for start in (
        lambda: house.launcher().attest(spec, RUNNING, NONCE),
        lambda: house.launcher().pinned(spec).__enter__(),
    ):
        with pytest.raises(ReleaseInvalidError, match="leaks"):
            start()


def test_an_attestation_is_by_an_engine_and_for_one_nonce(house: House):
    raw = house.launcher().attest(house.spec(), RUNNING, NONCE)
    with pytest.raises(SignatureError, match="another nonce"):
        verify_attestation(raw, TRUST, OTHER_NONCE, LATER)
    for trust in (
        TrustStore(keys=()),
        TrustStore(keys=(trusted(ENGINE, "engine", "releaser"),)),
        TrustStore(keys=(trusted(ENGINE, "engine", "engine", expires_at=LATER),)),
    ):
        with pytest.raises(SignatureError):
            verify_attestation(raw, trust, NONCE, LATER)


def test_the_side_car_answers_one_question():
    def attest(nonce: str) -> bytes:
        if nonce == OTHER_NONCE:
            raise EngineError("no engine is ready")
        return nonce.encode()

    with SideCar("127.0.0.1", 0, attest) as side_car:
        answer = httpx.get(f"{side_car.url}/attest?nonce={NONCE}")
        assert (answer.status_code, answer.content) == (200, NONCE.encode())
        for path, status in (
            ("/attest", 400),
            ("/attest?nonce=short", 400),
            (f"/attest?nonce={NONCE}&nonce={NONCE}", 400),
            (f"/attest?nonce={NONCE}%0A", 400),
            (f"/attest?nonce={OTHER_NONCE}", 503),
            ("/", 404),
        ):
            assert httpx.get(side_car.url + path).status_code == status, path


def test_when_a_process_started():
    ticks = process_start_ticks(os.getpid())
    assert 0 < process_start_ticks(1) <= ticks
    with pytest.raises(OSError, match="No such file"):
        process_start_ticks(2**22 + 1)


def test_the_public_door_is_started_on_a_verified_verdict(tmp_path: Path):
    house = House(tmp_path)
    candidate = put_candidate(house.store, house.digest, b"unlearned").digest
    put_report(house.store, report(profile=house.profile), house.digest, candidate)
    point(house.store, candidate, profile=house.profile)
    launcher = Launcher(house.store, house.home, "smollm2:unlearned", ENGINE, lambda: LATER)
    spec = launcher.spec(launcher.release(), Placement())
    with launcher.pinned(spec) as files:
        assert (files.directory / "model.safetensors").read_bytes() == b"unlearned"
    with pytest.raises(RegistryError):
        Launcher(house.store, house.home, "smollm2:other", ENGINE, lambda: LATER).release()


def test_the_words_of_a_profile_make_that_profile(house: House):
    spec = EngineSpec(
        "f:l", house.digest, house.shard.parent, dtype="float32", max_model_len=512,
        extra=("--quantization", "fp8", "--max-num-seqs=4"), version="9",
    )  # fmt: skip
    words = serving_words(spec.profile())
    assert (words.dtype, words.max_model_len) == ("float32", 512)
    assert spec.profile().quantisation == "fp8"
    assert set(words.extra) == {"--quantization=fp8", "--max-num-seqs=4"}
