"""The data plane's paths: pure ASGI, decided on the path alone; nothing else is served."""

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial

import orjson

from gateway import clock
from gateway import errors as e
from gateway.audit.recorder import Recorder
from gateway.dataplane import intake
from gateway.dataplane.batches.archive import Archive, Handler, Visit, find_handler
from gateway.dataplane.call import Call
from gateway.dataplane.callers import Callers
from gateway.dataplane.collected import Answered, Collected
from gateway.dataplane.endpoints import ENDPOINTS, Endpoint
from gateway.dataplane.http import (
    ClientGoneError,
    Receive,
    Recipient,
    Scope,
    Send,
    exchange_of,
    read_body,
    whole_body,
)
from gateway.dataplane.inference import Inference
from gateway.dataplane.limits import Limits
from gateway.dataplane.listing import MODELS_PATH, answer_for, list_models
from gateway.dataplane.snapshot import Snapshot, SnapshotKeeper
from gateway.exchange import EXCHANGE, Exchange
from gateway.identity.principal import Principal
from gateway.identity_errors import InsufficientScopeError
from gateway.limit_errors import TooManyTokensError
from gateway.logs import CONTEXT
from gateway.metrics import OTHER, Metrics, Settled
from gateway.request_ids import make_request_id
from gateway.settings import Settings
from gateway.tracing import Tracing

log = logging.getLogger(__name__)


class DataPlane:
    """An ASGI application for every path under `/v1`."""

    def __init__(
        self,
        settings: Settings,
        keeper: SnapshotKeeper,
        callers: Callers,
        inference: Inference,
        metrics: Metrics,
        recorder: Recorder,
        archive: Archive,
        tracing: Tracing | None = None,
    ) -> None:
        """Serve with these parts.

        Args:
            settings: Limits.
            keeper: Who may use what.
            callers: Tells who calls.
            inference: Has engines answer.
            metrics: Counts.
            recorder: The audit log.
            archive: Files and batches.
            tracing: Traces live requests, where it is on.
        """
        self._settings = settings
        self._keeper = keeper
        self._callers = callers
        self._inference = inference
        self._metrics = metrics
        self._recorder = recorder
        self._archive = archive
        self._tracing = tracing
        self.limits = Limits()
        self._running = 0
        metrics.in_flight.set_function(lambda: self._running)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every fault becomes an error in the API's shape."""
        path = scope["path"]
        call = Call(make_request_id(), path, time.monotonic())
        endpoint = ENDPOINTS.get(path)
        if self._tracing is not None and endpoint is not None:
            call.trace = self._tracing.begin(path, scope["headers"], call.request_id)
        exchange = exchange_of(scope)
        try:
            if endpoint is not None:
                work = self._infer(endpoint, call, scope, receive, exchange)
            else:
                work = self._dispatch(call, scope, receive, send)
            await self._answer(call, exchange, work)
        finally:
            del scope[EXCHANGE]  # They hold each other, and would wait for the garbage collector.

    async def answer_line(
        self, key_id: str, endpoint: Endpoint, body: bytes, door: str | None
    ) -> Answered:
        """Answer a line of a batch, just as the owner of a key would be answered now.

        Args:
            key_id: Of the key that the batch was made with.
            endpoint: What the line is for.
            body: The request's.
            door: The alias that answers, if its owner's grants cover it now.
        """
        call = Call(make_request_id(), endpoint.path, time.monotonic(), is_batch=True, door=door)
        answer = Collected()
        await self._answer(call, answer, self._infer_line(call, key_id, endpoint, body, answer))
        return Answered(
            call.request_id,
            answer.status,
            answer.body,
            call.error,
            call.domains,
            call.outcome.usage,
        )

    async def _answer(self, call: Call, to: Recipient, work: Coroutine[None, None, None]) -> None:
        label = "cancelled"
        self._running += 1
        context = CONTEXT.set(call.log_context())
        try:
            if self._running > self._settings.max_open_requests:
                work.close()
                raise e.OverloadedError
            await work
            label = "ok"
            if call.outcome.error is not None:
                label = type(call.outcome.error).__name__
        except ClientGoneError:
            label = "client_gone"
            self._metrics.disconnects.inc()
        except e.AirlockError as error:
            label, call.error = type(error).__name__, error
            if isinstance(error, e.AuthenticationError):
                self._metrics.auth_failures.labels(label).inc()
            elif isinstance(error, e.RateLimitedError | e.QuotaExceededError | TooManyTokensError):
                self._metrics.rate_limited.labels(error.what).inc()
            call.write_error(to, error)
        except Exception:  # The last resort: a defect must not show its text to the caller.
            label, call.error = "InternalError", e.InternalError()
            log.exception("a request failed")
            if call.outcome.status is None:
                call.write_error(to, call.error)
        finally:
            # Nothing in it awaits, so a cancelled request is counted too.
            self._settle(call, label)
            CONTEXT.reset(context)

    async def _dispatch(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what no engine answers."""
        path, method = scope["path"], scope["method"]
        handler: Callable[[], Awaitable[None]]
        if path == MODELS_PATH or path.startswith(MODELS_PATH + "/"):
            allowed, handler = "GET", partial(self._models, call, scope)
        elif (found := find_handler(path, method)) is not None:
            allowed, handler = method, partial(self._keep, found, call, scope, receive, send)
        else:
            raise e.NotFoundError(f"There is nothing at {path[:200]}.")
        if method != allowed:
            raise e.MethodNotAllowedError(allowed)
        await handler()

    async def _authenticate(self, call: Call, scope: Scope) -> tuple[Snapshot, Principal, datetime]:
        snapshot, principal, now = await self._callers.identify(scope, call.request_id)
        call.tier = principal.tier.name
        return snapshot, principal, now

    async def _models(self, call: Call, scope: Scope) -> None:
        """List the names that the caller may ask for."""
        snapshot, principal, now = await self._authenticate(call, scope)
        entries = list_models(snapshot.catalogue, principal.domains(now), now)
        answer = answer_for(scope["path"], entries)
        call.write_json(exchange_of(scope), orjson.dumps(answer))

    async def _infer(
        self, endpoint: Endpoint, call: Call, scope: Scope, receive: Receive, exchange: Exchange
    ) -> None:
        """Have an engine answer a request."""
        if scope["method"] != "POST":
            raise e.MethodNotAllowedError("POST")
        snapshot, principal, now = await self._authenticate(call, scope)
        _check_scope(principal, endpoint.path)
        call.reservation = self.limits.reserve(principal)
        call.reservation.enter()
        intake.check_media_type(scope)
        limit_bytes = self._settings.max_body_bytes
        body = whole_body(scope, limit_bytes)
        if body is None:
            timeout_seconds = self._settings.body_timeout_seconds
            body = await read_body(scope, receive, limit_bytes, timeout_seconds)
            # It may have outlived the access that it began with. A body that was there has not:
            # nothing else has run since its caller was identified.
            snapshot, now = self._keeper.current(), clock.now()
            current = snapshot.directory.principal(principal.key_id, now)
            if current is None:
                raise e.RevokedKeyError
            _check_scope(current, endpoint.path)
            self._callers.check_address(scope, current, call.request_id)
            principal = current
        await self._inference.answer(call, endpoint, snapshot, principal, body, exchange, now)

    async def _infer_line(
        self, call: Call, key_id: str, endpoint: Endpoint, body: bytes, answer: Collected
    ) -> None:
        """Have an engine answer a line of a batch."""
        snapshot, now = self._keeper.current(), clock.now()
        principal = snapshot.directory.principal(key_id, now)
        if principal is None:
            raise e.GrantRevokedError
        _check_scope(principal, endpoint.path)
        call.tier = principal.tier.name
        call.reservation = self.limits.reserve(principal)
        call.reservation.enter()
        await self._inference.answer(call, endpoint, snapshot, principal, body, answer, now)

    async def _keep(
        self, handler: Handler, call: Call, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer what concerns files and batches; what makes work counts as a request."""
        _, principal, _ = await self._authenticate(call, scope)
        _check_scope(principal, "/".join(scope["path"].split("/", 3)[:3]))
        if scope["method"] == "POST" or handler is Archive.content:
            call.reservation = self.limits.reserve(principal)
            call.reservation.enter()
        await handler(self._archive, Visit(call, principal, scope, receive, send))

    def _settle(self, call: Call, label: str) -> None:
        self._running -= 1
        outcome, usage = call.outcome, call.outcome.usage
        if call.reservation is not None:
            call.reservation.settle(outcome)
        if call.intended_by is not None:
            self._recorder.end(
                call.request_id,
                call.intended_by,
                label,
                usage.prompt_tokens,
                usage.completion_tokens,
                call.kept.ended if call.kept is not None else None,
            )
        if call.trace is not None:
            call.end_trace(label)
        if call.is_fault:
            log.info("a request was not answered", extra={"airlock": call.facts(label)})
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("a request has ended", extra={"airlock": call.facts(label)})
        self._metrics.settle(
            Settled(
                alias=call.alias,
                tier=call.tier or OTHER,
                outcome=label,
                started_at=call.started_at,
                ready_at=outcome.ready_at,
                asked_at=outcome.asked_at,
                first_byte_at=outcome.first_byte_at,
                is_stream=outcome.events > 1,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
            )
        )


def _check_scope(principal: Principal, path: str) -> None:
    """Refuse a key that is narrowed to other paths.

    Raises:
        InsufficientScopeError: It is.
    """
    if not principal.terms.may_ask(path):
        raise InsufficientScopeError(path)
