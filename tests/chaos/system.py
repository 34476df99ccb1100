"""A whole installation on this machine: started, asked for its own counts, and ended."""

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from sqlalchemy import update

from gateway.audit.intents import ENDED, INTENDED
from gateway.cli.demo.access import ensure_access
from gateway.cli.demo.job import DOMAIN, FAMILY, FORMS, LABELS
from gateway.cli.tables import in_transaction
from gateway.db import Database
from gateway.settings import Settings
from gateway.tables import Tier
from models.engine import EngineFacts, read_facts
from models.errors import DocumentError
from tests.chaos.parts import Engine, Gateway, Part, Postgres, Prometheus, Redis
from tests.chaos.wire import Wire, to_port, to_socket
from tests.servers import free_port

GATEWAYS = 2
START_SECONDS = 300
ENGINE_TOKENS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")


@dataclass
class System:
    """What runs, and how to ask it."""

    parts: dict[str, Part]
    wires: dict[str, Wire]
    """The way from the gateways to a part, by the part's name."""
    gateways: list[Gateway]
    keys: dict[str, str]
    engines: dict[str, EngineFacts]
    """By label."""
    database: str
    """How to reach the database past its wire."""
    environment: dict[str, str]
    """The gateways' settings."""

    def digest(self, label: str) -> str:
        """The checkpoint of a label."""
        return self.engines[label].digest

    async def engine_tokens(self) -> dict[str, float]:
        """How many tokens each engine says it has read and made, by label."""
        async with httpx.AsyncClient(timeout=10) as client:
            return {
                label: total((await client.get(f"{facts.url}/metrics")).text, *ENGINE_TOKENS)
                for label, facts in self.engines.items()
            }

    async def gateway_counts(self, *names: str) -> float:
        """The sum of a metric's rows over the gateways that answer."""
        found = 0.0
        async with httpx.AsyncClient(timeout=10) as client:
            for gateway in self.gateways:
                answer = await client.get(f"http://127.0.0.1:{gateway.port}/metrics")
                found += total(answer.text, *names)
        return found

    def give_way(self) -> None:
        """Have the engines let the others run first."""
        for part in self.parts.values():
            if isinstance(part, Engine):
                part.give_way()

    def audited(self) -> tuple[set[str], set[str]]:
        """The requests whose intents, and whose outcomes, are in the audit log."""
        with psycopg.connect(self.database) as connection:
            query = "SELECT tag, subject FROM audit_entries WHERE tag IN (%s, %s)"
            rows = connection.execute(query, (INTENDED, ENDED)).fetchall()
        intents = {subject for tag, subject in rows if tag == INTENDED}
        return intents, {subject for tag, subject in rows if tag == ENDED}


def total(metrics: str, *names: str) -> float:
    """The sum of the rows that begin with one of the names."""
    rows = [row for row in metrics.splitlines() if row.startswith(names)]
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


@contextlib.asynccontextmanager
async def running(home: Path, folder: Path) -> AsyncIterator[System]:
    """Start everything on the demo's home directory; keep state and logs in a folder."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(part: Part) -> None:
            # In a thread: while parts end, the wires between them go on.
            stack.push_async_callback(asyncio.to_thread, part.close)
            await asyncio.to_thread(part.start)

        elsewhere = await stack.enter_async_context(another_loop())

        async def wired(connect) -> tuple[Wire, int]:
            wire = Wire(connect)
            port = await elsewhere(wire.start())
            stack.push_async_callback(lambda: elsewhere(wire.close()))
            return wire, port

        engines = {label: engine(home, folder, label) for label in LABELS}
        for one in engines.values():
            await start(one)
        redis = Redis(folder, free_port())
        await start(redis)
        postgres = await asyncio.to_thread(Postgres, folder)
        stack.push_async_callback(asyncio.to_thread, postgres.close)
        database = await asyncio.to_thread(new_database, postgres)
        facts = await engines_ready(home)

        wires, ports = {}, {}
        for name, connect in {
            "PostgreSQL": to_socket(postgres.socket),
            "Redis": to_port(redis.port),
            **{f"engine {label}": to_port(one.port) for label, one in engines.items()},
        }.items():
            wires[name], ports[name] = await wired(connect)
        (folder / "secret").write_bytes(os.urandom(32))
        settings = Settings(
            home=home,
            secret_file=folder / "secret",
            # Not the home's: what was seen of an earlier database would close every grant of this.
            files_folder=folder / "files",
            database_url=f"postgresql+psycopg://postgres@127.0.0.1:{ports['PostgreSQL']}/chaos",
            redis_url=f"redis://127.0.0.1:{ports['Redis']}",
            engines=[
                {
                    "url": f"http://127.0.0.1:{ports[f'engine {label}']}",
                    "digest": one.digest,
                    "api_key_file": one.api_key_file,
                    "attest_url": one.attest_url,
                }
                for label, one in facts.items()
            ],
        )
        keys = await asyncio.to_thread(people, settings)
        given = environment(settings)
        gateways = [Gateway(number, home, free_port(), folder, given) for number in range(GATEWAYS)]
        for gateway in gateways:
            await start(gateway)
        parts: dict[str, Part] = {
            "PostgreSQL": postgres,
            "Redis": redis,
            **{f"engine {label}": one for label, one in engines.items()},
            "gateway 1": gateways[0],
        }
        if Prometheus.PROGRAM:
            targets = [gateway.port for gateway in gateways]
            parts["Prometheus"] = Prometheus(folder, free_port(), targets)
            await start(parts["Prometheus"])
        await gateways_ready(gateways)
        yield System(parts, wires, gateways, keys, facts, database, given)


@contextlib.asynccontextmanager
async def another_loop() -> AsyncIterator[Callable[[Coroutine], Awaitable]]:
    """Yield how to have work done in a loop and thread of its own.

    What passes on bytes there is not held up by what the callers here are busy with.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wires", daemon=True)
    thread.start()
    try:
        yield lambda work: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


def engine(home: Path, folder: Path, label: str) -> Engine:
    """The engine of a label, on a port of its own."""
    log = folder / f"engine-{label}.log"
    # What an earlier run has left says nothing of this one.
    (home / "engines" / f"{FAMILY}-{label}.json").unlink(missing_ok=True)
    return Engine(home, f"{FAMILY}:{label}", free_port(), log, FORMS)


def new_database(postgres: Postgres) -> str:
    """Make an empty database; return how to reach it."""
    with psycopg.connect(postgres.uri, autocommit=True) as connection:
        connection.execute("CREATE DATABASE chaos")
    return postgres.uri.replace("/postgres?", "/chaos?")


def people(settings: Settings) -> dict[str, str]:
    """Bring the database to its schema; make a key for each door and lift the limits."""

    async def prepare() -> None:
        database = Database(settings)
        await database.migrate()
        await database.close()

    async def lift(session) -> None:
        # What is measured is what faults do to requests, not what limits do.
        await session.execute(update(Tier).values(requests_per_minute=100_000))
        await session.execute(update(Tier).values(tokens_per_minute=100_000_000))
        await session.execute(update(Tier).values(tokens_per_day=1_000_000_000))
        await session.execute(update(Tier).values(max_concurrent=1000))

    asyncio.run(prepare())
    facts = ensure_access(settings, "http://127.0.0.1/v1", FAMILY, DOMAIN)
    in_transaction(settings, lift)
    return {"public": facts.public_key, "researcher": facts.researcher_key}


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give a gateway these settings."""
    given = settings.model_dump(mode="json", exclude_unset=True, exclude={"home"})
    return {
        f"AIRLOCK_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
    }


async def engines_ready(home: Path) -> dict[str, EngineFacts]:
    """Wait until both engines answer; return their facts by label."""
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends:
        with contextlib.suppress(DocumentError):
            found = {label: read_facts(home, f"{FAMILY}:{label}") for label in LABELS}
            if all(facts.state == "ready" for facts in found.values()):
                return found
        await asyncio.sleep(0.5)
    raise RuntimeError(f"the engines were not ready after {START_SECONDS} s")


async def gateways_ready(gateways: list[Gateway]) -> None:
    """Wait until each gateway would answer at both doors."""
    ends = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient(timeout=5) as client:
        for gateway in gateways:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    url = f"http://127.0.0.1:{gateway.port}/readyz"
                    if (await client.get(url)).status_code == 200:
                        break
                if time.monotonic() > ends:
                    raise RuntimeError("a gateway was not ready in time; see its log")
                await asyncio.sleep(0.2)
