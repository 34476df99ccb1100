"""Wiring: `create_app(settings)` puts the gateway's parts together into one ASGI application."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version

import aiohttp
from cryptography.fernet import Fernet
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from gateway import errors as e
from gateway.audit.intents import complete
from gateway.audit.log_key import log_signer
from gateway.audit.notary import Notary
from gateway.audit.recorder import Recorder
from gateway.audit.writer import Writer
from gateway.controlplane.access import ControlPlane
from gateway.controlplane.application_routes import router as application_router
from gateway.controlplane.audit import router as audit_router
from gateway.controlplane.breakglass_routes import router as breakglass_router
from gateway.controlplane.examples import show_examples
from gateway.controlplane.faults import answer_faults
from gateway.controlplane.identity_routes import router as identity_router
from gateway.controlplane.keys import PEPPER_PURPOSE
from gateway.controlplane.login_routes import router as login_router
from gateway.controlplane.me_routes import router as me_router
from gateway.controlplane.receipts import router as receipts_router
from gateway.controlplane.registry import Registry
from gateway.controlplane.restored import Epoch
from gateway.controlplane.routes import router
from gateway.controlplane.tier_routes import router as tier_router
from gateway.controlplane.verification_routes import router as verification_router
from gateway.dataplane.admission import Admission
from gateway.dataplane.batches.archive import Archive
from gateway.dataplane.batches.run import Workshop
from gateway.dataplane.batches.shelf import Shelf
from gateway.dataplane.batches.worker import Worker
from gateway.dataplane.callers import Callers
from gateway.dataplane.connections import Connections
from gateway.dataplane.http import Receive, Scope, Send
from gateway.dataplane.inference import Inference
from gateway.dataplane.limits import Limits
from gateway.dataplane.pool import Pool
from gateway.dataplane.probe import Probe
from gateway.dataplane.relay import Relay
from gateway.dataplane.routes import DataPlane
from gateway.dataplane.snapshot import SnapshotKeeper
from gateway.dataplane.suspects import Suspects
from gateway.dataplane.upstream import Upstream
from gateway.db import Database
from gateway.identity.issuers import Issuers
from gateway.identity.secret import Secret, load_secret
from gateway.metrics import Metrics
from gateway.settings import Settings
from models.store import CheckpointStore

log = logging.getLogger(__name__)


class Gateway:
    """The ASGI application: the data plane for `/v1`, FastAPI for everything else."""

    def __init__(self, settings: Settings, secret: Secret) -> None:
        """Put the parts together; what runs starts with the application's lifespan."""
        self.settings = settings
        self.metrics = Metrics(version("airlock"))
        self.database = Database(settings)
        self.registry = Registry(settings.home, settings.trust_file, self.database)
        self._pepper = secret.derive(PEPPER_PURPOSE)
        self._ledger_key = secret.derive("limits-ledger/1")
        self._salt_key = secret.derive("cache-salt/1")
        self._commitment_key = secret.derive("audit-commitment/1")
        self._cipher = Fernet(base64.urlsafe_b64encode(secret.derive("engine-keys/1")))
        files = settings.files_folder or settings.home / "files"
        self._epoch = Epoch(files, self.database)
        self._shelf = Shelf(files, secret.derive("files/1"))
        self._idempotency_key = secret.derive("idempotency/1")
        self._login_cipher = Fernet(base64.urlsafe_b64encode(secret.derive("logins/1")))
        self._signer = log_signer(settings, secret)
        self.issuers = Issuers(settings, secret.derive("token-hashes/1"), self.metrics)
        self.keeper: SnapshotKeeper | None = None
        self.pool: Pool | None = None
        self.data_plane: DataPlane | None = None
        self.releases_error: str | None = None
        self.http = self._fastapi()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, on its path alone."""
        path = scope["path"] if scope["type"] == "http" else ""
        is_receipt = path.startswith("/v1/receipts/")
        if path.startswith("/v1") and not is_receipt and self.data_plane:
            await self.data_plane(scope, receive, send)
        else:
            await self.http(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Run the tasks that keep the gateway current, for as long as it serves."""
        settings = self.settings
        await self.database.prepare(settings)
        # An engine's address comes from configuration: never through a proxy of the environment.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as client:
            suspects = Suspects(settings.hold_back_seconds)
            self.metrics.held_back.set_function(suspects.__len__)
            pool = Pool(Probe(client, self.registry.verify), suspects, self.metrics, settings)
            keeper = SnapshotKeeper(
                settings,
                self.database,
                self._pepper,
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
            writer = Writer(self.database, complete, self.metrics, settings.audit_timeout_seconds)
            notary = Notary(
                self.database, self._signer, client, self.metrics, settings, self._epoch.witnessed
            )
            recorder = Recorder(writer, self._commitment_key)
            inference = Inference(settings, keeper, relay, self.metrics, recorder, self._salt_key)
            archive = Archive(settings, self.database, self._shelf, keeper, inference)
            callers = Callers(keeper, self.issuers.bearer if settings.issuers else None)
            self.data_plane = DataPlane(
                settings, keeper, callers, inference, self.metrics, recorder, archive
            )
            slots = asyncio.Semaphore(settings.batch_lines_at_a_time)
            ask = self.data_plane.answer_line
            workshop = Workshop(
                settings, self.database, self._shelf, keeper, self.metrics, ask, slots
            )
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(keeper.keep_current()),
                    tasks.create_task(keeper.watch()),
                    tasks.create_task(self._epoch.keep()),
                    tasks.create_task(self._follow_releases()),
                    tasks.create_task(notary.run()),
                    tasks.create_task(self._share_limits(self.data_plane.limits)),
                    tasks.create_task(Worker(workshop).run()),
                ]
                tasks.create_task(writer.run())
                yield
                for task in running:
                    task.cancel()
                # What they have begun is recorded as ended before the log is closed.
                await asyncio.wait(running)
                writer.stop()
            await pool.close()
            connections.close()
        await self.issuers.close()
        await self.database.close()

    async def _share_limits(self, limits: Limits) -> None:
        """Count together with other workers, for ever, where there is a Redis for it."""
        settings = self.settings
        if settings.redis_url is None:
            return
        # Ten megabytes for each worker, which only those pay for who have a Redis.
        from redis.asyncio import Redis

        from gateway.dataplane.ledger import Ledger

        password = settings.redis_password_file
        client = Redis.from_url(
            settings.redis_url, password=password.read_text().strip() if password else None
        )
        try:
            await Ledger(client, limits, self._ledger_key, settings, self.metrics).keep()
        finally:
            await client.aclose()

    async def _follow_releases(self) -> None:
        """Take over what the registry says, for ever; what does not count there closes its door."""
        while True:
            try:
                await self.registry.follow()
                self.releases_error = None
            except Exception as error:
                # Whatever it was: this task keeps doors shut that should be, and must go on.
                self.releases_error = str(error)
                log.warning("releases could not be taken over", exc_info=True)
            await asyncio.sleep(self.settings.release_poll_seconds)

    def not_ready(self) -> list[str]:
        """Return why requests cannot be served as they should; empty when they can."""
        if self.keeper is None or self.pool is None:
            return ["the gateway is starting"]
        try:
            catalogue = self.keeper.current().catalogue
        except e.NotReadyError as error:
            return [str(error)]
        reasons = []
        if self.keeper.age_seconds > self.settings.privileged_max_age_seconds:
            reasons.append("the snapshot is too old to serve base checkpoints")
        if not catalogue.families:
            reasons.append("nothing has been promoted")
        if self.releases_error:
            reasons.append(f"releases: {self.releases_error}")
        reasons += self.registry.problems
        now = datetime.now(UTC)
        for family in catalogue.families.values():
            for alias in family.aliases:
                name = f"{family.name}:{alias.label}"
                withdrawn = catalogue.why_withdrawn(name, now)
                if withdrawn is not None:
                    reasons.append(f"{name} has no valid release: {withdrawn}")
                elif not self.pool.serves(alias.checkpoint):
                    why = self.pool.why_not(alias.checkpoint)
                    reasons.append(f"no verified engine for {name}: {why}")
        return reasons

    def _fastapi(self) -> FastAPI:
        app = FastAPI(
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
            self._cipher,
            self.settings.require_attestation,
            CheckpointStore(self.settings.home / "store"),
            self._signer,
            self.issuers,
            self._login_cipher,
            self.settings,
            self._idempotency_key,
        )
        app.include_router(router)
        app.include_router(tier_router)
        app.include_router(verification_router)
        app.include_router(application_router)
        app.include_router(breakglass_router)
        app.include_router(identity_router)
        app.include_router(login_router)
        app.include_router(me_router)
        app.include_router(audit_router)
        app.include_router(receipts_router)
        answer_faults(app)
        show_examples(app.openapi())

        @app.get("/healthz", include_in_schema=False)
        async def healthz() -> dict[str, str]:
            return {"status": "ok"}

        @app.get("/readyz", include_in_schema=False)
        async def readyz() -> JSONResponse:
            reasons = self.not_ready()
            status = "ready" if not reasons else "not ready"
            return JSONResponse({"status": status, "reasons": reasons}, 503 if reasons else 200)

        @app.get("/metrics", include_in_schema=False)
        async def metrics() -> Response:
            return Response(self.metrics.render(), media_type="text/plain; version=0.0.4")

        return app


def create_app(settings: Settings) -> Gateway:
    """Return the gateway as an ASGI application.

    Raises:
        ConfigurationError: A setting is missing or does not fit.
    """
    return Gateway(settings, load_secret(settings))
