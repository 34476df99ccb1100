"""Wiring: `create_app(settings)` puts the gateway's parts together into one ASGI application."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

import aiohttp
from cryptography.fernet import Fernet
from fastapi import FastAPI

from gateway.announcements import CHANGES, SUSPECTS, Announcer
from gateway.audit.intents import complete
from gateway.audit.log_key import log_signer
from gateway.audit.notary import Notary
from gateway.audit.recorder import Recorder
from gateway.audit.writer import Writer
from gateway.console.pages import answer_console
from gateway.contents.holder import read_public
from gateway.contents.keeping import Keeping
from gateway.controlplane.access import ControlPlane
from gateway.controlplane.bounds import Bounded
from gateway.controlplane.census import Census
from gateway.controlplane.contents import forget_expired
from gateway.controlplane.engines import engine_cipher
from gateway.controlplane.examples import AdminApi
from gateway.controlplane.faults import answer_faults
from gateway.controlplane.idempotency import forget_answers
from gateway.controlplane.leaks import PATH as LEAKS_PATH
from gateway.controlplane.monitoring import answer_monitoring
from gateway.controlplane.pace import Pace
from gateway.controlplane.registry import Registry
from gateway.controlplane.restored import Epoch
from gateway.controlplane.routers import ROUTERS
from gateway.controlplane.throttle import Throttle
from gateway.controlplane.webhooks import record_gone
from gateway.dataplane.admission import Admission
from gateway.dataplane.batches.archive import Archive
from gateway.dataplane.batches.run import Workshop
from gateway.dataplane.batches.shelf import Shelf
from gateway.dataplane.batches.worker import Worker
from gateway.dataplane.callers import Callers
from gateway.dataplane.census import Census as DataPlaneCensus
from gateway.dataplane.connections import Connections
from gateway.dataplane.engine_metrics import EngineMetrics
from gateway.dataplane.http import Receive, Scope, Send
from gateway.dataplane.inference import Inference
from gateway.dataplane.pool import Pool
from gateway.dataplane.probe import Probe
from gateway.dataplane.relay import Relay
from gateway.dataplane.routes import DataPlane
from gateway.dataplane.sharing import shared_limits
from gateway.dataplane.snapshot import SnapshotKeeper
from gateway.dataplane.suspects import Suspects
from gateway.dataplane.upstream import Upstream
from gateway.db import Database
from gateway.identity.issuers import Issuers
from gateway.identity.key_gate import KeyGate
from gateway.identity.peppers import first_pepper, load_peppers
from gateway.identity.secret import Secret, load_secret
from gateway.identity.visa_key import visa_key
from gateway.metrics import Metrics
from gateway.notices.keys import notice_keys
from gateway.notices.postman import Postman
from gateway.readiness import why_not_ready
from gateway.request_ids import RequestIds
from gateway.settings import Settings
from gateway.tracing import make_tracing
from models.store import CheckpointStore

OWN_CONNECTIONS = 6
"""One for each of those that have one at a time: nobody waits for another there."""


class Gateway:
    """The ASGI application: the data plane for `/v1`, FastAPI for everything else."""

    def __init__(self, settings: Settings, secret: Secret) -> None:
        """Put the parts together; what runs starts with the application's lifespan."""
        self.settings = settings
        self.metrics = Metrics(version("airlock"))
        self.database = Database(settings)
        # No number of requests to the admin API keeps the audit log, without which no base answers,
        # or a revocation waiting.
        self.own_database = Database(settings, OWN_CONNECTIONS)
        self.registry = Registry(settings.home, settings.trust_file, self.own_database)
        self._pepper = first_pepper(secret)
        self._peppers = load_peppers(settings, secret)
        self._ledger_key = secret.derive("limits-ledger/1")
        self._salt_key = secret.derive("cache-salt/1")
        self._suspects_key = secret.derive("suspects/1")
        self._commitment_key = secret.derive("audit-commitment/1")
        self._cipher = engine_cipher(secret)
        files = settings.files_folder or settings.home / "files"
        self._epoch = Epoch(files, self.database)
        self._shelf = Shelf(files, secret.derive("files/1"))
        self._notice_keys = notice_keys(secret)
        self._visa_key = visa_key(secret)
        self._idempotency_key = secret.derive("idempotency/1")
        self._login_cipher = Fernet(base64.urlsafe_b64encode(secret.derive("logins/1")))
        self._signer = log_signer(settings, secret)
        self.gate = KeyGate(settings, self.metrics)
        holder = settings.contents_key_file
        self._holder = None if holder is None else read_public(holder)
        self.issuers = Issuers(settings, secret.derive("token-hashes/1"), self.metrics)
        self.keeper: SnapshotKeeper | None = None
        self.pool: Pool | None = None
        self.data_plane: DataPlane | None = None
        self.engine_metrics: EngineMetrics | None = None
        self.has_failed = False
        """Whether a task has ended that must not."""
        self.on_failure: Callable[[], None] = lambda: None
        self.http = self._fastapi()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, on its path alone."""
        path = scope["path"] if scope["type"] == "http" else ""
        is_ours = path.startswith("/v1/receipts/") or path == LEAKS_PATH
        if path.startswith("/v1") and not is_ours and self.data_plane:
            await self.data_plane(scope, receive, send)
        else:
            await self.http(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Run the tasks that keep the gateway current, for as long as it serves."""
        try:
            async with self._kept_current():
                yield
        except BaseExceptionGroup:
            # Without them it would refuse everything, for ever: end, to be started anew.
            self.has_failed = True
            self.on_failure()
            raise

    @asynccontextmanager
    async def _kept_current(self) -> AsyncIterator[None]:
        settings, own = self.settings, self.own_database
        await self.database.prepare(settings)
        # An engine's address comes from configuration: never through a proxy of the environment.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as client:
            announcer = Announcer(self.database)
            tell = partial(announcer.tell, SUSPECTS)
            suspects = Suspects(settings.hold_back_seconds, self._suspects_key, tell)
            self.metrics.held_back.set_function(suspects.__len__)
            pool = Pool(Probe(client, self.registry.verify), suspects, self.metrics, settings)
            keeper = SnapshotKeeper(
                settings,
                own,
                self._peppers,
                self._cipher,
                self.metrics,
                on_change=lambda catalogue: pool.update(catalogue.engines, catalogue.pointers),
                check_version=self._epoch.check,
            )
            connections = Connections(settings)
            upstream = Upstream(connections, pool)
            admission = Admission(settings, pool.serves)
            self.metrics.queued.set_function(admission.waiting)
            relay = Relay(upstream, pool, admission, keeper, suspects, self.metrics, settings)
            self.pool, self.keeper = pool, keeper
            self.engine_metrics = EngineMetrics(client, pool)
            counted = self.metrics.inventory
            census = Census(settings, self.database, self.registry, counted)
            memory = DataPlaneCensus(keeper, pool, counted, settings.census_seconds)
            writer = Writer(own, complete, self.metrics, settings.audit_timeout_seconds)
            notary = Notary(
                own,
                self._signer,
                client,
                self.metrics,
                settings,
                self._epoch.witnessed,
            )
            recorder = Recorder(writer, self._commitment_key)
            keeping = Keeping(settings, own, self._holder, self.metrics)
            inference = Inference(
                settings, keeper, relay, self.metrics, recorder, keeping, self._salt_key
            )
            archive = Archive(settings, self.database, self._shelf, keeper, inference)
            tracing = make_tracing(settings)
            bearer = self.issuers.bearer if settings.issuers else None
            callers = Callers(keeper, bearer, self.gate, recorder)
            self.data_plane = DataPlane(
                settings, keeper, callers, inference, self.metrics, recorder, archive, tracing
            )
            slots = asyncio.Semaphore(settings.batch_lines_at_a_time)
            ask = self.data_plane.answer_line
            postman = Postman(settings, self.database, self._notice_keys, self.metrics, record_gone)
            workshop = Workshop(
                settings, self.database, self._shelf, keeper, self.metrics, ask, slots
            )
            limits = self.data_plane.limits
            async with (
                shared_limits(limits, self._ledger_key, settings, self.metrics) as ledger,
                asyncio.TaskGroup() as tasks,
            ):
                running = [
                    tasks.create_task(keeper.keep_current()),
                    tasks.create_task(
                        announcer.listen(
                            {CHANGES: keeper.look_again, SUSPECTS: pool.hear_of_suspect}
                        )
                    ),
                    tasks.create_task(announcer.speak()),
                    tasks.create_task(keeper.watch()),
                    tasks.create_task(self._epoch.keep()),
                    tasks.create_task(self.registry.keep(settings.release_poll_seconds)),
                    tasks.create_task(notary.run()),
                    tasks.create_task(Worker(workshop).run()),
                    tasks.create_task(census.run()),
                    tasks.create_task(memory.run()),
                    tasks.create_task(self.gate.uses.keep(self.database)),
                    tasks.create_task(postman.run()),
                    tasks.create_task(forget_expired(self.database)),
                    tasks.create_task(forget_answers(self.database)),
                ]
                if ledger is not None:
                    running.append(tasks.create_task(ledger.keep()))
                tasks.create_task(writer.run())
                tasks.create_task(keeping.run())
                yield
                for task in running:
                    task.cancel()
                # What they have begun is recorded as ended before the log is closed.
                await asyncio.wait(running)
                writer.stop()
                keeping.stop()
            await pool.close()
            connections.close()
            if tracing is not None:
                await tracing.close()
        await self.issuers.close()
        await self.database.close()
        await self.own_database.close()

    async def _render_engine_metrics(self) -> bytes:
        return await self.engine_metrics.render() if self.engine_metrics else b""

    def not_ready(self) -> list[str]:
        """Return why requests cannot be served as they should; empty when they can."""
        if self.keeper is None or self.pool is None:
            return ["the gateway is starting"]
        return why_not_ready(self.settings, self.keeper, self.pool, self.registry)

    def _fastapi(self) -> FastAPI:
        app = AdminApi(
            title="Airlock admin API",
            version=version("airlock"),
            description="Access tiers, people, keys, grants, aliases and engines.",
            docs_url="/admin/v1/docs",
            redoc_url=None,
            openapi_url="/admin/v1/openapi.json",
            lifespan=self.lifespan,
        )
        app.state.control_plane = ControlPlane(
            self.database,
            self._pepper,
            self._peppers,
            self._cipher,
            self.settings.require_attestation,
            CheckpointStore(self.settings.home / "store"),
            self._signer,
            self.issuers,
            self._login_cipher,
            self.settings,
            self._idempotency_key,
            self.gate,
            Throttle(),
            Pace(self.settings, self.metrics),
            self._notice_keys,
            self._visa_key,
        )
        for each in ROUTERS:
            # As they are: `include_router` makes each route once more, which takes 10 MB.
            app.router.routes.extend(each.routes)
        answer_console(app)
        answer_faults(app)
        app.add_middleware(Bounded, seconds=self.settings.body_timeout_seconds)
        app.add_middleware(RequestIds)
        answer_monitoring(
            app, self.settings, self.not_ready, self.metrics.render, self._render_engine_metrics
        )
        return app


def create_app(settings: Settings) -> Gateway:
    """Return the gateway as an ASGI application.

    Raises:
        ConfigurationError: A setting is missing or does not fit.
    """
    return Gateway(settings, load_secret(settings))
