"""Gateways that die with a batch in hand, and those that go on with it."""

import asyncio
import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from sqlalchemy import update

from gateway.cli.tables import in_transaction
from gateway.dataplane.batches.jobs import LeaseLostError, bring_forward, claim_batch
from gateway.dataplane.batches.run import Run
from gateway.dataplane.batches.shelf import JOURNALS
from gateway.db import Database
from gateway.errors import NotReadyError, StorageUnavailableError
from gateway.tables import Batch
from tests.gateway.conftest import Running, make_settings, run_gateway
from tests.gateway.dataplane.batches.driving import (
    create,
    ended,
    line,
    results,
    show,
    wait_for_lines,
)
from tests.servers import wait_for

ROOT = Path(__file__).resolve().parents[4]
IDLE = {"batch_poll_seconds": 3600.0}
"""A gateway that looks for batches once, when there are none."""


@pytest.fixture(params=["sqlite", "postgresql"])
def idle(request, tmp_path):
    with run_gateway(make_settings(request, tmp_path, request.param), **IDLE) as running:
        yield running


@contextmanager
def process(running: Running):
    """Another gateway on the same database, in a process that can be killed."""
    settings = running.settings
    engines = [engine.model_dump(mode="json") for engine in settings.engines]
    given = {
        "AIRLOCK_HOME": str(settings.home),
        "AIRLOCK_SECRET_FILE": str(settings.secret_file),
        "AIRLOCK_ENGINES": json.dumps(engines),
        "AIRLOCK_BATCH_POLL_SECONDS": "0.2",
        # Half of it is how long a busy machine may keep a gateway from renewing it.
        "AIRLOCK_BATCH_LEASE_SECONDS": "6",
        "AIRLOCK_AUDIT_TIMEOUT_SECONDS": "10",
        "AIRLOCK_BATCH_LINES_AT_A_TIME": "4",
    }
    if settings.database_url is not None:
        given["AIRLOCK_DATABASE_URL"] = settings.database_url
    start = "from gateway.cli import main; raise SystemExit(main())"
    words = ["-c", start, "--home", str(settings.home), "serve", "--port", "0"]
    log = settings.home / "other.log"
    with log.open("ab") as sink:
        made = subprocess.Popen(
            [sys.executable, *words], env=given, stdout=sink, stderr=subprocess.STDOUT, cwd=ROOT
        )
    try:
        yield made
    finally:
        made.kill()
        made.wait()


def test_a_gateway_that_dies_loses_no_line_and_answers_none_twice(idle):
    """The first is killed, the second is stopped, the third ends the batch."""
    engine = idle.engines["base"]
    engine.delay_seconds = 0.1
    made = create(idle, "researcher", [line(n) for n in range(60)])
    with process(idle) as gateway:
        wait_for_lines(idle, "researcher", made, 4, 60)
        gateway.send_signal(signal.SIGKILL)
        gateway.wait()
    assert show(idle, "researcher", made)["status"] == "in_progress"
    with process(idle) as gateway:
        wait_for_lines(idle, "researcher", made, 16, 60)
        gateway.terminate()
        gateway.wait(30)

    async def lease(session):
        return (await session.get(Batch, made["id"])).leased_until

    assert in_transaction(idle.settings, lease) is None, "it is handed on at once"
    with process(idle):
        batch = ended(idle, "researcher", made, 60)
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 60, "completed": 60, "failed": 0}
    output, _ = results(idle, "researcher", batch)
    assert len(output) == 60
    # What was under way when a gateway ended is asked again: four lines each time, no more.
    asked = [body["messages"][0]["content"] for body in engine.bodies if "messages" in body]
    assert len(set(asked)) == 60
    assert len(asked) <= 60 + 2 * 4
    assert list((idle.settings.home / "files" / "journals").iterdir()) == []


async def count_line(database: Database, batch: Batch) -> None:
    async with database.transaction() as session:
        await bring_forward(session, batch, {"completed": 1})


def test_two_gateways_never_have_the_same_batch(idle):
    for who in ("public", "researcher"):
        create(idle, who, [line(0)])
    settings, now = idle.settings, datetime.now(UTC)

    async def claim_all(found: list[Batch], database: Database) -> None:
        for _ in range(4):
            async with database.transaction() as session:
                batch = await claim_batch(session, now, settings)
            if batch is not None:
                found.append(batch)

    async def main() -> None:
        databases = [Database(settings) for _ in range(3)]
        found: list[list[Batch]] = [[] for _ in databases]
        async with anyio.create_task_group() as tasks:
            for mine, database in zip(found, databases, strict=True):
                tasks.start_soon(claim_all, mine, database)
        claimed = [batch for mine in found for batch in mine]
        assert len(claimed) == len({batch.id for batch in claimed}) == 2
        late = now + timedelta(seconds=settings.batch_lease_seconds + 1)
        async with databases[0].transaction() as session:
            again = await claim_batch(session, late, settings)
        assert again is not None
        assert again.claim == 2
        old = next(batch for batch in claimed if batch.id == again.id)
        assert old.claim == 1
        with pytest.raises(LeaseLostError):
            await count_line(databases[1], old)
        for database in databases:
            await database.close()

    anyio.run(main)


def test_who_loses_a_batch_stops_and_writes_no_results(request, tmp_path):
    settings = make_settings(request, tmp_path, "sqlite")
    with run_gateway(settings) as running:
        running.engines["unlearned"].delay_seconds = 0.05
        made = create(running, "public", [line(n) for n in range(100)])
        wait_for_lines(running, "public", made, 2)

        async def steal(session):
            late = datetime.now(UTC) + timedelta(hours=1)
            await session.execute(update(Batch).values(claim=99, leased_until=late))

        in_transaction(running.settings, steal)
        wait_for(lambda: running.metric("airlock_batches_running") == 0)
        wait_for(lambda: running.metric("airlock_in_flight_requests") == 0)
        # Those that were under way may come late to their engine.
        assert len(running.engines["unlearned"].bodies) < 100
        found = show(running, "public", made)
        assert found["status"] == "in_progress"
        assert found["output_file_id"] is None


def test_results_that_could_not_be_entered_are_written_anew(request, tmp_path, monkeypatch):
    """As if the gateway had gone between its files and its last transaction."""
    entered, real = [], Run._end

    async def fail_once(run, *args):
        entered.append(args)
        if len(entered) == 1:
            raise StorageUnavailableError
        await real(run, *args)

    monkeypatch.setattr(Run, "_end", fail_once)
    settings = make_settings(request, tmp_path, "sqlite")
    with run_gateway(settings, batch_lease_seconds=2.0) as running:
        made = create(running, "public", [line(n) for n in range(5)])
        batch = ended(running, "public", made)
        assert len(entered) == 2
        assert batch["status"] == "completed"
        output, _ = results(running, "public", batch)
        assert len(output) == 5
        assert len(running.engines["unlearned"].bodies) == 5, "no line is asked again"
        on_disk = {path.name for path in (settings.home / "files").iterdir() if path.is_file()}
        assert on_disk > {made["input_file_id"], batch["output_file_id"]}
        assert len(on_disk) == 3, "what was not entered is left to the sweep"


@pytest.mark.parametrize("error", [asyncio.CancelledError, NotReadyError, StorageUnavailableError])
def test_results_that_were_entered_stay_whatever_comes_of_their_run(
    request, tmp_path, monkeypatch, error
):
    """The last transaction is in the database, and its answer does not come back."""
    real = Run._end

    async def entered(run, *args):
        await real(run, *args)
        raise error

    monkeypatch.setattr(Run, "_end", entered)
    with run_gateway(make_settings(request, tmp_path, "sqlite")) as running:
        made = create(running, "public", [line(1), line(2)])
        output, _ = results(running, "public", ended(running, "public", made))
        wait_for(lambda: running.metric("airlock_batches_running") == 0)
        assert len(output) == 2
        assert results(running, "public", show(running, "public", made))[0] == output


def test_a_batch_that_has_ended_is_not_taken_for_lost(request, tmp_path, monkeypatch, caplog):
    """Its lease is looked at while the run that has ended it clears away."""
    real = Run._end

    async def slow(run, *args):
        await real(run, *args)
        await asyncio.sleep(0.5)

    monkeypatch.setattr(Run, "_end", slow)
    with run_gateway(make_settings(request, tmp_path, "sqlite")) as running:
        made = create(running, "public", [line(1)])
        ended(running, "public", made)
        wait_for(lambda: running.metric("airlock_batches_running") == 0)
        journals = running.settings.home / "files" / JOURNALS
        assert list(journals.iterdir()) == []
        assert "lost" not in caplog.text
