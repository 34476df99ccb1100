"""Peppers of API keys have versions: a newer one ends no key, one that is missing does."""

from pathlib import Path

import httpx
import pytest

from gateway.controlplane.leaks import PATH as LEAKS
from gateway.errors import ConfigurationError
from gateway.identity.api_keys import mint
from gateway.identity.peppers import Peppers, load_peppers
from gateway.identity.secret import load_secret
from gateway.settings import Settings
from tests.gateway.conftest import make_settings, open_gateway, run_gateway
from tests.gateway.controlplane.test_admin_api import code

OLD, NEW = b"o" * 32, b"n" * 32


def test_the_newest_hashes_and_each_knows_its_own():
    parsed, _ = mint("key")
    before, after = Peppers({1: OLD}), Peppers({1: OLD, 2: NEW})
    stored, newer = before.hashed(parsed), after.hashed(parsed)
    assert (before.version, after.version) == (1, 2)
    assert stored != newer
    assert after.matches(parsed, stored, 1)
    assert after.matches(parsed, newer, 2)
    assert not after.matches(parsed, stored, 2)
    assert not after.matches(parsed, newer, 1)
    assert not after.matches(mint("key")[0], stored, 1)
    assert not after.matches(parsed, None)


def test_a_version_that_is_not_there_knows_nothing():
    """Not even what is hashed with another pepper of ours."""
    parsed, _ = mint("key")
    one = Peppers({1: OLD})
    assert not one.matches(parsed, one.hashed(parsed), 2)


def given(tmp_path, **files: bytes) -> dict[int, str]:
    for name, held in files.items():
        (tmp_path / name).write_bytes(held)
    return {int(name[1:]): str(tmp_path / name) for name in files}


@pytest.mark.parametrize("held", [b"", b"n" * 31, None], ids=["empty", "short", "missing"])
def test_a_file_that_holds_no_pepper_is_no_pepper(tmp_path, held):
    files = given(tmp_path, v2=b"") if held is None else given(tmp_path, v2=held)
    if held is None:
        (tmp_path / "v2").unlink()
    settings = Settings(home=tmp_path, key_pepper_files=files)
    with pytest.raises(ConfigurationError):
        load_peppers(settings, load_secret(settings))


def test_the_first_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        Settings(home=tmp_path, key_pepper_files=given(tmp_path, v1=NEW))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_newer_pepper_ends_no_key_and_one_that_is_gone_ends_its_own(request, tmp_path, kind):
    settings = make_settings(request, tmp_path, kind)
    with run_gateway(settings) as first:
        old, person = first.keys["public"], first.people["public"]
        files = {number: Path(path) for number, path in given(tmp_path, v2=NEW).items()}
        with open_gateway(first.settings.model_copy(update={"key_pepper_files": files})) as second:
            assert second.chat(old).status_code == 200
            second.admin_key = first.admin_key
            (row,) = second.admin("GET", f"/keys?person_id={person}").json()
            assert row["pepper_version"] == 1
            made = second.admin("POST", f"/keys/{row['id']}/rotate", json={"overlap_hours": 1})
            assert made.json()["pepper_version"] == 2
            new = made.json()["key"]
            second.wait_until_seen()
            assert second.chat(new).status_code == 200
            assert second.chat(old).status_code == 200, "until the overlap ends"
            # The first gateway has never heard of it.
            first.wait_until_seen()
            assert code(first.chat(new)) == (401, "invalid_api_key")
            assert first.chat(old).status_code == 200
            assert httpx.post(second.url + LEAKS, json=[{"token": new}]).status_code == 202
            second.wait_until_seen()
            assert code(second.chat(new)) == (401, "revoked_api_key")
