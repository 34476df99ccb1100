"""ASGI in a few words: reading a body within bounds, sending an answer, noticing who left."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, cast

from gateway.errors import (
    AirlockError,
    InvalidRequestError,
    RequestTimeoutError,
    RequestTooLargeError,
)
from gateway.http_errors import error_headers, http_error

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


class ClientGoneError(Exception):
    """The caller left; there is nobody to answer."""


HEADERS = "airlock.headers"
"""Where a scope keeps its headers by name: they are asked for one after another."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return a request header, or None.

    Raises:
        InvalidRequestError: It comes twice, so that two readers could understand two things.
    """
    known: dict[bytes, list[bytes]] | None = scope.get(HEADERS)
    if known is None:
        known = scope[HEADERS] = {}
        for key, value in scope["headers"]:
            known.setdefault(key, []).append(value)
    values = known.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise InvalidRequestError(f"The header '{name.decode()}' may come once only.")
    return values[0].decode("latin-1")


async def read_body(
    scope: Scope, receive: Receive, limit_bytes: int, timeout_seconds: float
) -> bytes:
    """Return the request's body.

    Raises:
        RequestTooLargeError: It is longer than `limit_bytes`; what follows is not read.
        RequestTimeoutError: It took longer than `timeout_seconds`.
        ClientGoneError: The caller left.
    """
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared) > limit_bytes:
        raise RequestTooLargeError(limit_bytes)
    task = cast("asyncio.Task[object]", asyncio.current_task())
    # What `asyncio.timeout` does, for a third of its cost: nearly every body is there already.
    late: list[bool] = []
    timer = asyncio.get_running_loop().call_later(
        timeout_seconds, lambda: late.append(task.cancel())
    )
    try:
        return await _read_parts(receive, limit_bytes)
    except asyncio.CancelledError as error:
        if not late:
            raise
        task.uncancel()
        raise RequestTimeoutError(timeout_seconds) from error
    finally:
        timer.cancel()


async def _read_parts(receive: Receive, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGoneError
        part = event.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise RequestTooLargeError(limit_bytes)
        parts.append(part)
        if not event.get("more_body", False):
            return part if len(parts) == 1 else b"".join(parts)


def _start(status: int, headers: Mapping[str, str]) -> Event:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": fields}


async def send_start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Send status and headers."""
    await send(_start(status, headers))


async def send_whole(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Send a whole answer."""
    await send(_start(status, {**headers, "content-length": str(len(body))}))
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send, error: AirlockError, headers: Mapping[str, str], body: bytes
) -> None:
    """Send an error, whose body is in the shape of the API that was called."""
    status = http_error(error).status
    await send_whole(send, status, {**headers, **error_headers(error)}, body)
