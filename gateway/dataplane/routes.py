"""The data plane's paths: pure ASGI, decided on the path alone; nothing else is served."""

import base64
import hmac
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import orjson

from gateway import errors as e
from gateway.audit.recorder import Caller, Recorder
from gateway.dataplane import intake
from gateway.dataplane.callers import Callers
from gateway.dataplane.endpoints import ENDPOINTS, Endpoint
from gateway.dataplane.http import (
    ClientGoneError,
    Receive,
    Scope,
    Send,
    read_body,
    send_error,
    send_whole,
)
from gateway.dataplane.limits import Limits, Reservation, estimate
from gateway.dataplane.listing import MODELS_PATH, answer_for, list_models
from gateway.dataplane.outcome import Outcome
from gateway.dataplane.relay import Order, Relay
from gateway.dataplane.snapshot import Snapshot, SnapshotKeeper
from gateway.dataplane.wire.request import Request, Seal, check_limits, decode, encode
from gateway.identity.principal import Principal
from gateway.metrics import OTHER, Metrics, Settled
from gateway.policy.routing import Denied, Routed, Unknown, missing_grants, route
from gateway.settings import Settings

LEFT = ("client_gone", "GrantRevokedError", "EngineTimeoutError", "NotReadyError", "cancelled")
"""Outcomes of requests that ended while an engine may still have been at work."""
log = logging.getLogger(__name__)


@dataclass
class Call:
    """One request, and what is known of it so far; for its answer's headers and its metrics."""

    request_id: str
    path: str
    started_at: float
    alias: str = OTHER
    tier: str = OTHER
    headers: dict[str, str] | None = None
    reservation: Reservation | None = None
    intended_by: Caller | None = None
    """Who asks, once it is in the audit log that the request is about to be sent on."""

    def answer_headers(self) -> dict[str, str]:
        """The headers that every answer carries."""
        known = {**intake.id_headers(self.path, self.request_id), **(self.headers or {})}
        if self.reservation is not None:
            known.update(self.reservation.headers())
        return known

    async def send_error(self, send: Send, error: e.AirlockError) -> None:
        """Send an error in the shape of the API that was called."""
        milliseconds = round((time.monotonic() - self.started_at) * 1000)
        headers = {**self.answer_headers(), "openai-processing-ms": str(milliseconds)}
        await send_error(send, error, headers, intake.fault_body(self.path, error))


class DataPlane:
    """An ASGI application for every path under `/v1`."""

    def __init__(
        self,
        settings: Settings,
        keeper: SnapshotKeeper,
        callers: Callers,
        relay: Relay,
        metrics: Metrics,
        recorder: Recorder,
        salt_key: bytes,
    ) -> None:
        """Serve with these parts; `salt_key` keeps tenants' prefix caches apart."""
        self._settings = settings
        self._keeper = keeper
        self._callers = callers
        self._relay = relay
        self._metrics = metrics
        self._recorder = recorder
        self._salt_key = salt_key
        self.limits = Limits()
        self._salts: dict[tuple[str, str], str] = {}
        self._running = 0
        metrics.in_flight.set_function(lambda: self._running)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every fault becomes an error in the API's shape."""
        # An id needs to be unique, not secret; a secret one costs 5 µs.
        call = Call(f"req_{random.getrandbits(128):032x}", scope["path"], time.monotonic())
        outcome = Outcome()
        label = "cancelled"
        self._running += 1
        try:
            if self._running > self._settings.max_open_requests:
                raise e.OverloadedError
            await self._dispatch(call, scope, receive, send, outcome)
            label = "ok"
            if outcome.error is not None:
                label = type(outcome.error).__name__
        except ClientGoneError:
            label = "client_gone"
            self._metrics.disconnects.inc()
        except e.AirlockError as error:
            label = type(error).__name__
            if isinstance(error, e.AuthenticationError):
                self._metrics.auth_failures.labels(label).inc()
            await call.send_error(send, error)
        except Exception:  # The last resort: a defect must not show its text to the caller.
            label = "InternalError"
            log.exception("a request failed", extra={"airlock": {"request_id": call.request_id}})
            if outcome.status is None:
                await call.send_error(send, e.InternalError())
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

    async def _authenticate(self, call: Call, scope: Scope) -> tuple[Snapshot, Principal]:
        snapshot, principal = await self._callers.identify(scope)
        call.tier = principal.tier.name
        call.headers = {"x-airlock-tier": call.tier}
        return snapshot, principal

    async def _models(self, call: Call, scope: Scope, send: Send) -> None:
        """List the names that the caller may ask for."""
        snapshot, principal = await self._authenticate(call, scope)
        now = datetime.now(UTC)
        entries = list_models(snapshot.catalogue, principal.domains(now), now)
        answer = answer_for(scope["path"], entries)
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
        snapshot, principal = await self._authenticate(call, scope)
        call.reservation = self.limits.spend(principal)
        intake.check_media_type(scope)
        body = await read_body(
            scope, receive, self._settings.max_body_bytes, self._settings.body_timeout_seconds
        )
        request = self._understand(body, endpoint, principal)
        grants = principal.domains(datetime.now(UTC))
        routed = self._route(call, request.model, snapshot, principal, grants)
        digest = routed.alias.checkpoint
        call.headers = {**(call.headers or {}), "x-airlock-checkpoint": digest}
        call.reservation.take(*estimate(body, request, self._settings.max_output_tokens))
        permit = partial(self._forbid_violation, snapshot, routed, grants)
        permit(digest)  # The log would refuse a violation as well, but without an alarm.
        order = Order(
            endpoint=endpoint,
            body=encode(request, self._seal(principal, digest)),
            is_stream=request.is_stream,
            forward_usage=request.forwards_usage,
            request_id=call.request_id,
            key_id=principal.key_id,
            person_id=principal.person_id,
            priority=-principal.tier.priority,
            routed=routed,
            headers=call.answer_headers(),
            started_at=call.started_at,
            permit=permit,
        )
        is_always_logged = principal.tier.logs_every_request
        who = Caller(principal.person_id, principal.key_id, is_always_logged)
        family = snapshot.catalogue.families[routed.family]
        if await self._recorder.intend(call.request_id, who, endpoint.path, family, routed, body):
            call.intended_by = who
        await self._relay.answer(order, receive, send, outcome)

    def _understand(self, body: bytes, endpoint: Endpoint, principal: Principal) -> Request:
        """Return a body as a request that the caller's tier may make."""
        request = decode(body, endpoint.decoder)
        used = check_limits(
            request,
            allowed=principal.tier.capabilities,
            max_output_tokens=self._settings.max_output_tokens,
        )
        for capability in used:
            self._metrics.capability_uses.labels(principal.tier.name, capability).inc()
        return request

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
        self._metrics.count_routed(call.tier, requested, choice.alias.checkpoint)
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

    def _seal(self, principal: Principal, digest: str) -> Seal:
        priority = -principal.tier.priority if self._settings.engine_priorities else 0
        return Seal(digest, self._cache_salt(principal), priority)

    def _cache_salt(self, principal: Principal) -> str:
        tenant = (principal.tier.name, principal.person_id)
        known = self._salts.get(tenant)
        if known is None:
            salt = hmac.digest(self._salt_key, "/".join(tenant).encode(), "sha256")
            known = base64.urlsafe_b64encode(salt).rstrip(b"=").decode()
            self._salts[tenant] = known
        return known

    def _settle(self, call: Call, outcome: Outcome, label: str) -> None:
        self._running -= 1
        usage = outcome.usage
        if call.reservation is not None:
            call.reservation.settle(outcome, was_left=label in LEFT)
        if call.intended_by is not None:
            self._recorder.end(
                call.request_id,
                call.intended_by,
                label,
                usage.prompt_tokens,
                usage.completion_tokens,
            )
        self._metrics.settle(
            Settled(
                alias=call.alias,
                tier=call.tier,
                outcome=label,
                started_at=call.started_at,
                asked_at=outcome.asked_at,
                first_byte_at=outcome.first_byte_at,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
            )
        )
