"""From an empty trust store to a served alias and its end, by the verbs alone."""

import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.cli import main
from models.errors import DocumentError
from models.fingerprint import Answer, Fingerprint, fingerprint_path, keep
from models.manifest import Source
from models.release import current_releases, proposal_path
from models.revocation import revocation_of
from models.store import CheckpointStore
from models.trust import TrustStore, read_trust, write_trust
from tests.models.checkpoints import put_base


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def airlock(home: Path, capsys):
    """Run a verb; return what it prints."""

    def run(*words: object, status: int = 0) -> str:
        assert main(["--home", str(home), *map(str, words)]) == status
        printed = capsys.readouterr()
        return printed.out if status == 0 else printed.err

    return run


def base(home: Path, weights: bytes = b"base") -> str:
    return put_base(CheckpointStore(home / "store"), weights).digest


def current(home: Path):
    now = datetime.now(UTC)
    return current_releases(CheckpointStore(home / "store"), read_trust(home), now, {})


ENGINE = ("--engine-version", "1")


def test_keys_are_added_listed_and_revoked(airlock, home: Path, tmp_path: Path):
    airlock("trust", "init")
    assert read_trust(home).keys == ()
    public = airlock("trust", "new-key", tmp_path / "ada.pem").strip()
    assert airlock("trust", "public", tmp_path / "ada.pem").strip() == public
    airlock("trust", "add", public, "--holder", "ada", "--role", "releaser", "--role", "waiver")
    (key,) = read_trust(home).keys
    assert (key.holder, key.roles) == ("ada", ("releaser", "waiver"))
    assert "ada" in airlock("trust", "list")
    assert "already" in airlock(
        "trust", "add", public, "--holder", "bob", "--role", "engine", status=29
    )
    assert "no public key" in airlock(
        "trust", "add", "xyz", "--holder", "x", "--role", "engine", status=29
    )
    same = ("trust", "add", "00" * 32, "--role", "engine", "--holder")
    for days in ("0", "-1", "3651", "99999999999", "x"):
        with pytest.raises(SystemExit) as ended:
            airlock("trust", "add", "00" * 32, "--holder", "x", "--role", "engine", "--days", days)
        assert ended.value.code == 2
    assert read_trust(home).keys == (key,)
    assert "its holder is spelled ada there" in airlock(*same, "A\u200bDA ", status=29)
    assert "started anew" in airlock("trust", "init", status=29)
    for nothing in ("zz", ""):
        assert "0 keys" in airlock("trust", "revoke", nothing, status=29)
    airlock("trust", "revoke", key.keyid[:8])
    (revoked,) = read_trust(home).keys
    assert revoked.revoked_at is not None
    assert "revoked" in airlock("trust", "list")


def test_a_revocation_beside_an_addition_is_not_lost(airlock, home: Path, tmp_path, monkeypatch):
    airlock("trust", "init")
    for name in ("thief", "new"):
        airlock("trust", "new-key", tmp_path / f"{name}.pem")
    words = ["--holder", "x", "--role", "releaser"]
    airlock("trust", "add", airlock("trust", "public", tmp_path / "thief.pem").strip(), *words)
    public = airlock("trust", "public", tmp_path / "new.pem").strip()
    (stolen,) = read_trust(home).keys
    revoking = threading.Thread(
        target=main, args=(["--home", str(home), "trust", "revoke", stolen.keyid],)
    )

    def slow(home: Path, trust: TrustStore) -> None:
        monkeypatch.undo()
        revoking.start()
        revoking.join(0.2)  # It waits for what is being written here.
        write_trust(home, trust)

    monkeypatch.setattr("models.cli.trust.write_trust", slow)
    airlock("trust", "add", public, *words)
    revoking.join()
    revoked = {key.keyid: key.revoked_at is not None for key in read_trust(home).keys}
    assert revoked.pop(stolen.keyid)
    assert list(revoked.values()) == [False]


def test_what_people_write_is_shown_and_not_obeyed(airlock, home: Path, tmp_path: Path):
    airlock("trust", "init")
    public = airlock("trust", "new-key", tmp_path / "ada.pem").strip()
    written, shown = "Ada [bold] [/x] :x: \x1b[2J", "Ada [bold] [/x] :x: \ufffd[2J"
    assert shown in airlock("trust", "add", public, "--holder", written, "--role", "releaser")
    assert shown in airlock("trust", "list")
    digest = base(home)
    source = Source(name=written, package="p", version="1", sha256="0" * 64, license="MIT")
    with CheckpointStore(home / "store").staging() as staged:
        (staged / "model.safetensors").write_bytes(b"odd")
        odd = CheckpointStore(home / "store").put(
            staged, family="smollm2", hazards=("bio",), source=source, created_at=datetime.now(UTC)
        )
    assert shown in airlock("checkpoints", "show", odd.digest)
    revoke = ("revoke", digest, "--key", tmp_path / "ada.pem", "--reason", written)
    assert airlock(*revoke) == f"{digest} is revoked: {shown}\n"
    assert shown in airlock("trust", "revoke", read_trust(home).keys[0].keyid)


def test_two_people_promote_and_one_revokes(airlock, home: Path, tmp_path: Path):
    airlock("trust", "init")
    keys = {}
    for holder in ("ada", "grace"):
        keys[holder] = tmp_path / f"{holder}.pem"
        public = airlock("trust", "new-key", keys[holder]).strip()
        airlock("trust", "add", public, "--holder", holder, "--role", "releaser")
    digest = base(home)
    promote = ("promote", digest, "--as", "smollm2:base", "--reason", "first", *ENGINE)
    assert "nothing was changed" in airlock(*promote, "--dry-run")
    assert "name the releaser's key" in airlock(*promote, status=29)
    assert "is proposed" in airlock(*promote, "--key", keys["ada"])
    assert current(home).valid == ()
    approve = ("promote", "--approve", "smollm2:base")
    shown = json.loads(airlock(*approve, "--dry-run"))
    assert (shown["checkpoint"], shown["reason"]) == (digest, "first")
    assert "second person" in airlock(*approve, status=25)
    assert "1 of the 2" in airlock(*approve, "--key", keys["ada"], status=28)
    assert "v1 -> sha256:" in airlock(*approve, "--key", keys["grace"])
    assert [release.checkpoint for release in current(home).valid] == [digest]
    both = ("--key", keys["ada"], "--key", keys["grace"])
    second = base(home, b"second")
    airlock("promote", second, "--as", "smollm2:base", "--days", "1", *ENGINE, *both)
    assert "would go back to v1" in airlock("rollback", "smollm2:base", "--dry-run")
    airlock("rollback", "smollm2:base", *both)
    (back,) = current(home).valid
    assert (back.version, back.checkpoint) == (3, digest)
    closed = airlock("revoke", digest, "--key", keys["grace"], "--reason", "it leaks")
    assert "smollm2:base is closed" in closed
    assert current(home).valid == ()
    assert "it leaks" in airlock(*promote, *both, status=25)


def test_a_whole_digest_is_revoked_whatever_the_store_is_like(airlock, home: Path, tmp_path: Path):
    airlock("trust", "init")
    public = airlock("trust", "new-key", tmp_path / "ada.pem").strip()
    airlock("trust", "add", public, "--holder", "ada", "--role", "releaser")
    store = CheckpointStore(home / "store")
    damaged, gone = base(home), "sha256:" + "a" * 64
    manifest = store.path(damaged) / "manifest.json"
    manifest.chmod(0o600)
    manifest.write_bytes(b"")
    for digest, name in ((damaged, damaged), (gone, "a" * 64)):
        words = ("revoke", name, "--key", tmp_path / "ada.pem", "--reason", "it leaks")
        assert f"{digest} is revoked" in airlock(*words)
        assert revocation_of(store, digest) == "it leaks"


def test_a_release_holds_what_its_engine_said_when_it_was_judged(airlock, home: Path):
    airlock("trust", "init", "--demo")
    digest, store = base(home), CheckpointStore(home / "store")
    promote = ("promote", digest, "--as", "smollm2:base", *ENGINE)
    assert "no behavioural fingerprint" in airlock(*promote)
    (first,) = current(home).valid
    assert first.fingerprint is None
    said = Fingerprint(
        checkpoint=digest,
        profile=first.profile.document_digest,
        answers=(Answer(prompt="1, 2,", tokens=(3,)),),
    )
    keep(store, said)
    assert "no behavioural" not in airlock(*promote)
    (second,) = current(home).valid
    assert second.fingerprint == said
    # What another profile says is another matter.
    airlock(*promote, "--max-model-len", "512")
    (third,) = current(home).valid
    assert third.fingerprint is None
    path = fingerprint_path(store, digest, said.profile)
    path.unlink()
    path.write_text("{")
    assert str(path) in airlock(*promote, status=DocumentError.exit_code)


def test_the_demonstration_signs_by_itself_and_says_so(airlock, home: Path):
    assert "another person's" in airlock("trust", "init", "--demo")
    said = airlock("promote", base(home), "--as", "smollm2:base", *ENGINE)
    assert "demonstration's keys" in said
    assert len(current(home).valid) == 1
    for path in (home / "trust/private").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    # An approval is never signed by itself.
    digest = base(home, b"second")
    key = home / "trust/private/releaser-a.pem"
    airlock("promote", digest, "--as", "smollm2:base", "--key", key, *ENGINE)
    assert proposal_path(CheckpointStore(home / "store"), "smollm2", "base", 2).exists()
    approve = ("promote", "--approve", "smollm2:base")
    assert "second person" in airlock(*approve, status=25)
    # Nor where there are more than the two: which of them would be meant?
    public = airlock("trust", "new-key", home / "trust/private/releaser-c.pem").strip()
    airlock("trust", "add", public, "--holder", "releaser-c", "--role", "releaser")
    third = airlock("promote", digest, "--as", "smollm2:base", *ENGINE, status=29)
    assert "here are 3, needed 2" in third
    (home / "trust/private/releaser-c.pem").unlink()
    # With one of the two gone it is no demonstration any more.
    key.unlink()
    assert "name the releaser's key" in airlock(
        "promote", digest, "--as", "smollm2:base", *ENGINE, status=29
    )
    airlock(*approve, "--dry-run")
    other = home / "trust/private/releaser-b.pem"
    airlock("revoke", digest, "--key", other, "--reason", "it leaks")
    assert "it leaks" in airlock(*approve, "--dry-run", status=25)


def test_what_cannot_be_asked(airlock, home: Path):
    airlock("trust", "init", "--demo")
    digest = base(home)
    assert "family" in airlock("promote", digest, "--as", "other:base", status=25)
    assert "name the checkpoint" in airlock("promote", "--as", "smollm2:base", status=25)
    assert "no next release" in airlock("promote", "--approve", "smollm2:base", status=25)
    flag = "--engine-flag=--enable-lora"
    refused = airlock("promote", digest, "--as", "smollm2:base", flag, *ENGINE, status=26)
    assert "may not be passed" in refused
