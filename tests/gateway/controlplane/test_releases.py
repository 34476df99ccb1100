"""Releases taken over, withdrawn and restored; every planted fault closes a door and opens none."""

import shutil
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import pytest

from gateway.cli.tables import in_transaction
from gateway.controlplane import serving
from gateway.controlplane.changes import Tag
from gateway.policy.attestation import Answer, Attested, Pointer, standing
from models.release import release_path
from models.revocation import revocation_path, revoke
from models.signing import seal
from models.trust import TrustStore, write_trust
from tests.gateway.controlplane.test_admin_api import code
from tests.models.checkpoints import put_candidate, put_report
from tests.models.test_gate import report
from tests.models.trusting import ALICE, ALICES_SPARE, TRUST, point
from tests.servers import wait_for

WITHDRAWN = (503, "release_withdrawn")


def now() -> datetime:
    return datetime.now(UTC)


def second(running, **given):
    """Promote another unlearned checkpoint."""
    base = running.engines["base"].digest
    candidate = put_candidate(running.store, base, b"second").digest
    measured = report(started_at=now(), ended_at=now())
    put_report(running.store, measured, base, candidate)
    return point(running.store, candidate, now=now(), **given)


def door(running, who="public", model="smollm2"):
    answer = running.chat(who, model)
    return (200, "") if answer.status_code == 200 else code(answer)


def wait_until(running, expected, who="public", model="smollm2"):
    wait_for(lambda: door(running, who, model) == expected)


def tags(running) -> list[str]:
    return [event["tag"] for event in running.admin("GET", "/audit-events").json()]


def file_of(running, version: int):
    path = release_path(running.store, "smollm2", "unlearned", version)
    if path.exists():
        path.chmod(0o600)
    return path


def one_signature(running):
    first = running.side_cars["unlearned"].release
    changes = {"version": 2, "previous": first.document_digest}
    file_of(running, 2).write_bytes(seal(first.model_copy(update=changes), [ALICE]))


def two_keys_of_one_holder(running):
    first = running.side_cars["unlearned"].release
    changes = {"version": 2, "previous": first.document_digest}
    keys = [ALICE, ALICES_SPARE]
    file_of(running, 2).write_bytes(seal(first.model_copy(update=changes), keys))


def start_anew(running):
    """Version 1 again, well signed, of another checkpoint."""
    shutil.rmtree(running.store.root / "releases" / "smollm2" / "unlearned")
    second(running)


PLANTED = {
    "a pointer with one signature": one_signature,
    "two keys of one holder": two_keys_of_one_holder,
    "a damaged pointer": lambda running: file_of(running, 1).write_bytes(b"{"),
    "a damaged next pointer": lambda running: file_of(running, 2).write_bytes(b"{"),
    "the pointer removed": lambda running: file_of(running, 1).unlink(),
    "the store removed": lambda running: shutil.rmtree(running.store.root / "releases"),
    "the trust store removed": lambda running: shutil.rmtree(running.settings.home / "trust"),
    "a signer's key revoked": lambda running: write_trust(
        running.settings.home, TrustStore(keys=TRUST.keys[1:])
    ),
    "the public alias promoted anew": start_anew,
}


@pytest.fixture
def restored(running):
    """The shared gateway, whose files are put back afterwards, which opens the door again."""
    home = running.settings.home
    kept = ("store/releases", "trust")
    for name in kept:
        shutil.copytree(home / name, home / "kept" / name)
    yield running
    for name in kept:
        shutil.rmtree(home / name, ignore_errors=True)
        shutil.move(home / "kept" / name, home / name)
    for who in ("public", "researcher"):
        wait_until(running, (200, ""), who)


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_closes_the_public_door_and_opens_no_other(restored, plant):
    running = restored
    assert door(running) == (200, "")
    plant(running)
    wait_until(running, WITHDRAWN)
    assert door(running, "public", "smollm2:unlearned") == WITHDRAWN
    assert door(running, "public", "smollm2:base") == (403, "grant_required")
    assert Tag.ALIAS_WITHDRAWN in tags(running)
    # The list of models shows nothing that is not served; readiness says why.
    assert running.get("public", "/v1/models")["data"] == []
    assert any("smollm2:unlearned" in reason for reason in running.reasons())


def test_a_withdrawn_base_never_sends_a_researcher_to_the_public_door(restored):
    running = restored
    release_path(running.store, "smollm2", "base", 1).unlink()
    wait_until(running, WITHDRAWN, "researcher")
    assert door(running, "researcher", "smollm2:base") == WITHDRAWN
    assert door(running, "researcher", "smollm2:unlearned") == (200, "")
    assert door(running) == (200, "")


def test_a_restored_file_opens_the_door_again_and_an_older_one_does_not(fresh):
    first = file_of(fresh, 1).read_bytes()
    newer = second(fresh)
    wait_until(fresh, (503, "engine_unavailable"))
    kept = file_of(fresh, 2).read_bytes()
    # Restored from a backup: the newest is gone, the one before is there and well signed.
    file_of(fresh, 2).unlink()
    wait_until(fresh, WITHDRAWN)
    # The old one under the new one's name.
    file_of(fresh, 2).write_bytes(first)
    fresh.wait_until_seen()
    assert door(fresh) == WITHDRAWN
    file_of(fresh, 2).write_bytes(kept)
    wait_until(fresh, (503, "engine_unavailable"))
    assert tags(fresh)[0] == Tag.ALIAS_RESTORED
    current = {row["label"]: row for row in fresh.admin("GET", "/aliases").json()}
    assert (current["unlearned"]["version"], current["unlearned"]["checkpoint"]) == (
        2,
        newer.checkpoint,
    )


def test_a_release_ends_by_itself_and_cuts_what_runs(request, tmp_path):
    from tests.gateway.conftest import make_settings, run_gateway

    lifetime = timedelta(seconds=4)
    settings = make_settings(request, tmp_path, "sqlite")
    with run_gateway(settings, {"unlearned": {"lifetime": lifetime}}) as running:
        release = running.side_cars["unlearned"].release
        running.engines["unlearned"].delay_seconds = 0.05
        running.engines["unlearned"].tokens = 400
        answer = running.chat("public", stream=True)
        assert now() >= release.expires_at
        assert "release_withdrawn" in answer.text
        assert "[DONE]" not in answer.text
        assert door(running) == WITHDRAWN
        assert door(running, "researcher") == (200, "")


def test_a_revocation_outlives_its_file_and_comes_back_with_no_release(fresh):
    digest = fresh.engines["unlearned"].digest
    revoke(fresh.store, TRUST, digest, ALICE, reason="it leaks", now=now())
    wait_until(fresh, WITHDRAWN)
    assert Tag.CHECKPOINT_REVOKED in tags(fresh)
    revocation_path(fresh.store, digest).unlink()
    again = point(fresh.store, digest, now=now())
    wait_for(lambda: fresh.admin("GET", "/promotions").json()[0]["version"] == again.version)
    fresh.wait_until_seen()
    assert door(fresh) == WITHDRAWN


def test_how_an_attestation_stands_to_the_releases():
    pointer = Pointer("r1", "c", "p", (Answer("x", (1,)),))
    for given, expected in (
        (("c", "p", "r1"), "matches"),
        (("c", "p", "r2"), "other version"),
        (("c", "q", "r1"), "other weights"),
        (("d", "p", "r1"), "other weights"),
    ):
        assert standing(Attested(*given, "start"), [pointer]) == expected
    assert standing(Attested("c", "p", "r1", "start"), []) == "other weights"


def test_a_revocation_in_the_midst_of_a_look_at_the_registry_is_not_undone(fresh, monkeypatch):
    """It was: the look had read the revocations before, and the aliases after."""
    digest = fresh.engines["unlearned"].digest
    found = fresh.gateway.registry._look(now(), {})

    async def revoke_first(session):
        monkeypatch.undo()
        body = {"checkpoint": digest, "reason": "it leaks"}
        answer = await anyio.to_thread.run_sync(
            lambda: fresh.admin("POST", "/revocations", json=body)
        )
        assert answer.status_code == 201
        return await serving.current_promotions(session)

    async def look(session):
        await serving.take_over(session, found.current, found.revoked, actor="test", now=now())

    monkeypatch.setattr(serving, "current_promotions", revoke_first)
    in_transaction(fresh.settings, look)
    assert Tag.ALIAS_RESTORED not in tags(fresh)
    fresh.wait_until_seen()
    assert door(fresh) == WITHDRAWN
