"""Relays one answer from an engine to its caller; ends it when either leaves or may not go on.

Everything happens in the request's own task. Whatever ends an answer early - its caller's
departure, a grant that ended, a deadline - cancels that task, and the cancellation closes the
engine's connection.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import NamedTuple, cast

from gateway.dataplane.admission import Admission
from gateway.dataplane.answers import EVENT_END
from gateway.dataplane.connection import ConnectionLostError, EngineConnection
from gateway.dataplane.departure import Departure
from gateway.dataplane.endpoints import Endpoint
from gateway.dataplane.http import ClientGoneError, Receive, Send, send_start, send_whole
from gateway.dataplane.outcome import Outcome
from gateway.dataplane.pool import Pool
from gateway.dataplane.replica import Replica
from gateway.dataplane.snapshot import RunningAnswer, SnapshotKeeper
from gateway.dataplane.suspects import Suspects
from gateway.dataplane.upstream import Upstream
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


class Order(NamedTuple):
    """What one engine is to be asked, and how the caller wants the answer."""

    endpoint: Endpoint
    body: bytes
    is_stream: bool
    forward_usage: bool
    choices: int
    request_id: str
    key_id: str
    person_id: str
    priority: int
    routed: Routed
    headers: dict[str, str]
    started_at: float
    permit: Callable[[str], None]
    """Raises unless an engine with this digest may answer this caller."""
    traceparent: str | None = None
    """For the engine, where the request is traced."""


class Deadline:
    """Ends an answer whose engine or caller takes too long.

    One timer for each answer, which looks how things stand when it rings, instead of one that is
    set anew with every chunk.
    """

    def __init__(self, running: RunningAnswer, settings: Settings) -> None:
        """Start the clock."""
        self._loop = asyncio.get_running_loop()
        self.running = running
        self._idle_seconds = settings.idle_timeout_seconds
        self._ends_at = self._loop.time() + settings.request_timeout_seconds
        self._connection: EngineConnection | None = None
        first = min(settings.idle_timeout_seconds, settings.request_timeout_seconds)
        self._timer = self._loop.call_later(first, self._look)

    def watch(self, connection: EngineConnection | None) -> None:
        """Judge by what comes on a connection from now on."""
        self._connection = connection

    def close(self) -> None:
        """Stop the clock."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        due = now + self._idle_seconds
        if self._connection is not None:
            due = self._connection.last_at + self._idle_seconds
            if due <= now and not self._connection.is_awaited:
                # The engine has been made to wait because the caller does not read.
                self.running.cut(ClientGoneError())
                return
        if due <= now or self._ends_at <= now:
            self.running.cut(EngineTimeoutError())
            return
        self._timer = self._loop.call_at(min(due, self._ends_at), self._look)


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

    async def answer(self, order: Order, receive: Receive, send: Send, outcome: Outcome) -> None:
        """Relay an answer.

        Raises:
            AirlockError: Nothing has been sent yet, and this is why nothing will be.
            ClientGoneError: The caller left; the engine's work has been ended.
        """
        self._suspects.check(order.body)
        task = cast("asyncio.Task[object]", asyncio.current_task())
        running = RunningAnswer(order.key_id, order.routed, task)
        departure = Departure(receive, lambda: running.cut(ClientGoneError()))
        deadline = Deadline(running, self._settings)
        self._keeper.add(running)
        try:
            digest = order.routed.alias.checkpoint
            outcome.ready_at = time.monotonic()
            await self._admission.enter(digest, order.priority)
            try:
                await self._attempts(order, deadline, send, outcome)
            finally:
                self._admission.leave(digest)
        except asyncio.CancelledError:
            if running.cut_by is None:
                raise
            task.uncancel()
            running.is_over = True
            await self._say_why(order, running.cut_by, send, outcome)
        except AirlockError as error:
            running.is_over = True
            await self._say_why(order, error, send, outcome)
        finally:
            running.is_over = True
            self._keeper.remove(running)
            deadline.close()
            departure.close()

    async def _say_why(self, order: Order, error: Exception, send: Send, outcome: Outcome) -> None:
        if outcome.status is None or not isinstance(error, AirlockError):
            raise error
        # The status is sent; all that is left is an event, in which the stream ends.
        outcome.error = error
        event = order.endpoint.dialect.error_event(error)
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await send({"type": "http.response.body", "body": event})
        except TimeoutError:
            return  # It does not read; the server closes the connection.

    async def _attempts(
        self, order: Order, deadline: Deadline, send: Send, outcome: Outcome
    ) -> None:
        """Ask one engine, and another when the first has not begun to work on it."""
        tried: list[Replica] = []
        while True:
            replica = self._pool.acquire(order.routed.alias.checkpoint, tried, order.body)
            try:
                order.permit(replica.address.digest)
                await self._attempt(order, replica, deadline, send, outcome)
                return
            except EngineUnavailableError:
                self._pool.failed(replica, order.person_id, "unavailable")
                tried.append(replica)
                if outcome.status is not None or len(tried) > self._settings.max_retries:
                    raise
                if not self._pool.has_other(order.routed.alias.checkpoint, tried):
                    raise
            finally:
                deadline.watch(None)
                self._pool.release(replica)
            self._metrics.retries.inc()
            longest = BACKOFF_SECONDS * 2 ** len(tried)
            # Jitter needs no secrecy.
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311

    async def _attempt(
        self, order: Order, replica: Replica, deadline: Deadline, send: Send, outcome: Outcome
    ) -> None:
        if outcome.asked_at is None:
            outcome.asked_at = time.monotonic()
        engine_start = replica.engine_start
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
            try:
                if order.is_stream:
                    await self._stream(order, connection, send, outcome)
                else:
                    await self._whole(order, connection, send, outcome)
            except ConnectionLostError as error:
                self._pool.distrust(replica)
                raise EngineFailedError from error
            finally:
                connection.release()
        except EngineFailedError:
            self._suspects.hold(order.body, replica.address.url, engine_start)
            self._pool.failed(replica, order.person_id, "failed")
            raise
        except InvalidRequestError:
            self._pool.succeeded(replica)
            raise
        except asyncio.CancelledError:
            if isinstance(deadline.running.cut_by, EngineTimeoutError):
                self._pool.failed(replica, order.person_id, "timeout")
            raise
        self._pool.succeeded(replica)

    async def _whole(
        self, order: Order, connection: EngineConnection, send: Send, outcome: Outcome
    ) -> None:
        body = connection.whole()
        usage = order.endpoint.dialect.read_usage(body)
        if usage is None:
            raise EngineFailedError
        outcome.usage = usage
        outcome.first_byte_at = time.monotonic()
        outcome.status = 200
        await send_whole(send, 200, _headers(order, "application/json"), body)

    async def _stream(
        self, order: Order, connection: EngineConnection, send: Send, outcome: Outcome
    ) -> None:
        reader = order.endpoint.dialect.reader(
            forward_usage=order.forward_usage, choices=order.choices
        )
        is_done = False
        try:
            while data := await connection.read():
                events = reader.feed(data)
                is_done = is_done or events.is_done
                if events.forward:
                    if outcome.status is None:
                        await _start_stream(order, send, outcome)
                    outcome.events += events.forward.count(EVENT_END)
                    await send(
                        {"type": "http.response.body", "body": events.forward, "more_body": True}
                    )
        finally:
            outcome.usage = reader.usage
        if not is_done:
            raise EngineFailedError
        await send({"type": "http.response.body", "body": b""})


async def _start_stream(order: Order, send: Send, outcome: Outcome) -> None:
    outcome.first_byte_at = time.monotonic()
    outcome.status = 200
    headers = _headers(order, "text/event-stream")
    await send_start(send, 200, {**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})


def _headers(order: Order, content_type: str) -> dict[str, str]:
    milliseconds = round((time.monotonic() - order.started_at) * 1000)
    return {
        **order.headers,
        "content-type": content_type,
        "openai-processing-ms": str(milliseconds),
    }
