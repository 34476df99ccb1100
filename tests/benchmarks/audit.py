"""How many audit entries a second PostgreSQL takes: a table, then one line of JSON.

    python -m tests.benchmarks.audit

Every figure is of intents, which read what they rest on in the transaction that appends them, on a
private PostgreSQL that syncs every commit. "Alone" is one transaction for each entry, as without
group commit.
"""

import asyncio
import json
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from gateway.audit.intents import Draft, Intent, complete
from gateway.audit.writer import Writer
from gateway.controlplane import grants, people
from gateway.controlplane.schemas import GrantIn, PersonIn
from gateway.db import Database
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.tables import Promotion
from tests.benchmarks.postgres import private_postgres

SECONDS = 5.0
CASES = ((1, 1), (1, 16), (1, 64), (1, 256), (2, 64), (2, 256))
"""Replicas, and how many requests each of them has waiting at any moment."""
CHECKPOINT = f"sha256:{'c' * 64}"


class Figure(NamedTuple):
    """What one case showed."""

    replicas: int
    waiting: int
    per_second: float
    p50_ms: float
    p99_ms: float


def intent(person: str) -> Intent:
    return Intent(
        datetime.now(UTC),
        f"req_{uuid.uuid4().hex}",
        person,
        "abcdefghijkl",
        "/v1/chat/completions",
        "smollm2",
        "base",
        CHECKPOINT,
        frozenset({"capitals"}),
        "0" * 64,
    )


async def prepare(database: Database) -> str:
    """Migrate, and return a person whose grant covers the intents."""
    await database.migrate()
    now = datetime.now(UTC)
    async with database.transaction() as session:
        given = PersonIn(name="a", organisation="o", tier="researcher")
        person = await people.add_person(session, given, actor="bench", now=now)
        await session.flush()  # The grant looks for the person.
        await grants.create_grant(
            session,
            GrantIn(person_id=person.id, domain="capitals", reason="bench"),
            actor="bench",
            now=now,
        )
        session.add(
            Promotion(
                id=str(uuid.uuid4()), family="smollm2", label="base", version=1,
                checkpoint=CHECKPOINT, hazards=["capitals"], forgets=[], release_digest=CHECKPOINT,
                profile={}, profile_digest=CHECKPOINT, waived=[], fingerprint=None, actor="bench",
                created_at=now, expires_at=now,
            )
        )  # fmt: skip
    return person.id


async def replica(settings: Settings, person: str, waiting: int, took: list[float]) -> None:
    """Keep so many intents waiting for the given time."""
    database = Database(settings)
    writer: Writer[Draft] = Writer(database, complete, Metrics("0"), 10.0)
    until = time.monotonic() + SECONDS

    async def ask() -> None:
        while time.monotonic() < until:
            started = time.monotonic()
            await writer.write(intent(person))
            took.append(time.monotonic() - started)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        async with asyncio.TaskGroup() as asking:
            for _ in range(waiting):
                asking.create_task(ask())
        writer.stop()
    await database.close()


async def measure(settings: Settings, person: str, replicas: int, waiting: int) -> Figure:
    """Return a case's figure."""
    took: list[float] = []
    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(replicas):
            tasks.create_task(replica(settings, person, waiting, took))
    elapsed = time.monotonic() - started
    took.sort()
    return Figure(
        replicas,
        waiting,
        round(len(took) / elapsed, 1),
        round(took[len(took) // 2] * 1e3, 2),
        round(took[int(len(took) * 0.99)] * 1e3, 2),
    )


async def run(settings: Settings) -> list[Figure]:
    """Return the figures of every case."""
    database = Database(settings)
    person = await prepare(database)
    await database.close()
    return [await measure(settings, person, *case) for case in CASES]


def main() -> None:
    """Measure, and print."""
    with (
        tempfile.TemporaryDirectory() as home,
        private_postgres(Path(home)) as server,
    ):
        synced, fsync = server.show("synchronous_commit"), server.show("fsync")
        url = server.database("audit")
        figures = asyncio.run(run(Settings(home=Path(home), database_url=url)))
    print(f"{'replicas':>8} {'waiting':>8} {'entries/s':>10} {'p50 ms':>8} {'p99 ms':>8}")
    for each in figures:
        print(
            f"{each.replicas:>8} {each.waiting:>8} {each.per_second:>10.0f} "
            f"{each.p50_ms:>8.1f} {each.p99_ms:>8.1f}"
        )
    alone = figures[0].per_second
    print(
        json.dumps(
            {
                "benchmark": "audit",
                "fsync": fsync,
                "synchronous_commit": synced,
                "alone_per_second": alone,
                "best_per_second": max(each.per_second for each in figures),
                "cases": [each._asdict() for each in figures],
            }
        )
    )


if __name__ == "__main__":
    main()
