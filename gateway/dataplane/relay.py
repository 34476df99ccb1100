"""Relays one answer from an engine to its caller; ends it when either leaves or may not go on.

Everything happens in the request's own task. Whatever ends an answer early - its caller's
departure, a grant that ended, a deadline - cancels that task, and the cancellation closes the
engine's connection.
"""

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from msgspec import Struct

from gateway.dataplane.admission import Admission
from gateway.dataplane.connection import ConnectionLostError, EngineConnection
from gateway.dataplane.deadlines import Deadline, Deadlines
from gateway.dataplane.endpoints import Endpoint
from gateway.dataplane.http import ClientGoneError, Recipient
from gateway.dataplane.outcome import Outcome
from gateway.dataplane.pool import Pool
from gateway.dataplane.replica import Replica
from gateway.dataplane.snapshot import RunningAnswer, SnapshotKeeper
from gateway.dataplane.stream import Stream
from gateway.dataplane.suspects import Suspects
from gateway.dataplane.upstream import Upstream, refused
from gateway.errors import (
    AirlockError,
    EngineFailedError,
    EngineTimeoutError,
    EngineUnavailableError,
    InvalidRequestError,
)
from gateway.metrics import Metrics
from gateway.policy.routing import Routed
from gateway.settings import Settings

BACKOFF_SECONDS = 0.05
LAST_WORD_SECONDS = 1.0
"""How long a caller whose answer is cut may take to read why."""


class Order(Struct, frozen=True, eq=False):
    """What one engine is to be asked, and how the caller wants the answer."""

    endpoint: Endpoint
    body: bytes
    is_stream: bool
    may_be_wrong: bool
    """Whether the request itself may be why a stream breaks off before the model speaks."""
    forward_usage: bool
    choices: int
    request_id: str
    key_id: str
    person_id: str
    priority: int
    routed: Routed
    lines: str
    """Of the head that every answer carries."""
    started_at: float
    permit: Callable[[str], None]
    """Raises unless an engine with this digest may answer this caller."""
    traceparent: str | None = None
    """For the engine, where the request is traced."""


class Relay:
    """Answers orders."""

    def __init__(
        self,
        upstream: Upstream,
        pool: Pool,
        admission: Admission,
        keeper: SnapshotKeeper,
        suspects: Suspects,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        """Ask `pool`'s engines through `upstream`; let `keeper` cut what is no longer covered."""
        self._upstream = upstream
        self._pool = pool
        self._admission = admission
        self._keeper = keeper
        self._suspects = suspects
        self._metrics = metrics
        self._settings = settings
        self._deadlines = Deadlines(settings)
        self._loop = asyncio.get_running_loop()

    async def answer(self, order: Order, to: Recipient, outcome: Outcome) -> None:
        """Relay an answer.

        Raises:
            AirlockError: Nothing has been sent yet, and this is why nothing will be.
            ClientGoneError: The caller left; the engine's work has been ended.
        """
        self._suspects.check(order.person_id, order.body)
        task = cast("asyncio.Task[object]", asyncio.current_task(self._loop))
        running = RunningAnswer(order.key_id, order.routed, order.endpoint.path, task)
        if to.disconnected:
            raise ClientGoneError
        to.on_gone = lambda: running.cut(ClientGoneError())
        deadline = self._deadlines.add(running.cut)
        self._keeper.add(running)
        try:
            digest = order.routed.alias.checkpoint
            outcome.ready_at = time.monotonic()
            if not self._admission.enter_now(digest):
                await self._admission.wait(digest, order.priority)
            try:
                await self._attempts(order, running, deadline, to, outcome)
            finally:
                self._admission.leave(digest)
        except asyncio.CancelledError:
            outcome.was_left = True
            if running.cut_by is None:
                raise
            task.uncancel()
            running.is_over = True
            await self._say_why(order, running.cut_by, to, outcome)
        except AirlockError as error:
            running.is_over = True
            await self._say_why(order, error, to, outcome)
        finally:
            running.is_over = True
            self._keeper.remove(running)
            self._deadlines.discard(deadline)
            to.on_gone = to.on_flow = None

    async def _say_why(
        self, order: Order, error: Exception, to: Recipient, outcome: Outcome
    ) -> None:
        if outcome.status is None or not isinstance(error, AirlockError):
            raise error
        # The status is sent; all that is left is an event, in which the stream ends.
        outcome.error = error
        event = order.endpoint.dialect.error_event(error)
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await to.drain()
        except TimeoutError:
            return  # It does not read; the server closes the connection.
        to.write(event)
        to.end()

    async def _attempts(
        self,
        order: Order,
        running: RunningAnswer,
        deadline: Deadline,
        to: Recipient,
        outcome: Outcome,
    ) -> None:
        """Ask one engine, and another when the first has not begun to work on it."""
        tried: list[Replica] = []
        while True:
            checkpoint = order.routed.alias.checkpoint
            replica = self._pool.acquire(checkpoint, tried, order.person_id, order.body)
            try:
                order.permit(replica.address.digest)
                await self._attempt(order, replica, running, deadline, to, outcome)
                return
            except EngineUnavailableError:
                self._pool.failed(replica, order.person_id, "unavailable")
                outcome.asked_at = None
                tried.append(replica)
                if outcome.status is not None or len(tried) > self._settings.max_retries:
                    raise
                if not self._pool.has_other(checkpoint, tried):
                    raise
            finally:
                deadline.watch(None)
                self._pool.release(replica)
            self._metrics.retries.inc()
            longest = BACKOFF_SECONDS * 2 ** len(tried)
            # Jitter needs no secrecy.
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311

    async def _attempt(
        self,
        order: Order,
        replica: Replica,
        running: RunningAnswer,
        deadline: Deadline,
        to: Recipient,
        outcome: Outcome,
    ) -> None:
        outcome.asked_at = time.monotonic()
        engine_start, has_begun = replica.engine_start, False
        try:
            connection = await self._upstream.ask(
                replica,
                order.endpoint.path,
                order.body,
                order.request_id,
                is_stream=order.is_stream,
                on_open=deadline.watch,
                traceparent=order.traceparent,
            )
            has_begun = True
            try:
                if order.is_stream:
                    await self._stream(order, connection, running, to, outcome)
                else:
                    self._whole(order, connection, to, outcome)
            except ConnectionLostError as error:
                raise EngineFailedError from error
            finally:
                connection.release()
        except EngineFailedError:
            self._suspects.hold(order.person_id, order.body, replica.address.url, engine_start)
            may_be_wrong = order.may_be_wrong and has_begun and not outcome.has_spoken
            self._pool.failed(replica, None if may_be_wrong else order.person_id, "failed")
            raise
        except InvalidRequestError:
            self._pool.succeeded(replica)
            raise
        except asyncio.CancelledError:
            if deadline.connection is None:  # It was not reached yet.
                outcome.asked_at = None
            if isinstance(running.cut_by, EngineTimeoutError):
                self._pool.failed(replica, order.person_id, "timeout")
            raise
        self._pool.succeeded(replica)

    def _whole(
        self, order: Order, connection: EngineConnection, to: Recipient, outcome: Outcome
    ) -> None:
        body = connection.whole()
        usage = order.endpoint.dialect.read_usage(body)
        if usage is None:
            raise EngineFailedError
        outcome.usage = usage
        outcome.first_byte_at = time.monotonic()
        outcome.status = 200
        to.whole(200, _fields(order, "application/json"), body)

    async def _stream(
        self,
        order: Order,
        connection: EngineConnection,
        running: RunningAnswer,
        to: Recipient,
        outcome: Outcome,
    ) -> None:
        reader = order.endpoint.dialect.reader(
            forward_usage=order.forward_usage, choices=order.choices
        )
        stream = Stream(reader, to, outcome, partial(_stream_fields, order), running)
        to.on_flow = connection.pause
        connection.pause(to.is_paused)  # It may have an earlier answer to read yet.
        try:
            await connection.pour(stream.take)
        finally:
            to.on_flow = None
            outcome.usage, outcome.has_spoken = reader.usage, reader.has_spoken
        if reader.refusal is not None:
            raise refused(reader.refusal, order.routed.alias.checkpoint)
        if not stream.is_done:
            raise EngineFailedError
        await to.drain()
        to.end()


def _stream_fields(order: Order) -> bytes:
    fields = _fields(order, "text/event-stream")
    return fields + b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"


def _fields(order: Order, content_type: str) -> bytes:
    milliseconds = round((time.monotonic() - order.started_at) * 1000)
    own = f"content-type: {content_type}\r\nopenai-processing-ms: {milliseconds}\r\n"
    return (order.lines + own).encode("latin-1")
