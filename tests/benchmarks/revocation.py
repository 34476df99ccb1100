"""How long a base answer goes on after it was closed: a table, then one line of JSON.

    python -m tests.benchmarks.revocation [--count 200] [--cut 50] [--grants 10000] [--only cut]

Two gateway processes on a private PostgreSQL that holds so many grants of the workflow. In every
trial both stream a base answer, a token every five milliseconds; one of the processes is asked to
close what it rests on, and the last token on either is timed: from the sending of that request, and
from its answer. "announced" is as in production; "polled" has every announcement of the database
swallowed on its way; "cut" has the other process's way to the database carry nothing at all.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.db import Database
from gateway.identity.changed import changes_between, follow, read_version
from gateway.identity.directory import load_directory
from gateway.identity.peppers import Peppers
from gateway.settings import Settings
from gateway.tables import Application, EvidenceItem, Grant, Person, Terms, TermsAcceptance
from tests.benchmarks.postgres import private_postgres
from tests.doors import DOORS, Holder
from tests.gateway.conftest import Running, migrate, run_gateway
from tests.replicas import Stream, Way, replica
from tests.servers import wait_for

TOKEN_SECONDS = 0.005
CHUNK = 1000


Plan = list[tuple[str, tuple[str, ...], int]]
"""Channels, the kinds that are closed there, and how often each."""


class Trial(NamedTuple):
    """How long the last token came after what, in seconds."""

    after_request: float
    after_answer: float


class Bench:
    """Two processes, a researcher, and the ways to the database."""

    def __init__(self, running: Running, urls: tuple[str, str], ways: tuple[Way, Way]) -> None:
        self.running, self.urls, self.ways = running, urls, ways
        self.key = running.keys["researcher"]
        person = running.people["researcher"]
        (row,) = running.admin("GET", "/organisations").json()
        (key,) = running.admin("GET", f"/keys?person_id={person}").json()
        base = running.engines["base"].digest
        self.holder = Holder(key["id"], running.grants["researcher"], person, row["id"], base)

    def begin(self) -> list[Stream]:
        def tried(url: str) -> Stream | None:
            stream = Stream(url, self.key, "smollm2:base")
            wait_for(lambda: stream.has_begun or not stream.is_alive(), 30)
            return stream if stream.has_begun else None

        # Both must run when the trial begins, so the first is looked at once more.
        while True:
            streams = [wait_for(lambda url=url: tried(url), 60) for url in self.urls]
            if all(stream.is_alive() for stream in streams):
                return streams

    def trial(self, kind: str, channel: str, asked: int) -> Trial:
        door, streams = DOORS[kind], self.begin()
        for way in self.ways:
            way.loses_announcements = channel == "polled"
        self.ways[1 - asked].is_cut = channel == "cut"
        method, path, body = door.close(self.holder)
        sent_at = time.monotonic()
        answer = httpx.request(
            method,
            f"{self.urls[asked]}/admin/v1{path}",
            json=body,
            headers={"authorization": f"Bearer {self.running.admin_key}"},
            timeout=30,
        )
        answered_at = time.monotonic()
        assert answer.status_code in (200, 201), answer.text
        for stream in streams:
            stream.join(30)
            assert not stream.is_alive(), "a stream was not cut"
        for way in self.ways:
            way.loses_announcements = way.is_cut = False
        last_at = max(stream.last_at for stream in streams)
        anyio.run(self._reopen, kind)
        return Trial(last_at - sent_at, last_at - answered_at)

    async def _reopen(self, kind: str) -> None:
        database = Database(self.running.settings)
        async with database.transaction() as session:
            await DOORS[kind].reopen(session, self.holder)
        await database.close()


def figures(trials: list[Trial], pick: Callable[[Trial], float]) -> dict[str, float]:
    """Return percentiles in milliseconds; what ended before the moment is 0."""
    values = sorted(max(0.0, pick(trial)) * 1e3 for trial in trials)
    return {
        "p50": round(statistics.median(values), 1),
        "p99": round(values[min(len(values) - 1, int(len(values) * 0.99))], 1),
        "max": round(values[-1], 1),
    }


async def fill(settings: Settings, count: int) -> None:
    """Add people with a grant of the workflow each, and everything that it rests on."""
    now = datetime.now(UTC)
    later = now + timedelta(days=60)
    database = Database(settings)
    digest = f"sha256:{'7' * 64}"
    async with database.transaction() as session:
        begun = now - timedelta(days=1)
        session.add(
            Terms(digest=digest, text="t", mandatory_from=begun, actor="bench", created_at=now)
        )
        await session.flush()
        for start in range(0, count, CHUNK):
            ids = [str(uuid.uuid4()) for _ in range(start, min(count, start + CHUNK))]
            await _insert(session, ids, digest, now, later)
    await database.close()


async def _insert(
    session: AsyncSession, ids: list[str], terms: str, now: datetime, later: datetime
) -> None:
    person = {"name": "n", "organisation": "o", "tier": "researcher", "state": "active"}
    await session.execute(
        insert(Person), [{"id": each, "created_at": now, **person} for each in ids]
    )
    application = {"state": "granted", "since": now, "version": 1, "round": 1, "created_at": now}
    await session.execute(
        insert(Application), [{"id": each, "person_id": each, **application} for each in ids]
    )
    proofs = (
        ("federation", None, "system"),
        ("training", "capitals", "so"),
        ("approval_letter", "capitals", "so"),
    )
    accepted = {"source": "s", "created_at": now, "accepted_at": now, "expires_at": later}
    await session.execute(
        insert(EvidenceItem),
        [
            {
                "id": str(uuid.uuid4()), "person_id": each, "kind": kind, "domain": domain,
                "asserted_by": by, "accepted_by": each, **accepted,
            }
            for each in ids
            for kind, domain, by in proofs
        ],
    )  # fmt: skip
    accepts = [{"person_id": each, "digest": terms, "accepted_at": now} for each in ids]
    await session.execute(insert(TermsAcceptance), accepts)
    term = {"not_before": now, "expires_at": later, "usage_review_due_at": later}
    given = {"domain": "capitals", "reason": "r", "approved_by": "bench", "created_at": now}
    await session.execute(
        insert(Grant),
        [{"id": each, "person_id": each, "application_id": each, **term, **given} for each in ids],
    )


async def time_reload(settings: Settings, holder: Holder) -> dict[str, float]:
    """Return how long it takes to read everything, and to read what one revocation changed."""
    database = Database(settings)
    async with database.transaction() as session:
        started = time.monotonic()
        directory = await load_directory(session, Peppers({1: b"p" * 32}))
        whole = time.monotonic() - started
        held = await read_version(session)
    async with database.transaction() as session:
        await DOORS["grant"].reopen(session, holder)
    async with database.transaction() as session:
        started = time.monotonic()
        current = await read_version(session)
        assert held is not None
        assert current is not None
        changes = await changes_between(session, held, current)
        assert changes is not None
        await follow(session, directory, changes)
        part = time.monotonic() - started
    await database.close()
    return {"whole_ms": round(whole * 1e3, 1), "changed_ms": round(part * 1e3, 1)}


def measure(settings: Settings, plan: Plan, people: int) -> dict[str, object]:
    """Run every trial; return the figures."""
    rows = []
    with ExitStack() as stack:
        running = stack.enter_context(run_gateway(settings))
        anyio.run(fill, settings, people)
        engine = running.engines["base"]
        engine.delay_seconds, engine.tokens = TOKEN_SECONDS, 1_000_000
        assert settings.database_url is not None
        ways = (Way(settings.database_url), Way(settings.database_url))
        for way in ways:
            stack.enter_context(way.open())
        urls = tuple(stack.enter_context(replica(running, way)) for way in ways)
        bench = Bench(running, (urls[0], urls[1]), ways)
        reload = anyio.run(time_reload, settings, bench.holder)
        asked = cycle((0, 1))
        for channel, kinds, trials in plan:
            for kind in kinds:
                found = [bench.trial(kind, channel, next(asked)) for _ in range(trials)]
                row = {
                    "channel": channel,
                    "kind": kind,
                    "trials": trials,
                    "after_request_ms": figures(found, lambda trial: trial.after_request),
                    "after_answer_ms": figures(found, lambda trial: trial.after_answer),
                    "load_average": round(os.getloadavg()[0], 1),
                }
                rows.append(row)
                show(row)
    return {"benchmark": "revocation", "grants": people, "reload": reload, "rows": rows}


def show(row: dict) -> None:
    cells = [f"{row['channel']:>10} {row['kind']:>13} {row['trials']:>7}"]
    for moment in ("after_request_ms", "after_answer_ms"):
        cells += [f"{row[moment][name]:>9.1f}" for name in ("p50", "p99", "max")]
    print(" ".join([*cells, f"{row['load_average']:>6}"]), flush=True)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=200, help="trials of each kind (%(default)s)")
    parser.add_argument("--cut", type=int, default=50, help="trials without a way (%(default)s)")
    parser.add_argument("--grants", type=int, default=10_000, help="in the database (%(default)s)")
    parser.add_argument("--only", choices=("announced", "polled", "cut"), help="one channel alone")
    parser.add_argument("--kinds", nargs="+", choices=list(DOORS), default=list(DOORS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, private_postgres(Path(folder)) as server:
        home = Path(folder)
        secret = home / "secret"
        secret.write_bytes(b"s" * 32)
        url = server.database("revocation")
        # One administrator changes more in a minute here than one may.
        most = {"admin_requests_per_minute": 1_000_000}
        settings = Settings(home=home, secret_file=secret, database_url=url, **most)
        migrate(settings)
        print(f"{'channel':>10} {'kind':>13} {'trials':>7} ms from request, from answer; load")
        plan = [
            ("announced", tuple(args.kinds), args.count),
            ("polled", tuple(args.kinds), args.count),
            ("cut", ("grant",), args.cut),
        ]
        plan = [row for row in plan if args.only in (None, row[0])]
        print(json.dumps(measure(settings, plan, args.grants)))


if __name__ == "__main__":
    main()
