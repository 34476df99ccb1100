"""Relays one answer from an engine to its caller; ends it when either leaves or may not go on."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.dataplane.answers import Usage
from gateway.dataplane.endpoints import Endpoint
from gateway.dataplane.http import (
    ClientGoneError,
    Receive,
    Send,
    send_start,
    send_whole,
    until_disconnect,
)
from gateway.dataplane.pool import Replica
from gateway.dataplane.snapshot import RunningAnswer, SnapshotKeeper
from gateway.dataplane.upstream import Upstream, read_whole
from gateway.errors import AirlockError, EngineFailedError
from gateway.policy.routing import Routed

MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Order:
    """What one engine is to be asked, and how the caller wants the answer."""

    endpoint: Endpoint
    body: bytes
    is_stream: bool
    forward_usage: bool
    request_id: str
    key_id: str
    routed: Routed
    headers: Mapping[str, str]
    started_at: float


@dataclass
class Outcome:
    """What became of an answer; filled in as it goes."""

    status: int | None = None
    """None until the caller has been sent one."""
    first_byte_at: float | None = None
    usage: Usage = field(default_factory=Usage)
    error: AirlockError | None = None


class Relay:
    """Answers orders."""

    def __init__(self, upstream: Upstream, keeper: SnapshotKeeper) -> None:
        """Ask engines through `upstream`; let `keeper` cut what is no longer covered."""
        self._upstream = upstream
        self._keeper = keeper

    async def answer(
        self, order: Order, replica: Replica, receive: Receive, send: Send, outcome: Outcome
    ) -> None:
        """Relay an answer, racing the caller's departure against the engine's work.

        Raises:
            AirlockError: Nothing has been sent yet, and this is why nothing will be.
            ClientGoneError: The caller left; the engine's work has been ended.
        """
        work = asyncio.create_task(self._relay(order, replica, send, outcome))
        running = RunningAnswer(order.key_id, order.routed, work)
        self._keeper.add(running)
        gone = asyncio.create_task(until_disconnect(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientGoneError
            error = running.cut_by if work.cancelled() else work.exception()
        finally:
            self._keeper.remove(running)
            gone.cancel()
            if work.cancel():
                # The engine's work has ended before the caller's slot is given back.
                await asyncio.wait({work})
        if error is None:
            return
        if outcome.status is None or not isinstance(error, AirlockError):
            raise error
        # The status is sent; all that is left is an event, in which the stream ends.
        outcome.error = error
        event = order.endpoint.dialect.error_event(error)
        await send({"type": "http.response.body", "body": event})

    async def _relay(self, order: Order, replica: Replica, send: Send, outcome: Outcome) -> None:
        async with self._upstream.post(
            replica, order.endpoint.path, order.body, order.request_id
        ) as response:
            if not order.is_stream:
                body = await read_whole(response, MAX_ANSWER_BYTES)
                usage = order.endpoint.dialect.read_usage(body)
                if usage is None:
                    raise EngineFailedError
                outcome.usage = usage
                outcome.first_byte_at = time.monotonic()
                outcome.status = 200
                await send_whole(send, 200, _headers(order, "application/json"), body)
                return
            reader = order.endpoint.dialect.reader(forward_usage=order.forward_usage)
            is_done = False
            try:
                async for data in response.content.iter_any():
                    events = reader.feed(data)
                    is_done = is_done or events.is_done
                    if events.forward:
                        await _forward(order, send, outcome, events.forward)
            finally:
                outcome.usage = reader.usage
            if not is_done:
                raise EngineFailedError
            await send({"type": "http.response.body", "body": b""})


async def _forward(order: Order, send: Send, outcome: Outcome, events: bytes) -> None:
    if outcome.status is None:
        outcome.first_byte_at = time.monotonic()
        outcome.status = 200
        headers = _headers(order, "text/event-stream")
        await send_start(
            send, 200, {**headers, "cache-control": "no-cache", "x-accel-buffering": "no"}
        )
    await send({"type": "http.response.body", "body": events, "more_body": True})


def _headers(order: Order, content_type: str) -> dict[str, str]:
    milliseconds = round((time.monotonic() - order.started_at) * 1000)
    return {
        **order.headers,
        "content-type": content_type,
        "openai-processing-ms": str(milliseconds),
    }
