"""Engines get requests only while they attest what is released, and say what it said."""

import time
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.setting_types import EngineSetting
from gateway.settings import Settings
from models.fingerprint import Answer, Fingerprint
from models.store import CheckpointStore
from tests.fakes.vllm import FakeVllm
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code
from tests.models.checkpoints import PROFILE, put_base
from tests.models.trusting import point
from tests.servers import wait_for

UNAVAILABLE = (503, "engine_unavailable")


def door(running, who="public"):
    answer = running.chat(who)
    return (200, "") if answer.status_code == 200 else code(answer)


@pytest.fixture
def gateway(request, tmp_path):
    """Start a gateway of its own with other settings or releases."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        settings = make_settings(request, tmp_path, "sqlite")

        def start(releases=None, **changes):
            return stack.enter_context(run_gateway(settings, releases, **changes))

        yield start


def other_weights(side_car):
    """VLLM was started again on other weights, and its launcher says so."""
    side_car.release = side_car.release.model_copy(update={"checkpoint": "sha256:" + "e" * 64})


def other_profile(side_car):
    """A further flag: the same bytes, run otherwise."""
    profile = PROFILE.model_copy(update={"flags": (*PROFILE.flags, "--max-num-seqs=8")})
    side_car.release = side_car.release.model_copy(update={"profile": profile})


def stranger(side_car):
    side_car.key = Ed25519PrivateKey.generate()


def in_mode(mode):
    return lambda side_car: setattr(side_car, "mode", mode)


FAULTS = {
    "other weights": other_weights,
    "another profile": other_profile,
    "another key": stranger,
    "an answer to an old nonce": in_mode("replay"),
    "the launcher refuses": in_mode("down"),
    "the launcher answers without end": in_mode("long"),
}


@pytest.mark.parametrize("harm", FAULTS.values(), ids=FAULTS.keys())
def test_a_wrong_attestation_takes_the_engine_out_at_once(running, harm):
    side_car = running.side_cars["unlearned"]
    release, key = side_car.release, side_car.key
    assert door(running) == (200, "")
    harm(side_car)
    wait_for(lambda: door(running) == UNAVAILABLE)
    assert door(running, "researcher") == (200, "")
    assert any("no verified engine" in reason for reason in running.reasons())
    side_car.release, side_car.key, side_car.mode = release, key, "ok"
    wait_for(lambda: door(running) == (200, ""))


@pytest.mark.parametrize("mode", ["long", "no text", "nested without end"])
def test_an_engine_whose_answer_cannot_be_read_is_taken_out(running, mode):
    engine = running.engines["unlearned"]
    assert door(running) == (200, "")
    engine.mode = mode
    wait_for(lambda: door(running) == UNAVAILABLE)
    assert door(running, "researcher") == (200, "")
    engine.mode = "ok"
    wait_for(lambda: door(running) == (200, ""))


def test_an_engine_that_cannot_be_asked_for_whatever_reason_is_taken_out(running, monkeypatch):
    def fail(address):
        raise AssertionError(f"a defect, at {address.url}")

    assert door(running) == (200, "")
    with monkeypatch.context() as patched:
        patched.setattr(running.gateway.pool._probe, "serves_its_digest", fail)
        wait_for(lambda: door(running) == UNAVAILABLE)
    wait_for(lambda: door(running) == (200, ""))


def test_silence_and_a_version_that_lags_are_borne_for_a_while(gateway):
    running = gateway(attestation_max_age_seconds=1.5)
    side_car = running.side_cars["unlearned"]
    lagging = side_car.release.model_copy(update={"reason": "of another file"})
    for release, mode in ((side_car.first, "silent"), (lagging, "ok")):
        side_car.mode, side_car.release = mode, release
        asked = side_car.asked
        wait_for(lambda before=asked: side_car.asked > before + 1)
        assert door(running) == (200, "")
        wait_for(lambda: door(running) == UNAVAILABLE, 5)
        side_car.mode, side_car.release = "ok", side_car.first
        wait_for(lambda: door(running) == (200, ""))


def test_an_attestation_grows_old_though_nobody_asks_any_more(gateway):
    """Should the task hang that asks an engine, its last word does not count for ever."""
    running = gateway()
    pool = running.gateway.pool
    replica = next(
        r for r in pool.replicas() if r.address.digest == running.engines["unlearned"].digest
    )
    for task in replica.tasks:
        task.get_loop().call_soon_threadsafe(task.cancel)
    wait_for(lambda: all(task.done() for task in replica.tasks))
    assert door(running) == (200, "")
    replica.attested_at -= running.settings.attestation_max_age_seconds + 1
    assert replica.verified
    assert door(running) == UNAVAILABLE
    assert door(running, "researcher") == (200, "")


def test_an_engine_that_comes_back_starts_slowly(running):
    engine = running.engines["unlearned"]
    pool = running.gateway.pool
    replica = next(r for r in pool.replicas() if r.address.digest == engine.digest)
    left = time.monotonic()
    engine.mode = "dead"
    wait_for(lambda: not replica.verified)
    engine.mode = "ok"
    wait_for(lambda: replica.verified)
    assert replica.returned_at > left
    replica.returned_at = 0.0
    replica.breaker.state = "half-open"
    pool.succeeded(replica)
    assert replica.returned_at > left, "a trial that goes well is a return, too"


def test_a_renewed_release_of_the_same_bytes_needs_no_restart(gateway):
    running = gateway()
    side_car = running.side_cars["unlearned"]
    renewed = point(running.store, side_car.release.checkpoint, now=datetime.now(UTC))
    side_car.release = renewed
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert door(running) == (200, "")
    versions = {row["version"] for row in running.admin("GET", "/aliases").json()}
    assert versions == {1, 2}


def test_requests_do_not_ask_the_side_car(running):
    side_car, started = running.side_cars["unlearned"], time.monotonic()
    asked = side_car.asked
    for _ in range(40):
        assert door(running) == (200, "")
    probes = (time.monotonic() - started) / running.settings.probe_seconds
    assert side_car.asked - asked <= probes + 1 < 40


def test_an_engine_must_name_its_side_car_unless_told_otherwise(tmp_path):
    engine = {"url": "http://x:1", "digest": "sha256:" + "0" * 64, "api_key_file": tmp_path}
    with pytest.raises(ValueError, match="attest_url"):
        Settings(home=tmp_path, engines=(EngineSetting(**engine),))
    Settings(home=tmp_path, engines=(EngineSetting(**engine),), require_attestation=False)


def fingerprint(running_digest: str, tokens: tuple[int, ...]) -> Fingerprint:
    return Fingerprint(
        checkpoint=running_digest,
        profile=PROFILE.document_digest,
        answers=(Answer(prompt="One, two,", tokens=tokens),),
    )


def test_an_engine_serves_once_its_fingerprint_was_replayed_without_further_waits(
    gateway, tmp_path
):
    digest = put_base(CheckpointStore(tmp_path / "other"), b"base").digest
    said = fingerprint(digest, FakeVllm(digest, "Paris").token_ids)
    running = gateway({"base": {"fingerprint": said}}, probe_seconds=60.0)
    wait_for(lambda: door(running, "researcher") == (200, ""))
    assert running.engines["base"].bodies[0]["prompt"] == "One, two,"


def test_the_fingerprint_is_replayed_and_drift_takes_the_engine_out(gateway):
    running = gateway(fingerprint_seconds=0.5)
    engine, side_car = running.engines["base"], running.side_cars["base"]
    said, asked = engine.token_ids, len(engine.bodies)
    release = point(
        running.store,
        engine.digest,
        "base",
        now=datetime.now(UTC),
        fingerprint=fingerprint(engine.digest, said),
    )
    side_car.release = release
    wait_for(lambda: len(engine.bodies) > asked)
    wait_for(lambda: door(running, "researcher") == (200, ""))
    replay = engine.bodies[asked]
    assert (replay["prompt"], replay["temperature"]) == ("One, two,", 0)
    assert replay["model"] == engine.digest
    # One odd answer, as a crowded batch may give it, is no drift.
    engine.odd_replays = 1
    wait_for(lambda: engine.odd_replays == 0)
    time.sleep(0.5)
    assert running.metric("airlock_engine_drift_total") == 0
    engine.token_ids = (9, *said[1:])
    wait_for(lambda: door(running, "researcher") == UNAVAILABLE)
    assert running.metric("airlock_engine_drift_total") == 1
    assert door(running) == (200, "")
    assert any("fingerprint" in reason for reason in running.reasons())
    # Another process may well be itself again.
    engine.token_ids = said
    side_car.started_at = datetime.now(UTC)
    wait_for(lambda: door(running, "researcher") == (200, ""))
