"""Waivers: two people, one rule, an end."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.errors import CheckpointNotFoundError, SignatureError
from models.store import CheckpointStore
from models.trust import TrustStore
from models.waiver import (
    Waiver,
    approve_waiver,
    find_waiver,
    list_waivers,
    waivers_in_force,
    write_waiver,
)
from tests.models.checkpoints import EVALUATOR, NOW, TRUST, WALT, WANDA, trusted

SPARE = Ed25519PrivateKey.from_private_bytes(bytes([14]) * 32)


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store")


def waiver(**changes) -> Waiver:
    given = {
        "family": "smollm2",
        "subset": "chem",
        "rule": "accuracy",
        "reason": "no corpus",
        "created_at": NOW,
        "expires_at": NOW + timedelta(days=30),
    }
    return Waiver(**{**given, **changes})


def test_two_people_one_after_the_other_make_a_waiver(store):
    digest = write_waiver(store, waiver(), [WALT])
    assert waivers_in_force(store, TRUST, NOW) == ()
    assert find_waiver(store, digest[7:17]) == (digest, waiver())
    approve_waiver(store, digest, WANDA)
    assert waivers_in_force(store, TRUST, NOW) == (waiver(),)


REFUSED = {
    "one signature": [WALT],
    "one signature twice": [WALT, WALT],
    "two keys of one holder": [WALT, SPARE],
    "an evaluator": [WALT, EVALUATOR],
    "an unknown key": [WALT, Ed25519PrivateKey.from_private_bytes(bytes([99]) * 32)],
}


@pytest.mark.parametrize("keys", REFUSED.values(), ids=REFUSED.keys())
def test_fewer_than_two_holders_are_not_enough(store, keys):
    write_waiver(store, waiver(), keys)
    trust = TrustStore(keys=(*TRUST.keys, trusted(SPARE, "walt", "waiver")))
    assert waivers_in_force(store, trust, NOW) == ()
    assert "1 of the 2" in list_waivers(store, trust, NOW)[0].problem


def test_a_waiver_ends(store):
    write_waiver(store, waiver(), [WALT, WANDA])
    assert waivers_in_force(store, TRUST, NOW + timedelta(days=30)) == ()
    assert waivers_in_force(store, TRUST, NOW - timedelta(days=1)) == ()


@pytest.mark.parametrize("days", [0, -1, 181])
def test_a_waiver_lasts_180_days_at_most(days):
    with pytest.raises(ValueError, match="180 days"):
        waiver(expires_at=NOW + timedelta(days=days))


@pytest.mark.parametrize("rule", ["control", "ties", "dataset", "drop", "announced"])
def test_what_makes_a_run_invalid_cannot_be_waived(rule):
    with pytest.raises(ValueError, match="rule"):
        waiver(rule=rule)


def test_damage_excepts_nothing(store):
    digest = write_waiver(store, waiver(), [WALT, WANDA])
    path = store.root / "waivers" / f"{digest[7:]}.dsse.json"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-20])
    assert list_waivers(store, TRUST, NOW) == []


def test_the_same_waiver_is_approved_not_written_again(store):
    write_waiver(store, waiver(), [WALT])
    with pytest.raises(SignatureError, match="approve"):
        write_waiver(store, waiver(), [WANDA])
    with pytest.raises(CheckpointNotFoundError):
        find_waiver(store, "0000000")
