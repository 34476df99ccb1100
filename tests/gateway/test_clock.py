"""A clock that is set back brings back nothing that has ended: what is done about it, what not."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from sqlalchemy import update

from gateway import clock
from gateway.cli.tables import in_transaction
from gateway.controlplane.keys import revoke_key
from gateway.tables import Grant
from tests.gateway.controlplane.test_admin_api import code
from tests.gateway.controlplane.test_keys import ask, made
from tests.servers import wait_for

DAY = timedelta(days=1)


@pytest.fixture
def set_wall(monkeypatch):
    """Set the wall's clock, of this process alone, by so much; the other one goes on."""

    def by(much: timedelta) -> None:
        def wall() -> float:
            return time.time() + much.total_seconds()

        monkeypatch.setattr(clock, "time", SimpleNamespace(time=wall, monotonic=time.monotonic))

    return by


def test_it_goes_forward_with_the_wall_and_never_back_before_what_has_passed(set_wall):
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    set_wall(DAY)
    assert clock.now() > datetime.now(UTC) + DAY / 2
    set_wall(-DAY)
    first = clock.now()
    assert first > datetime.now(UTC) - timedelta(seconds=5), "nor does it stay ahead"
    wait_for(lambda: clock.now() > first)


def test_a_grant_that_has_ended_stays_so_whatever_the_wall_says(fresh, set_wall, monkeypatch):
    assert fresh.chat("researcher", "smollm2:base").status_code == 200
    now = datetime.now(UTC)

    async def end(session) -> None:
        mine = update(Grant).where(Grant.id == fresh.grants["researcher"])
        ended = {"not_before": now - 10 * DAY, "expires_at": now - timedelta(minutes=1)}
        await session.execute(mine.values(**ended))

    in_transaction(fresh.settings, end)
    made(fresh)  # A change that has the gateway read the person's grants again.
    wait_for(lambda: fresh.chat("researcher", "smollm2:base").status_code == 403)
    set_wall(-DAY)
    assert code(fresh.chat("researcher", "smollm2:base"))[0] == 403
    # What it would be otherwise: so it is with a gateway that starts by a clock that is behind.
    monkeypatch.setattr(clock, "_AHEAD", clock._AHEAD - DAY.total_seconds())
    again = fresh.chat("researcher", "smollm2:base")
    assert again.status_code == 200, again.text


def test_an_administrators_key_that_has_ended_opens_nothing_whatever_the_wall_says(
    fresh, monkeypatch
):
    key = made(fresh, None, admin=True)["key"]
    assert ask(fresh, key, "GET", "/tiers").status_code == 200
    # Two days have passed by the clock that nobody sets; the wall's was set back by as much.
    monkeypatch.setattr(clock, "_AHEAD", clock._AHEAD + 2 * DAY.total_seconds())
    assert code(ask(fresh, key, "GET", "/tiers")) == (401, "expired_api_key")


def test_a_callers_key_that_has_ended_gets_no_receipt_whatever_the_wall_says(fresh, monkeypatch):
    headers = {"authorization": f"Bearer {made(fresh, days=1)['key']}"}

    def ask_for_one() -> httpx.Response:
        return httpx.get(f"{fresh.url}/v1/receipts/req_{'0' * 32}", headers=headers)

    assert code(ask_for_one()) == (404, "not_found")
    monkeypatch.setattr(clock, "_AHEAD", clock._AHEAD + 2 * DAY.total_seconds())
    assert code(ask_for_one()) == (401, "expired_api_key")


@pytest.mark.parametrize("is_rotated", [False, True])
def test_a_key_that_a_clock_ahead_has_revoked_is_revoked_at_once(fresh, is_rotated):
    """Two gateways' clocks differ, and the one that is ahead writes when the key was revoked."""
    key = made(fresh)
    assert fresh.chat(key["key"]).status_code == 200
    if is_rotated:
        path = f"/keys/{key['id']}/rotate"
        assert fresh.admin("POST", path, json={"overlap_hours": 24}).status_code == 201
    ahead = {"actor": "test", "now": datetime.now(UTC) + timedelta(minutes=10)}
    in_transaction(fresh.settings, lambda session: revoke_key(session, key["id"], **ahead))
    wait_for(lambda: fresh.chat(key["key"]).status_code == 401)
    assert code(fresh.chat(key["key"])) == (401, "revoked_api_key")
    why = fresh.admin(
        "GET",
        f"/explain?person_id={fresh.people['researcher']}&model=smollm2&key_id={key['id']}",
    )
    assert why.json()["effect"] == "deny"
