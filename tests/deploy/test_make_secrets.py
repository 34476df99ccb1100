"""deploy/make-secrets.sh: random, private, made once."""

import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "make-secrets.sh"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def run(directory: Path) -> str:
    return subprocess.run([SCRIPT, directory], check=True, capture_output=True, text=True).stdout


def test_each_secret_is_256_random_bits(directory: Path):
    run(directory)
    texts = [path.read_text() for path in directory.iterdir() if not path.name.endswith("_url")]
    assert len(texts) == len(set(texts)) == 8
    for text in texts:
        assert len(bytes.fromhex(text)) == 32


def test_addresses_are_for_people_to_write(directory: Path):
    printed = run(directory)
    for name in ("alert_pager_url", "alert_ticket_url", "alert_watchdog_url"):
        assert (directory / name).read_text().startswith("http://127.0.0.1:")
        assert f"made {name}: write the address" in printed


def test_nobody_else_gets_past_the_directory_and_every_container_can_read(directory: Path):
    run(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o444}


def test_a_second_run_keeps_what_is_there_and_replaces_what_is_empty(directory: Path):
    run(directory)
    before = {path.name: path.read_text() for path in directory.iterdir()}
    emptied = directory / "redis_password"
    emptied.chmod(0o600)
    emptied.write_text("")
    printed = run(directory)
    assert printed.splitlines().count("made redis_password") == 1
    after = {path.name: path.read_text() for path in directory.iterdir()}
    assert len(after.pop("redis_password")) == 64
    before.pop("redis_password")
    assert after == before


def test_secrets_and_values_stay_out_of_what_it_prints(directory: Path):
    printed = run(directory)
    for path in directory.iterdir():
        assert path.read_text() not in printed


def test_the_gateways_secret_is_long_enough(directory: Path):
    from gateway.identity.secret import MIN_BYTES

    run(directory)
    assert len((directory / "gateway_secret").read_bytes()) >= MIN_BYTES


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")
@pytest.mark.parametrize(
    "path",
    [
        "deploy/secrets/gateway_secret",
        "ada/key.pem",
        "witness.pem",
        ".env",
        "backups/2026-05-01T12/database.pgdump",
        "wal/base-2026-05-01/base.tar.gz",
        "deploy/nginx/tls/privkey.pem",
    ],
)
def test_git_takes_no_secret_that_a_page_has_people_write(path: str):
    done = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False)
    assert done.returncode == 0
