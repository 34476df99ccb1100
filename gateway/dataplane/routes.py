"""The data plane's paths: pure ASGI, decided on the path alone; nothing else is served."""

import base64
import hashlib
import hmac
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import orjson

from gateway import errors as e
from gateway.audit.recorder import Caller, Recorder
from gateway.dataplane import wire
from gateway.dataplane.endpoints import ENDPOINTS, Endpoint
from gateway.dataplane.http import (
    ClientGoneError,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    send_error,
    send_whole,
)
from gateway.dataplane.limits import RequestLimits
from gateway.dataplane.pool import Pool
from gateway.dataplane.relay import Order, Outcome, Relay
from gateway.dataplane.snapshot import Snapshot, SnapshotKeeper
from gateway.identity.principal import Principal
from gateway.metrics import OTHER, Metrics
from gateway.policy.routing import Denied, Routed, Unknown, eligible, missing_grants, route
from gateway.settings import Settings

MODELS_PATH = "/v1/models"
log = logging.getLogger(__name__)


@dataclass
class Call:
    """One request, and what is known of it so far; for its answer's headers and its metrics."""

    request_id: str
    started_at: float
    alias: str = OTHER
    tier: str = OTHER
    headers: dict[str, str] | None = None
    intended_by: Caller | None = None
    """Who asks, once it is in the audit log that the request is about to be sent on."""

    def answer_headers(self) -> dict[str, str]:
        """The headers that every answer carries."""
        return {"x-request-id": self.request_id, **(self.headers or {})}


class DataPlane:
    """An ASGI application for every path under `/v1`."""

    def __init__(
        self,
        settings: Settings,
        keeper: SnapshotKeeper,
        pool: Pool,
        relay: Relay,
        metrics: Metrics,
        recorder: Recorder,
        salt_key: bytes,
    ) -> None:
        """Serve with these parts.

        Args:
            settings: Limits.
            keeper: Who may use what.
            pool: Engines.
            relay: Answers.
            metrics: Counts.
            recorder: The audit log.
            salt_key: Keeps tenants' prefix caches apart.
        """
        self._settings = settings
        self._keeper = keeper
        self._pool = pool
        self._relay = relay
        self._metrics = metrics
        self._recorder = recorder
        self._salt_key = salt_key
        self._limits = RequestLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every fault becomes an error in the API's shape."""
        call = Call(f"req_{uuid.uuid4().hex}", time.monotonic())
        outcome = Outcome()
        label = "ok"
        self._metrics.in_flight.inc()
        try:
            await self._dispatch(call, scope, receive, send, outcome)
            if outcome.error is not None:
                label = type(outcome.error).__name__
        except ClientGoneError:
            label = "client_gone"
            self._metrics.disconnects.inc()
        except e.AirlockError as error:
            label = type(error).__name__
            if isinstance(error, e.AuthenticationError):
                self._metrics.auth_failures.labels(label).inc()
            await send_error(send, error, call.answer_headers())
        except Exception:  # The last resort: a defect must not show its text to the caller.
            label = "InternalError"
            log.exception("a request failed", extra={"airlock": {"request_id": call.request_id}})
            if outcome.status is None:
                await send_error(send, e.InternalError(), call.answer_headers())
        finally:
            # Nothing in it awaits, so a cancelled request is counted too.
            self._settle(call, outcome, label)

    async def _dispatch(
        self, call: Call, scope: Scope, receive: Receive, send: Send, outcome: Outcome
    ) -> None:
        path, method = scope["path"], scope["method"]
        handler: Callable[[], Awaitable[None]]
        if (endpoint := ENDPOINTS.get(path)) is not None:
            allowed = "POST"
            handler = partial(self._infer, endpoint, call, scope, receive, send, outcome)
        elif path == MODELS_PATH or path.startswith(MODELS_PATH + "/"):
            allowed, handler = "GET", partial(self._models, call, scope, send)
        else:
            raise e.NotFoundError(f"There is nothing at {path[:200]}.")
        if method != allowed:
            raise e.MethodNotAllowedError(allowed)
        await handler()

    def _authenticate(self, call: Call, scope: Scope) -> tuple[Snapshot, Principal]:
        snapshot = self._keeper.current()
        authorization = header(scope, b"authorization")
        principal = snapshot.directory.authenticate(authorization, datetime.now(UTC))
        call.tier = principal.tier.name
        call.headers = {"x-airlock-tier": call.tier}
        return snapshot, principal

    async def _models(self, call: Call, scope: Scope, send: Send) -> None:
        """List the names that the caller may ask for."""
        snapshot, principal = self._authenticate(call, scope)
        now, catalogue = datetime.now(UTC), snapshot.catalogue
        created: dict[str, int] = {}
        for family in catalogue.families.values():
            for rank, alias in enumerate(eligible(family, principal.domains(now))):
                name = f"{family.name}:{alias.label}"
                if catalogue.why_withdrawn(name, now) is None:
                    created[name] = int(catalogue.promoted_at[name].timestamp())
                    if rank == 0:  # The one that the family's name alone leads to.
                        created[family.name] = created[name]
        entries = [
            {"id": name, "object": "model", "created": moment, "owned_by": "airlock"}
            for name, moment in sorted(created.items())
        ]
        answer: dict[str, object] = {"object": "list", "data": entries}
        wanted = scope["path"].removeprefix(MODELS_PATH).removeprefix("/")
        if wanted:
            entry = next((item for item in entries if item["id"] == wanted), None)
            if entry is None:
                raise e.UnknownModelError(wanted[:200])
            answer = entry
        headers = {**call.answer_headers(), "content-type": "application/json"}
        await send_whole(send, 200, headers, orjson.dumps(answer))

    async def _infer(
        self,
        endpoint: Endpoint,
        call: Call,
        scope: Scope,
        receive: Receive,
        send: Send,
        outcome: Outcome,
    ) -> None:
        """Have an engine answer a request."""
        snapshot, principal = self._authenticate(call, scope)
        allowance = self._limits.spend(principal)
        call.headers = {**(call.headers or {}), **allowance.headers()}
        body = await read_body(
            scope, receive, self._settings.max_body_bytes, self._settings.body_timeout_seconds
        )
        request = wire.decode(body, endpoint.decoder)
        wire.check_limits(
            request,
            elevated=principal.tier.elevated,
            max_output_tokens=self._settings.max_output_tokens,
        )
        grants = principal.domains(datetime.now(UTC))
        routed = self._route(call, request.model, snapshot, principal, grants)
        digest = routed.alias.checkpoint
        call.headers["x-airlock-checkpoint"] = digest
        with self._pool.lease(digest) as replica:
            self._forbid_violation(snapshot, routed, grants, replica.address.digest)
            order = Order(
                endpoint=endpoint,
                body=wire.encode(request, digest, self._cache_salt(principal)),
                is_stream=bool(request.stream),
                forward_usage=bool(request.stream_options and request.stream_options.include_usage),
                request_id=call.request_id,
                key_id=principal.key_id,
                routed=routed,
                headers=call.answer_headers(),
                started_at=call.started_at,
            )
            who = Caller(principal.person_id, principal.key_id)
            family = snapshot.catalogue.families[routed.family]
            if await self._recorder.intend(
                call.request_id, who, endpoint.path, family, routed, body
            ):
                call.intended_by = who
            overhead = time.monotonic() - call.started_at
            self._metrics.overhead_seconds.labels(call.alias, call.tier).observe(overhead)
            await self._relay.answer(order, replica, receive, send, outcome)

    def _route(
        self,
        call: Call,
        requested: str,
        snapshot: Snapshot,
        principal: Principal,
        grants: frozenset[str],
    ) -> Routed:
        """Choose the checkpoint, and refuse what the caller's grants do not cover now."""
        families = snapshot.catalogue.families
        choice = route(requested, families, grants)
        match choice:
            case Unknown(name):
                raise e.UnknownModelError(name)
            case Denied(name, missing):
                who = Caller(principal.person_id, principal.key_id)
                self._recorder.deny(call.request_id, who, name, missing)
                raise e.GrantRequiredError(name, missing)
        call.alias = choice.name
        self._keeper.check(snapshot, choice, principal)
        self._metrics.routed.labels(call.tier, requested, choice.alias.checkpoint).inc()
        return choice

    def _forbid_violation(
        self, snapshot: Snapshot, routed: Routed, grants: frozenset[str], serving: str
    ) -> None:
        """Check once more, independently, that this engine may answer this caller.

        Raises:
            InternalError: It may not: a defect elsewhere, counted and stopped here.
        """
        family = snapshot.catalogue.families[routed.family]
        if serving != routed.alias.checkpoint or missing_grants(family, routed.alias, grants):
            self._metrics.tier_violations.inc()
            log.critical("a request was about to be answered by another door")
            raise e.InternalError

    def _cache_salt(self, principal: Principal) -> str:
        tenant = f"{principal.tier.name}/{principal.person_id}".encode()
        salt = hmac.new(self._salt_key, tenant, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(salt).rstrip(b"=").decode()

    def _settle(self, call: Call, outcome: Outcome, label: str) -> None:
        self._metrics.in_flight.dec()
        if call.intended_by is not None:
            self._recorder.end(
                call.request_id,
                call.intended_by,
                label,
                outcome.usage.prompt_tokens,
                outcome.usage.completion_tokens,
            )
        labels = (call.alias, call.tier, label)
        now = time.monotonic()
        self._metrics.requests.labels(*labels).inc()
        self._metrics.request_seconds.labels(*labels).observe(now - call.started_at)
        if outcome.first_byte_at is not None:
            waited = outcome.first_byte_at - call.started_at
            self._metrics.first_token_seconds.labels(*labels).observe(waited)
        for kind, count in (
            ("prompt", outcome.usage.prompt_tokens),
            ("completion", outcome.usage.completion_tokens),
        ):
            if count:
                self._metrics.tokens.labels(call.alias, call.tier, kind).inc(count)
